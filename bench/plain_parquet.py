"""Rows of a Parquet file looked up by DuckDB: ``python -m bench.plain_parquet FOLDER ROWS FEATURES LOOKUPS``.

Without ion. Prints one JSON line: milliseconds of each look-up, bytes per row.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from pyarrow import parquet

_GROUP = 16_384
_EPOCHS = 28


def main() -> None:
    """Write the file, and look up rows at random."""
    path = Path(sys.argv[1], "captured.parquet")
    rows, features, lookups = map(int, sys.argv[2:])
    noise, each = np.random.default_rng(7), rows // _EPOCHS
    columns = {"epoch": np.arange(rows) // each, "seq": np.arange(rows) % each}
    columns |= {f"feature_{number}": noise.normal(size=rows) for number in range(features)}
    parquet.write_table(pa.table({**columns, "score": noise.random(rows)}), path, row_group_size=_GROUP)
    database, chance, samples = duckdb.connect(), random.Random(7), []  # noqa: S311 - not a secret
    for number in range(lookups + 5):
        given = [str(path), chance.randrange(_EPOCHS), chance.randrange(each)]
        before = time.perf_counter()
        found = database.execute("select * from read_parquet(?) where epoch = ? and seq = ?", given).fetchall()
        if len(found) != 1:
            raise RuntimeError(f"{len(found)} rows were found")
        if number >= 5:  # noqa: PLR2004 - what is made at first use
            samples.append((time.perf_counter() - before) * 1e3)
    print(json.dumps({"samples": samples, "bytes": path.stat().st_size / rows}), flush=True)


if __name__ == "__main__":
    main()
