"""Waiting for what stands for a node to change: one look at a few files every 50 ms, however many wait."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.evidence.envelope import MAX_ENVELOPE
from ion.evidence.files import MIB, read_regular
from ion.serving.erased import erased_path
from ion.serving.pointer import pointer_path, read_pointer
from ion.serving.standing import Standing

if TYPE_CHECKING:
    from pathlib import Path

    from ion.home import Home

LARGEST_ERASED = 16 * MIB
_LOOK_S = 0.05
_MOST_WAITING = 2000

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Watch:
    """What stands for the nodes of a deployment. For one event loop."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._waiting: dict[asyncio.Future[None], tuple[str, _Stamp]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def standing(self, node: str, tag: str, seconds: float) -> Standing:
        """Return what stands for ``ion/node``: at once if its tag is another one, else when it changes or time is up.

        Raises:
            IonError: ``bad-node``, ``server-busy`` when too many wait; ``file-too-large``, ``not-a-file``.
        """
        give_up = time.monotonic() + seconds
        while True:
            stamp, found = await asyncio.to_thread(self._read, node)
            left = give_up - time.monotonic()
            if found.tag != tag or left <= 0:
                return found
            await self._changed(node, stamp, left)

    async def _changed(self, node: str, stamp: _Stamp, seconds: float) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            raise IonError("server-busy", f"{_MOST_WAITING} others wait already", "ask again later, without waiting")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = node, stamp
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            pass
        finally:
            del self._waiting[future]

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(_LOOK_S)
            nodes = {node for node, _ in self._waiting.values()}
            stamps = await asyncio.to_thread(self._stamps, nodes)
            for future, (node, stamp) in self._waiting.items():
                if stamps.get(node, stamp) != stamp and not future.done():
                    future.set_result(None)

    def _read(self, node: str) -> tuple[_Stamp, Standing]:
        stamp = self._stamp(node)  # before reading: what changes meanwhile is read again
        try:
            pointer = read_pointer(pointer_path(self._home.root, node))
        except FileNotFoundError:
            pointer = None
        trust = _digest(self._home.trust_document, MAX_ENVELOPE)
        return stamp, Standing(node, pointer, trust, _digest(erased_path(self._home), LARGEST_ERASED))

    def _stamps(self, nodes: set[str]) -> dict[str, _Stamp]:
        return {node: self._stamp(node) for node in nodes}

    def _stamp(self, node: str) -> _Stamp:
        paths = (pointer_path(self._home.root, node), self._home.trust_document, erased_path(self._home))
        return tuple(_stat(path) for path in paths)


def _digest(path: Path, limit: int) -> str | None:
    try:
        return digest_bytes(read_regular(path, limit))
    except FileNotFoundError:
        return None


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
