"""Which capture keys were erased of late, as a file beside the pointers: what tells a running writer.

Key ids are random and name nobody. The file repeats facts of the last two days, twice as long as a
writer keeps a key; without it a key in a writer's memory would go on sealing rows that nobody can open.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ion.canonical import canonical_bytes
from ion.evidence.files import write_atomic
from ion.serving.keyring import LIFETIME_S

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from ion.home import Home

TOLD_S = 2 * LIFETIME_S
"""How long an erased key stays in the file."""


def erased_path(home: Home) -> Path:
    """Return where the file is."""
    return home.root / "serving" / "erased.json"


def write_erased(path: Path, keys: AbstractSet[str]) -> bool:
    """Let the file hold exactly these keys; False when it does already.

    Raises:
        OSError: the folder is not writable.
    """
    if keys == _read(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, canonical_bytes(sorted(keys)))
    return True


class ErasedKeys:
    """Notices when the file changes; costs one stat when it did not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    def news(self) -> set[str]:
        """Return the erased keys if the file changed since the last call, else nothing."""
        try:
            found = self._path.stat()
        except OSError:
            return set()
        seen = found.st_mtime_ns, found.st_ino
        if seen == self._seen:
            return set()
        self._seen = seen
        return _read(self._path)


def _read(path: Path) -> set[str]:
    try:
        return {str(key) for key in json.loads(path.read_bytes())}
    except (OSError, ValueError, TypeError):
        return set()
