"""Serving an intake: a thread with an event loop that reads what programs of this host send."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from socket import AF_UNIX
from typing import TYPE_CHECKING, Self

from ion.agent.intake.listening import SocketPlace, loopback
from ion.agent.intake.peers import check_peer
from ion.agent.intake.requests import serve_request, write_refusal
from ion.agent.intake.splitting import LineSplitter
from ion.agent.intake.taking import LONGEST_LINE, Answer, Taking
from ion.errors import IonError

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket
    from collections.abc import Awaitable, Sequence
    from pathlib import Path
    from types import TracebackType

    from ion.agent.client import Client
    from ion.agent.intake.addressing import Addressing

_MOST_CONNECTIONS = 64
_PIECE = 64 * 1024
_TELL_SECONDS = 1.0
_LINGER_SECONDS = 2.0
_REQUEST_STARTS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Intake:
    """A running intake; end it with `close` or a ``with`` block. The client stays open.

    Args:
        client: what is told becomes facts of this agent.
        socket: path of a Unix socket, made for this user alone.
        port: of 127.0.0.1; 0 takes a free one, None listens at none.
        nodes: which nodes the jobs of OpenLineage events are; by default as their own names say.
        slow: seconds that a line, a request or reading an answer may take.
        idle: seconds that a connection may stay open without a line.

    Raises:
        IonError: ``socket-taken``, ``socket-place``, ``port-occupied``, ``port-forbidden``.
    """

    def __init__(
        self,
        client: Client,
        *,
        socket: Path | None = None,
        port: int | None = None,
        nodes: Addressing | None = None,
        slow: float = 30.0,
        idle: float = 900.0,
    ) -> None:
        self._taking = Taking(client, nodes)
        self._slow, self._idle = slow, idle
        self._place = SocketPlace(socket) if socket is not None else None
        try:
            self._loopback = loopback(port) if port is not None else None
        except IonError:
            if self._place is not None:
                self._place.close()
            raise
        self.port = self._loopback.getsockname()[1] if self._loopback is not None else 0
        """The port listened at; 0 for none."""
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="ion-intake", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, finish what is being taken, note what was refused; harmless twice.

        Raises:
            IonError: as `Client.emit`, when what was refused could not be noted.
        """
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            if self._place is not None:
                self._place.close()
            self._taking.tell_refused(at_once=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        servers: list[asyncio.Server] = []
        if self._place is not None:
            servers.append(await asyncio.start_unix_server(self._connected, sock=self._place.socket))
        if self._loopback is not None:
            servers.append(await asyncio.start_server(self._connected, sock=self._loopback))
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), _TELL_SECONDS)
            except TimeoutError:
                await asyncio.to_thread(self._tell_refused)
        for server in servers:
            server.close()

    def _tell_refused(self) -> None:
        try:
            self._taking.tell_refused()
        except IonError:
            return  # the count is kept

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        writer.transport.set_write_buffer_limits(0)  # drained means: all of it is with the kernel
        try:
            await self._talk(reader, writer)
        except asyncio.CancelledError:
            return  # the intake ends; asyncio's streams would log a cancelled task as a fault
        except (OSError, asyncio.IncompleteReadError):  # a TimeoutError is an OSError
            writer.transport.abort()  # gone, or does not read its answers; what was not answered is sent again
        finally:
            self._connections -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        port = 0 if connection.family == AF_UNIX else self.port
        as_lines = not port  # until the first bytes show a request
        try:
            self._check(connection)
            first = await asyncio.wait_for(reader.read(_PIECE), self._slow if port else self._idle)
            if not first:
                return
            as_lines = as_lines and first[0] not in _REQUEST_STARTS
            if as_lines:
                await self._lines(reader, writer, first)
            else:
                await self._within(self._slow, serve_request(reader, writer, first, self._taking, port))
        except IonError as error:
            answer = self._taking.refuse(error)
            if as_lines:
                _write_answers(writer, [answer])
            else:
                write_refusal(writer, answer)
            await self._linger(reader, writer)
        await asyncio.wait_for(writer.drain(), self._slow)

    def _check(self, connection: TransportSocket) -> None:
        check_peer(connection)
        if self._connections > _MOST_CONNECTIONS:
            raise IonError("intake-busy", f"over {_MOST_CONNECTIONS} connections", "try again in a moment")

    async def _linger(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read on for a moment: closed at once, the kernel would throw away the answer with what was not read."""
        writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await reader.read(_PIECE):
                    pass

    async def _lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Take lines until the stream ends."""
        splitter = LineSplitter(LONGEST_LINE)
        clock, begun = asyncio.get_running_loop().time, 0.0
        while True:
            was_inside = splitter.inside
            lines = splitter.feed(data) if data else splitter.end()
            if lines:
                _write_answers(writer, await asyncio.to_thread(self._taking.take, lines))
                await asyncio.wait_for(writer.drain(), self._slow)
            if not data:
                return
            if splitter.inside and (lines or not was_inside):
                begun = clock()
            if splitter.inside:
                data = await self._within(max(begun + self._slow - clock(), 0.0), reader.read(_PIECE))
            else:  # nothing is lost when this ends
                data = await asyncio.wait_for(reader.read(_PIECE), self._idle)

    async def _within(self, seconds: float, reading: Awaitable[bytes | None]) -> bytes:
        try:
            return await asyncio.wait_for(reading, seconds) or b""
        except TimeoutError:
            raise IonError("too-slow", f"nothing whole came within {seconds:.0f} s", "send whole lines") from None


def _write_answers(writer: asyncio.StreamWriter, answers: Sequence[Answer]) -> None:
    writer.write("".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers).encode())


def serve_intake(
    client: Client, *, socket: Path | None = None, port: int | None = None, nodes: Addressing | None = None
) -> Intake:
    """Serve an intake in a thread of this process; see `Intake`."""
    return Intake(client, socket=socket, port=port, nodes=nodes)
