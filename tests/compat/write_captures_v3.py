"""Made captures-v3 once: ``python -m tests.compat.write_captures_v3``. Kept to show how; never run again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ion.evidence.captures import CaptureKey
from ion.serving.capture import seal_columns

FOLDER = Path(__file__).parent / "captures-v3"
AAD = b"0193f3a2-7c93-7911-8a6e-06ff3ee1fb94:1024"
ROWS = [f"{number / 7!r},{number},-1e-07;{1 / (number + 2)!r}" for number in range(301)]


def main() -> None:
    """Write the block, its key and the rows in it."""
    FOLDER.mkdir()
    key = CaptureKey.generate()
    inputs, scores = zip(*(row.split(";") for row in ROWS), strict=True)
    block = seal_columns("\n".join(inputs).encode(), np.array(list(map(float, scores))), key, AAD)
    (FOLDER / "packed.block").write_bytes(block)
    told = {"aad": AAD.decode(), "keys": {key.key_id: key.secret.hex()}, "rows": ROWS}
    (FOLDER / "content.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
