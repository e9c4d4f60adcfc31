"""The pointer: a promotion's signed envelope as a file beside a serving process. docs/spec/pointer.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.evidence.envelope import MAX_ENVELOPE
from ion.evidence.files import read_regular, write_atomic
from ion.ids import checked_node

if TYPE_CHECKING:
    from pathlib import Path


def pointer_path(home: Path, node: str) -> Path:
    """Return where the pointer of a node (``ion/node``) is under the state root.

    Raises:
        IonError: ``bad-node``.
    """
    return home.joinpath("serving", *checked_node(node).split("/"), "pointer.json")


def write_pointer(path: Path, envelope: bytes) -> str:
    """Replace the pointer atomically and durably; return its digest. Nothing is verified here: readers do.

    Raises:
        OSError: the folder is not writable, or the disk is full; the old pointer stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, envelope)
    return digest_bytes(envelope)


def read_pointer(path: Path) -> bytes:
    """Return the pointer's bytes, unverified, at most 1 MiB.

    Raises:
        OSError: it is not there, or not readable.
        IonError: ``not-a-file`` or ``file-too-large``.
    """
    return read_regular(path, MAX_ENVELOPE)
