"""Ports: whether one is free, and who has it if not."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from ion.cli.deployment.processes import Process
from ion.errors import IonError

_LISTEN = "0A"


def require_free(host: str, port: int, *, option: str) -> None:
    """Return when ``host:port`` can be listened on.

    Raises:
        IonError: ``port-occupied`` naming the process that has it; ``port-forbidden``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise IonError(
                "port-forbidden",
                f"port {port} may not be used by this user",
                f"choose one from 1024 up: {option} {port + 8000}",
            ) from error
        except OSError as error:
            holder = listener(port)
            who = f"by process {holder.pid}: {holder.command[:120]}" if holder else "by a process of another user"
            raise IonError(
                "port-occupied",
                f"port {port} is taken {who}",
                f"end that process, or choose another port: {option} {port + 10}",
            ) from error


def listener(port: int) -> Process | None:
    """Return the process that listens on a TCP port; None when nobody does, or it may not be seen."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(table, port)}
    if not inodes:
        return None
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if not entry.isdigit():
            continue
        with suppress(OSError):
            for descriptor in Path("/proc", entry, "fd").iterdir():
                if _target(descriptor) in inodes:
                    return Process.of(int(entry))
    return None


def _listening(table: str, port: int) -> list[str]:
    """Return the inodes of the sockets that listen on ``port``; see proc_net_tcp(5)."""
    try:
        lines = Path("/proc/net", table).read_text().splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""
