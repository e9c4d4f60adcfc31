"""What the audit's commands are given: files, and the keys by which a log is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ion.errors import IonError
from ion.evidence.files import read_regular
from ion.evidence.keys import load_public
from ion.evidence.trust import TrustFile
from ion.evidence.trust_root import TrustRoot
from ion.ledger import NoteKey

if TYPE_CHECKING:
    from collections.abc import Callable

file_argument = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The options that say by which keys a log is known: ``--key``, or ``--trust`` and ``--root``."""

    key: str | None
    trust: Path | None
    root: Path | None

    def read(self) -> TrustRoot | None:
        """Return the keys; None when no option names any.

        Raises:
            IonError: ``usage`` for both options, and what is wrong with a key or a trust document.
        """
        if self.key is not None and self.trust is not None:
            raise IonError("usage", "give the log's key, or a trust document that names it, not both", "add --help")
        if self.trust is not None:
            return TrustFile(self.trust, self.root or self.trust.with_name("root.pub.pem")).read().root("ledger")
        if self.key is None:
            return None
        if "+" in self.key and not Path(self.key).exists():
            return TrustRoot((NoteKey.parse(self.key).public(),))
        return TrustRoot((load_public(Path(self.key)),))


def log_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the three options, together as its parameter ``log``."""

    @click.option("--key", help="The log's public key: a PEM file, or NAME+ID+KEY.")
    @click.option("--trust", type=file_argument, help="A trust document that names the log's keys.")
    @click.option("--root", type=file_argument, help="Root key of the trust document; default root.pub.pem beside it.")
    @wraps(function)
    def wrapped(*, key: str | None, trust: Path | None, root: Path | None, **others: object) -> None:
        function(log=LogKeys(key, trust, root), **others)

    return wrapped


def contents(path: Path, limit: int) -> bytes:
    """Return what a file named on the command line holds.

    Raises:
        IonError: ``no-file``, ``not-a-file`` or ``file-too-large``.
    """
    try:
        return read_regular(path, limit)
    except OSError as error:
        raise IonError("no-file", f"cannot read {path}: {error.strerror}", "check the path") from error
