"""Artifacts here, completed from a governance server: what is missing or damaged is fetched by digest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ion.canonical import checked_digest
from ion.errors import IonError
from ion.evidence.artifacts import MAX_ARTIFACT, ArtifactStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ion.agent.fetching import ServerLink

_LOOK_S = 1.0


class SupersededError(Exception):
    """What is being fetched is not wanted any more."""


class FetchedArtifacts(ArtifactStore):
    """The artifacts in a folder and those of a server. One thread uses it.

    Args:
        root: the folder.
        link: the server.
        address: where on it artifacts are, by digest.
        wanted: says whether a download is still wanted; asked once a second while it lasts.
    """

    def __init__(self, root: Path, link: ServerLink, address: str, wanted: Callable[[], bool]) -> None:
        super().__init__(root)
        self._link = link
        self._address = address
        self._wanted = wanted

    def get(self, digest: str, *, limit: int = MAX_ARTIFACT) -> bytes:
        """Return the bytes; raises as `ArtifactStore.get` and `fetch`."""
        self.fetch(digest, limit)
        return super().get(digest, limit=limit)

    def fetch(self, digest: str, limit: int) -> None:
        """Have an artifact here, if need be from the server; hashed either way.

        Raises:
            IonError: ``bad-digest``, ``artifact-missing`` also there, ``artifact-too-large``, ``artifact-corrupt``,
                ``artifact-unwritable``; as `ServerLink.get`.
            SupersededError: it is not wanted any more.
        """
        if self.holds(digest):
            return
        with self._link.pieces(f"{self._address}/{checked_digest(digest)}") as pieces:
            try:
                self.take(digest, self._as_long_as_wanted(pieces), limit=limit)
            except OSError as error:
                message = f"cannot store artifact {digest}: {error.strerror}"
                raise IonError("artifact-unwritable", message, "free disk space, or mend the permissions") from error

    def _as_long_as_wanted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        due = time.monotonic() + _LOOK_S
        for piece in pieces:
            yield piece
            if time.monotonic() > due:
                due = time.monotonic() + _LOOK_S
                if not self._wanted():
                    raise SupersededError
