"""The policy set of the benchmarks: `policies.catalog.clinical_low_risk` without ``source_committed``.

A benchmark has to run while its own code is being written. Everything else is as in production: the
same policies, the metric measured again by governance, the checks read by dataset digest.
"""

from __future__ import annotations

from dataclasses import replace

from policies.catalog import clinical_low_risk

bench_low_risk = replace(
    clinical_low_risk,
    name="bench_low_risk",
    policies=tuple(policy for policy in clinical_low_risk.policies if policy.name != "source_committed"),
    module=__name__,
)
