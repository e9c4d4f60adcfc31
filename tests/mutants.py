"""Print which share of the planted bugs was noticed; exit with 1 below nine in ten. Run by `make mutants`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

LEAST = 0.90


def main(path: str) -> int:
    counts: dict[str, int] = json.loads(Path(path).read_text("utf-8"))
    noticed = counts["killed"] + counts["timeout"] + counts["segfault"]
    planted = noticed + counts["survived"] + counts["no_tests"] + counts["suspicious"]
    share = noticed / planted if planted else 0.0
    seen = f"{noticed} of {planted} planted bugs were noticed: {share:.1%}"
    sys.stdout.write(f"{seen}, at least {LEAST:.0%} are asked for\n")
    return 0 if share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
