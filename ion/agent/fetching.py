"""Asking a governance server for what a node needs, with nothing but the standard library.

Answers are bounded and nothing in them is believed here. One connection, kept open; a `ServerLink` is used by
one thread, but for `abort`.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ion.agent.remote import checked_url
from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.client import HTTPConnection, HTTPResponse

_SECONDS = 10.0
_CHUNK = 1 << 20
_LARGEST_REFUSAL = 65536
_OK, _NOT_MODIFIED, _NOT_FOUND, _BUSY, _FAILED = 200, 304, 404, 429, 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said; ``body`` is None when nothing changed since ``tag``."""

    body: bytes | None
    tag: str


class ServerLink:
    """The way to the server at ``url``.

    Args:
        url: ``https://host:port``; ``http://`` on this machine only. OpenSSL's ``SSL_CERT_FILE`` names another
            authority than the system's.
        token: returns the secret; asked with each request, so that it can be changed while the program runs.
        seconds: how long to wait for the network.

    Raises:
        IonError: ``insecure-url``, ``bad-store-url``.
    """

    def __init__(self, url: str, token: Callable[[], str], *, seconds: float = _SECONDS) -> None:
        self._secure, self._host, self._port, self._base = checked_url(url)
        self._token = token
        self._seconds = seconds
        self._connection: HTTPConnection | None = None
        self._aborted = False

    def get(self, path: str, *, limit: int, tag: str = "", wait: float = 0.0) -> Answer:
        """Return what is at ``path``: at once if it is another than ``tag``, else within ``wait`` seconds.

        Raises:
            IonError: ``receiver-unreachable``, ``receiver-refused``, ``no-token``, ``artifact-missing`` for what is
                not there; ``file-too-large`` over ``limit`` bytes.
        """
        response = self._asked(path, {"If-None-Match": tag} if tag else {}, self._seconds + wait)
        data = self._read(response, limit + 1)
        if len(data) > limit:
            self.close()  # what is left of it would be taken for the next answer
            raise IonError("file-too-large", f"the server's answer is larger than {limit} bytes")
        return Answer(None if response.status == _NOT_MODIFIED else data, response.headers.get("ETag", ""))

    @contextmanager
    def pieces(self, path: str) -> Iterator[Iterator[bytes]]:
        """Ask for what is at ``path`` piece by piece; raises as `get`, also while the pieces are taken."""
        response = self._asked(path, {}, self._seconds)

        def read() -> Iterator[bytes]:
            while piece := self._read(response, _CHUNK):
                yield piece

        try:
            yield read()
        finally:
            if not response.isclosed():
                self.close()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abort(self) -> None:
        """End what another thread waits for, and refuse whatever comes after."""
        self._aborted = True
        connection = self._connection
        with suppress(OSError):
            if connection is not None and connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _asked(self, path: str, headers: dict[str, str], seconds: float) -> HTTPResponse:
        from http.client import HTTPException

        try:
            response = self._sent(path, headers, seconds)
        except (OSError, HTTPException, ValueError) as error:
            raise self._unreachable(error) from error
        if response.status not in {_OK, _NOT_MODIFIED}:
            refusal = self._refusal(response.status, self._read(response, _LARGEST_REFUSAL))
            if not response.isclosed():
                self.close()
            raise refusal
        return response

    def _read(self, response: HTTPResponse, most: int) -> bytes:
        from http.client import HTTPException

        try:
            data = response.read(most)
            if len(data) < most and response.length:  # http.client takes a connection cut short for the end
                raise ConnectionError(f"{response.length} bytes are missing")
        except (OSError, HTTPException, ValueError) as error:
            raise self._unreachable(error) from error
        return data

    def _unreachable(self, error: Exception) -> IonError:
        self.close()
        told = f"{self._host}:{self._port} does not answer: {str(error) or type(error).__name__}"
        hint = "what serves goes on as its lease says; check ION_STORE_URL, the network and the certificate"
        return IonError("receiver-unreachable", told[:300], hint)

    def _sent(self, path: str, headers: dict[str, str], seconds: float) -> HTTPResponse:
        """Ask, once more when the server had closed the kept connection."""
        kept = self._connection is not None
        headers = headers | {"Authorization": f"Bearer {self._token()}"}
        while True:
            if self._aborted:
                raise OSError("stopped")
            connection = self._connection or self._connected(seconds)
            self._connection = connection
            try:
                if connection.sock is not None:
                    connection.sock.settimeout(seconds)
                connection.request("GET", self._base + path, headers=headers)
                return connection.getresponse()
            except TimeoutError:
                raise
            except (ConnectionError, OSError):
                if not kept:
                    raise
                kept = False
                self.close()

    def _connected(self, seconds: float) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        if not self._secure:
            return HTTPConnection(self._host, self._port, timeout=seconds)
        import ssl

        return HTTPSConnection(self._host, self._port, timeout=seconds, context=ssl.create_default_context())

    def _refusal(self, status: int, data: bytes) -> IonError:
        told = ""
        with suppress(ValueError, RecursionError, TypeError, KeyError):
            told = str(json.loads(data)["error"]["message"])
        message = f"{self._host}:{self._port} answered {status}: {told}"[:300]
        if status == _NOT_FOUND:
            return IonError("artifact-missing", message, "the server has nothing there")
        if status >= _FAILED or status == _BUSY:
            return IonError("receiver-unreachable", message, "it is asked again by itself")
        return IonError("receiver-refused", message, "look at the token with `ion tokens list`")


def token_of_environment() -> str:
    """Return what the file ``ION_AGENT_TOKEN_FILE`` holds, else ``ION_AGENT_TOKEN``.

    Raises:
        IonError: ``no-token``.
    """
    file, token = os.environ.get("ION_AGENT_TOKEN_FILE", ""), os.environ.get("ION_AGENT_TOKEN", "")
    if file:
        token = ""
        with suppress(OSError, ValueError):
            token = Path(file).read_text("ascii").strip()
    if not token or not token.isprintable():
        hint = "set ION_AGENT_TOKEN, or ION_AGENT_TOKEN_FILE to a file with nothing but it"
        raise IonError("no-token", "asking the server needs a token", hint)
    return token
