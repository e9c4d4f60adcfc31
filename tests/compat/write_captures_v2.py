"""Made captures-v2 once: ``python -m tests.compat.write_captures_v2``. Kept to show how; never run again.

``columns.block`` holds the rows as twice as many lines, inputs first, as `seal_lines` wrote them then.
"""

from __future__ import annotations

import json
from pathlib import Path

from ion.evidence.captures import CaptureKey
from ion.serving.capture import seal

FOLDER = Path(__file__).parent / "captures-v2"
AAD = b"0193f3a2-7c93-7911-8a6e-06ff3ee1fb94:1024"
ROWS = [f"{number / 7!r},{number};{1 / (number + 2)!r}" for number in range(300)]


def main() -> None:
    """Write the blocks, their keys and the rows in them."""
    FOLDER.mkdir()
    keys = [CaptureKey.generate() for _ in range(3)]
    shared = seal(ROWS, keys[0], AAD)
    people = seal(ROWS, [keys[number % 3] for number in range(len(ROWS))], AAD)
    for name, block in (("shared", shared), ("people", people)):
        (FOLDER / f"{name}.block").write_bytes(block)
    told = {"aad": AAD.decode(), "keys": {key.key_id: key.secret.hex() for key in keys}, "rows": ROWS}
    (FOLDER / "content.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
