"""What governance costs and how fast it acts, measured on real engines: ``make bench``.

- `bench.propagation`: a candidate materialized in Dagster, decided, promoted, serving in Flink.
- `bench.overhead_flink`, `bench.overhead_spark`: the job's CPU time with and without ion.
- `bench.cost`: the price of each call, beside a peer measured in the same run.
- `bench.peers`, `bench.footprint`, `bench.paper_day`: a statistic's CPU time and bytes, beside others who keep it.
- `bench.rate`, `bench.lookup`, `bench.ingest`: predictions, look-ups and points over HTTP at rate.

Every figure is one JSON line on standard output; a table of all follows. Exit code 1: a target was missed.
"""
