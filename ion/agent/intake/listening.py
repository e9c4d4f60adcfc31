"""The places an intake listens at: a Unix socket of its owner alone, a port of the loopback interface."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    from pathlib import Path

_WAITING = 128
_LONGEST_PATH = 107
"""Bytes of the path of a Unix socket, unix(7)."""


class SocketPlace:
    """A listening Unix socket, 0600, held by a lock beside it as long as it listens.

    Raises:
        IonError: ``socket-taken``, ``socket-place``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise IonError(
                "socket-place", f"the path of a socket has at most {_LONGEST_PATH} bytes", "--socket names one"
            )
        self._lock = -1
        try:
            self._lock = self._locked()
            self.socket = self._listening()
        except OSError as error:
            self._release()
            raise IonError(
                "socket-place", f"cannot listen at {path}: {error.strerror}", "name another place with --socket"
            ) from error
        except IonError:
            self._release()
            raise

    def _locked(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self.path.with_name(f"{self.path.name}.lock"), flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise IonError(
                "socket-taken", f"another intake listens at {self.path}", "use it, or name another place with --socket"
            ) from error
        return handle

    def _listening(self) -> socket.socket:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise FileExistsError(errno.EEXIST, "something that is no socket is there")
            self.path.unlink()  # of an intake that ended without tidying up: we hold its lock
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(listening.fileno(), 0o600)  # before bind: Linux makes the file with this mode
            listening.bind(os.fspath(self.path))
            self.path.chmod(0o600)
            listening.listen(_WAITING)
        except BaseException:
            listening.close()
            raise
        return listening

    def close(self) -> None:
        """Stop listening and take the socket away."""
        self.socket.close()
        self.path.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        handle, self._lock = self._lock, -1
        if handle >= 0:
            os.close(handle)


def loopback(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1; port 0 takes a free one.

    Raises:
        IonError: ``port-occupied``, ``port-forbidden``.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(_WAITING)
    except PermissionError as error:
        listening.close()
        raise IonError(
            "port-forbidden", f"port {port} may not be used by this user", "choose one from 1024 up"
        ) from error
    except OSError as error:
        listening.close()
        raise IonError("port-occupied", f"port {port} is taken", "choose another with --port") from error
    return listening
