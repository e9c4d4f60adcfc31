"""The server as a receiver: facts go over HTTPS to another machine, with nothing but the standard library and zstd."""

from __future__ import annotations

import json
import os
import random
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from ion.agent.body import SPOOL_TYPE, frames_of
from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from http.client import HTTPConnection, HTTPResponse

    from ion.evidence.captures import CaptureKey
    from ion.records import Record

_SECONDS = 30.0
_LARGEST_ANSWER = 256 * 1024 * 1024
_LONGEST_PAUSE = 60.0
_COME_AGAIN = frozenset({408, 429, 502, 503, 504})
_UNKNOWN_TOKEN, _NOT_ALLOWED, _OK = 401, 403, 200


@dataclass(frozen=True, slots=True)
class Taken:
    """What the server did with facts: new to it, known already, refused; and the number it acknowledges."""

    accepted: int = 0
    known: int = 0
    conflicts: int = 0
    acknowledged: int | None = None


class RemoteReceiver:
    """The server at ``url``. One connection, kept open; safe across threads and forks.

    Args:
        url: ``https://host:port``, ``http://`` on this machine only; a path before ``/v1`` is kept.
        token: what `ion tokens new` showed; ``token_file`` is read again at each request, so that a token can
            be changed while the program runs.
        seconds: how long to wait for the network.

    Raises:
        IonError: ``insecure-url``, ``bad-store-url``, ``no-token``.
    """

    def __init__(self, url: str, token: str = "", *, token_file: Path | None = None, seconds: float = _SECONDS) -> None:
        self._secure, self._host, self._port, self._base = checked_url(url)
        if not token and token_file is None:
            hint = "set ION_AGENT_TOKEN, or ION_AGENT_TOKEN_FILE to a file that holds it"
            raise IonError("no-token", f"reporting to {url} needs a token", hint)
        self._token, self._token_file, self._seconds = token, token_file, seconds
        self._connection: HTTPConnection | None = None
        self._not_before = 0.0
        self._lock = threading.RLock()
        _receivers.add(self)

    @classmethod
    def of(cls, url: str) -> RemoteReceiver:
        """Return the receiver with the token that ``ION_AGENT_TOKEN`` or ``ION_AGENT_TOKEN_FILE`` gives.

        Raises:
            IonError: as the class.
        """
        file = os.environ.get("ION_AGENT_TOKEN_FILE", "")
        return cls(url, os.environ.get("ION_AGENT_TOKEN", ""), token_file=Path(file) if file else None)

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> Taken:
        """Send facts, each with the block it names; returns what became of them.

        Raises:
            IonError: ``receiver-unreachable``, ``receiver-busy``, ``receiver-refused``; what was not
                acknowledged must be sent again, and may be.
        """
        taken = Taken()
        for agent, body in frames_of(records, blocks or {}):
            path = f"/v1/agents/{quote(agent, safe='')}/facts"
            answer = self._asked("POST", path, body, SPOOL_TYPE)
            told = {item.name: answer.get(item.name) for item in fields(Taken)}
            counts = {name: value if isinstance(value, int) else 0 for name, value in told.items()}
            taken = Taken(
                taken.accepted + counts["accepted"],
                taken.known + counts["known"],
                taken.conflicts + counts["conflicts"],
                counts["acknowledged"],
            )
        return taken

    def keep_capture_keys(self, keys: Sequence[CaptureKey]) -> object:
        """Send keys, before the facts that name them.

        Raises:
            IonError: as `append`.
        """
        if not keys:
            return None
        told = {"keys": [[key.key_id, key.secret.hex(), key.subject] for key in keys]}
        return self._asked("POST", "/v1/capture-keys", json.dumps(told).encode(), "application/json")

    def acknowledged(self, agent: str) -> int | None:
        """Return the highest sequence number that the server has of an agent, or None.

        Raises:
            IonError: as `append`.
        """
        found = self.get(f"/v1/agents/{quote(agent, safe='')}").get("acknowledged")
        return found if isinstance(found, int) else None

    def head(self) -> int:
        """Return how many facts the server's store has; the token is not looked at.

        Raises:
            IonError: as `append`.
        """
        found = self.get("/ready").get("head")
        return found if isinstance(found, int) else 0

    def get(self, path: str, **query: str | int) -> Mapping[str, object]:
        """Ask the server: the JSON object at ``path``, a path of ``/openapi.json``.

        Raises:
            IonError: as `append`.
        """
        return self._asked("GET", path + (f"?{urlencode(query)}" if query else ""))

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def after_fork(self) -> None:
        """Leave the parent's connection alone in a forked child."""
        self._lock = threading.RLock()
        self._connection = None

    def _asked(self, method: str, path: str, body: bytes = b"", media: str = "") -> Mapping[str, object]:
        import zstandard

        headers = {"Authorization": f"Bearer {self._secret()}", "Accept": "application/json"}
        if body:
            body = zstandard.ZstdCompressor(level=3).compress(body)
            headers |= {"Content-Type": media, "Content-Encoding": "zstd"}
        with self._lock:
            left = self._not_before - time.monotonic()
            if left > 0:
                raise IonError("receiver-busy", f"{self._host} asked to wait; {left:.0f} s are left")
            status, wait, data = self._exchanged(method, self._base + path, body, headers)
            if status in _COME_AGAIN:
                self._not_before = time.monotonic() + wait
        return _judged(status, data, f"{self._host}:{self._port}")

    def _exchanged(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, float, bytes]:
        """Return status, seconds to wait and body; asks twice when a kept connection was closed meanwhile."""
        from http.client import HTTPException

        fresh = self._connection is None
        try:
            response = self._sent(method, path, body, headers)
            data = response.read(_LARGEST_ANSWER + 1)
            if len(data) > _LARGEST_ANSWER:
                self.close()  # what is left of it would be taken for the next answer
        except (OSError, HTTPException) as error:
            self.close()
            if not fresh and not isinstance(error, TimeoutError):
                return self._exchanged(method, path, body, headers)  # once: there is no connection now
            told = f"{self._host}:{self._port} does not answer: {str(error) or type(error).__name__}"
            hint = "facts wait in the spool; check ION_STORE_URL, the network and the server's certificate"
            raise IonError("receiver-unreachable", told[:300], hint) from error
        return response.status, _pause(response.headers.get("Retry-After", "")), data

    def _sent(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> HTTPResponse:
        if self._connection is None:
            self._connection = self._connected()
        refused = None
        try:
            self._connection.request(method, path, body or None, dict(headers))
        except (BrokenPipeError, ConnectionResetError) as error:  # it may have answered before it closed
            refused = error
        try:
            return self._connection.getresponse()
        except OSError:
            raise refused or ConnectionError("the connection was closed") from None

    def _connected(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        if not self._secure:
            return HTTPConnection(self._host, self._port, timeout=self._seconds)
        import ssl

        return HTTPSConnection(self._host, self._port, timeout=self._seconds, context=ssl.create_default_context())

    def _secret(self) -> str:
        if self._token_file is None:
            return self._token
        try:
            secret = self._token_file.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            told = f"cannot read the token in {self._token_file}: {error}"
            raise IonError("no-token", told[:300], "ION_AGENT_TOKEN_FILE names a file with nothing but it") from error
        if not secret.isprintable() or not secret:
            raise IonError("no-token", f"there is no token in {self._token_file}", "it holds nothing but the token")
        return secret


def checked_url(url: str) -> tuple[bool, str, int, str]:
    """Return whether a server's address is one of TLS, its host, port and path.

    Raises:
        IonError: ``insecure-url`` for plain HTTP to another machine, ``bad-store-url``.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment or parts.username:
        raise IonError("bad-store-url", f"not the address of a server: {url!r}"[:200], "write https://host:port")
    if parts.scheme == "http" and not is_loopback(host):
        hint = "use https://, for which the server needs --tls-cert and --tls-key"
        raise IonError("insecure-url", f"facts and tokens do not go to {host} in the clear", hint)
    secure = parts.scheme == "https"
    return secure, host, port or (443 if secure else 80), parts.path.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, as far as its name says."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host.lower() == "localhost"


def _pause(asked: str) -> float:
    """Return how long to wait, at least as long as the server asked, and not all at once."""
    seconds = float(asked) if asked.isdigit() else 1.0
    return min(seconds, _LONGEST_PAUSE) * random.uniform(1.0, 1.5)  # noqa: S311 - no secret


def _judged(status: int, data: bytes, where: str) -> Mapping[str, object]:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    found = answer if isinstance(answer, dict) else {}
    if status == _OK and found:
        return found
    error = found.get("error")
    told = str(error.get("message", "")) if isinstance(error, dict) else ""
    message = f"{where} answered {status}: {told}"[:300]
    if status in _COME_AGAIN:
        raise IonError("receiver-busy", message, "facts wait in the spool; they are sent again by themselves")
    hint = "facts wait in the spool until it takes them"
    if status in {_UNKNOWN_TOKEN, _NOT_ALLOWED}:
        hint += "; look at the token with `ion tokens list`"
    raise IonError("receiver-refused", message, hint)


_receivers: weakref.WeakSet[RemoteReceiver] = weakref.WeakSet()


def _after_fork() -> None:
    for receiver in list(_receivers):
        receiver.after_fork()


os.register_at_fork(after_in_child=_after_fork)
