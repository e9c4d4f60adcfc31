"""Checkpoints in a git repository: an annotated tag whose message is the note. Its signature is that of the note."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    from pathlib import Path

    from ion.ledger import SignedCheckpoint

PREFIX = "ion-checkpoint-"
_TIMEOUT_S = 30


def anchor(repository: Path, signed: SignedCheckpoint, *, sign: bool = False) -> str:
    """Tag the repository's HEAD with a checkpoint; returns the tag's name. The same again changes nothing.

    Args:
        repository: a checkout or a bare repository.
        signed: the checkpoint.
        sign: have git sign the tag too, with the user's own key.

    Raises:
        IonError: ``anchor-differs`` when the tag holds another note, ``git-failed``.
    """
    name, note = f"{PREFIX}{signed.size}", signed.note.to_bytes()
    there = anchored(repository).get(name)
    if there is None:
        kind = "--sign" if sign else "--annotate"
        _git(repository, "tag", kind, "--cleanup=verbatim", "--file=-", name, given=note)
    elif there.partition(b"\n\n")[0] != note.partition(b"\n\n")[0]:
        message = f"the tag {name} holds another checkpoint of {signed.size} records"
        raise IonError("anchor-differs", message, "two ledgers, or one that was rewritten: `ion audit verify --git`")
    return name


def anchored(repository: Path) -> dict[str, bytes]:
    """Return the note of every such tag, by its name.

    Raises:
        IonError: ``git-failed``.
    """
    listed = _git(repository, "for-each-ref", "--format=%(objecttype) %(refname:strip=2)", f"refs/tags/{PREFIX}*")
    names = [line.partition(" ")[2] for line in listed.decode().splitlines() if line.startswith("tag ")]
    return {name: _message(_git(repository, "cat-file", "tag", name)) for name in names}


def _message(tag: bytes) -> bytes:
    """Return a tag's text without its head, and without a signature by git."""
    text = tag.partition(b"\n\n")[2]
    at = text.find(b"-----BEGIN ")
    return text if at < 0 else text[:at]


def _git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(  # arguments are a list; the repository is the operator's choice
            ["git", "-C", str(repository), *arguments],  # noqa: S607 - git from the path, as people use it
            input=given,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IonError("git-failed", f"git could not be run: {error}", "install git, or name another folder") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[:300]
        raise IonError("git-failed", f"git {arguments[0]} failed: {said}", "name a repository that has a commit")
    return done.stdout
