"""What one request may cost, and how many may cost it at once."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

_MIB = 1024 * 1024
_CHUNK = _MIB
_WINDOW = 8 * _MIB
"""What RFC 8878 asks a zstd decoder to support; more is refused before it is allocated."""
_FRAME_HEAD, _BLOCK_HEAD, _CHECKSUM = 18, 3, 4
"""Bytes of a zstd frame's header (at most), of a block's header, and of a frame's checksum."""
_REPEATED = 1
"""The block type that holds one byte, however long it is unpacked."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of the server.

    Args:
        body: bytes of a body as sent, and as decompressed. One fact with its block has up to 64 MiB.
        memory: bytes of bodies held at once, by all requests together.
        ingests: requests that write, at once.
        questions: requests that read, at once.
        grace: seconds a body may take in any case.
        rate: bytes per second that it must come with after that.
    """

    body: int = 80 * _MIB
    memory: int = 512 * _MIB
    ingests: int = 8
    questions: int = 24
    grace: float = 10.0
    rate: int = 64 * 1024


class Load:
    """What is being worked on now."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._running = {"ingest": 0, "question": 0, "none": 0}
        self._held = 0
        self._lock = threading.Lock()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of slots."""
        return tuple(self._running)

    def now(self, kind: str) -> int:
        """Return how many requests of a kind are being answered."""
        return self._running[kind]

    @contextmanager
    def slot(self, kind: str) -> Iterator[None]:
        """Take a place among the requests of a kind.

        Raises:
            IonError: ``server-busy``.
        """
        most = {"ingest": self._bounds.ingests, "question": self._bounds.questions}.get(kind)
        if most is not None and self._running[kind] >= most:
            raise _busy(f"{most} requests of this kind are being answered")
        self._running[kind] += 1
        try:
            yield
        finally:
            self._running[kind] -= 1

    @contextmanager
    def holding(self) -> Iterator[Holding]:
        """Open an account of the memory that one request's body takes; closed, it is given back."""
        holding = Holding(self)
        try:
            yield holding
        finally:
            self.change(-holding.size)

    def change(self, size: int) -> None:
        """Take or give back memory.

        Raises:
            IonError: ``server-busy``.
        """
        with self._lock:
            if size > 0 and self._held + size > self._bounds.memory:
                raise _busy("others are sending a lot")
            self._held += size


class Holding:
    """The memory that one request's body takes."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.size = 0

    def more(self, size: int) -> None:
        """Take more of it.

        Raises:
            IonError: ``server-busy``.
        """
        self._load.change(size)
        self.size += size


async def read_body(request: Request, bounds: Bounds, holding: Holding) -> bytes:
    """Return the body of a request as it was sent.

    Raises:
        IonError: ``body-too-large``, ``body-too-slow``, ``server-busy``.
        starlette.requests.ClientDisconnect: the sender went away.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > bounds.body:
        raise _too_large(bounds)
    received = bytearray()
    began = time.monotonic()
    stream = request.stream()
    while True:
        left = bounds.grace + len(received) / bounds.rate - (time.monotonic() - began)
        try:
            chunk = await asyncio.wait_for(anext(stream, None), max(left, 0.001))
        except TimeoutError as error:
            raise IonError("body-too-slow", f"{len(received)} bytes came, then too little", "send it again") from error
        if chunk is None:
            return bytes(received)
        holding.more(len(chunk))
        received += chunk
        if len(received) > bounds.body:
            raise _too_large(bounds)


def content(body: bytes, encoding: str, bounds: Bounds, holding: Holding) -> bytes:
    """Return what a body holds, decompressed up to the bound and no further.

    Raises:
        IonError: ``body-too-large``, ``bad-encoding``, ``bad-body``, ``server-busy``.
    """
    if encoding in {"", "identity"}:
        return body
    if encoding != "zstd":
        raise IonError("bad-encoding", f"the encoding {encoding!r} is not known here", "send zstd, or none")
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    found = bytearray()
    try:
        with decompressor.stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
            while chunk := reader.read(_CHUNK):
                holding.more(len(chunk))
                found += chunk
                if len(found) > bounds.body:
                    raise _too_large(bounds)
        whole = _ends_with_frame(body)
    except (zstandard.ZstdError, ValueError) as error:
        raise IonError("bad-body", f"the body is not zstd: {error}"[:300]) from error
    if not whole:
        raise IonError("bad-body", "the body was cut short", "send it again")
    return bytes(found)


def _ends_with_frame(body: bytes) -> bool:
    """Tell whether zstd frames make up the whole body: a reader takes one that was cut for a shorter one.

    Source: RFC 8878, section 3.1.1: after its header a frame has blocks of three bytes and a content, the last
    of them marked, and a checksum if the header says so.
    """
    import zstandard

    at = 0
    while at < len(body):
        head = body[at : at + _FRAME_HEAD]
        at += zstandard.frame_header_size(head)
        last = False
        while not last:
            if at + _BLOCK_HEAD > len(body):
                return False
            block = int.from_bytes(body[at : at + _BLOCK_HEAD], "little")
            last = bool(block & 1)
            at += _BLOCK_HEAD + (1 if block >> 1 & 3 == _REPEATED else block >> 3)
        at += _CHECKSUM if zstandard.get_frame_parameters(head).has_checksum else 0
    return at == len(body) > 0


def _too_large(bounds: Bounds) -> IonError:
    return IonError("body-too-large", f"the body has more than {bounds.body} bytes", "send it in parts")


def _busy(why: str) -> IonError:
    return IonError("server-busy", f"the server is busy: {why}", "send it again later; facts wait in their spools")
