"""Who is at the other end: the user, as the kernel knows it."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

_ROOT = 0
_CREDENTIALS = struct.Struct("3i")
_LISTEN = "0A"
_LOOKS = 3


def check_peer(connection: TransportSocket) -> None:
    """Let only this process's own user pass, and root.

    Raises:
        IonError: ``foreign-peer``, also where the user cannot be told.
    """
    if connection.family == socket.AF_UNIX:
        user: int | None = _user_of_unix(connection)
    else:  # the table is read in pieces: what is missed while connections come and go is there the next time
        user = next((found for _ in range(_LOOKS) if (found := _user_of_loopback(connection)) is not None), None)
    if user is None or user not in {os.geteuid(), _ROOT}:
        who = "a user that cannot be told" if user is None else f"user {user}"
        hint = "let the program run as the agent's user, or run an agent of its own"
        raise IonError("foreign-peer", f"{who} may not tell facts to this agent", hint)


def _user_of_unix(connection: TransportSocket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def _user_of_loopback(connection: TransportSocket) -> int | None:
    """Return who owns the other end of a connection on this machine, by the kernel's table of sockets."""
    ours, theirs = connection.getsockname()[:2], connection.getpeername()[:2]
    for table, prefix in (("tcp", ""), ("tcp6", _MAPPED)):
        wanted = [f"{prefix}{_address(theirs)}", f"{prefix}{_address(ours)}"]
        try:
            rows = Path("/proc/net", table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            # Without an inode nobody has the socket any more; the kernel then names user 0.
            if columns[1:3] == wanted and columns[3] != _LISTEN and columns[9] != "0":
                return int(columns[7])
    return None


def _address(name: tuple[str, int]) -> str:
    host, port = name
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"


# An IPv4 address on an IPv6 socket, ::ffff:a.b.c.d, as four words in the machine's order.
_MAPPED = "0" * 16 + f"{int.from_bytes(bytes.fromhex('0000ffff'), sys.byteorder):08X}"
