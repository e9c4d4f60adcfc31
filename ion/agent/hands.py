"""Taking facts over from other users of this machine, who may want to mislead.

A hand is a folder ``hands/<name>`` of another user, who tells facts there and never opens the store. What the
user may do in it is not to be believed: each folder is opened once, without following links, and used through
the opened folder, so that it cannot be exchanged meanwhile. An agent of a hand is called ``<hand>.<program>-<id>``:
no hand can take the name of another's.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ion.agent.damage import SpoolFolder, tell_of_spool
from ion.agent.segments import segment_numbers
from ion.agent.shipping import ship_agent, ship_all
from ion.errors import IonError
from ion.facts import AlertRaised
from ion.home import HAND_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.agent.receiver import Receiver
    from ion.home import Home

MOST_BYTES = 8 * 1024 * 1024
"""Of one agent at a time, about: whoever writes without end delays nobody else for long."""

SECONDS = 0.5
"""For one hand at a time, about."""

_told: set[str] = set()
"""What this process has told of hands: the store would take it once, but be asked at every look."""

_MOST_TOLD = 10_000
_ROUNDS = 1000
_PATIENCE_SECONDS = 0.05
_MOST_AGENTS = 1000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_MAY_WRITE = 0o022


def ship_home(home: Home, receiver: Receiver, *, wait: bool = False) -> int:
    """Ship what waits in the home's own spool, and what its hands told; returns the number of facts shipped.

    With ``wait`` all of it, also where another shipper is at work (up to 10 s each).
    """
    shipped = ship_all(home.spool, receiver, wait=wait)
    for _ in range(_ROUNDS if wait else 1):  # a hand's facts go in portions
        handed = ship_hands(home, receiver, wait=wait)
        shipped += handed
        if not handed:
            break
    return shipped


def ship_hands(home: Home, receiver: Receiver, *, wait: bool = False) -> int:
    """Ship what the users of other hands told; returns the number of facts shipped.

    Trouble with one of them is an alert about it and stops no other. Only what the receiver raises is raised.
    """
    if not home.hands.is_dir():
        return 0
    shipped = 0
    with _opened(home.hands) as hands:
        found = hands.stat()
        if found.st_uid not in {0, os.geteuid()} or found.st_mode & _OTHERS_MAY_WRITE:
            told = f"hands/ belongs to user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}: others may write it"
            _alert(receiver, "hands", "hands-open", told)
            return 0
        for name in sorted(filter(HAND_NAME.match, os.listdir(hands))):  # noqa: PTH208 - names, not paths
            try:
                with _opened(hands / name) as hand, _opened(hand / "spool", hand.stat().st_uid) as spool:
                    shipped += _ship_hand(home, name, spool, receiver, wait=wait)
            except OSError as error:
                _alert(receiver, name, "hand-unusable", f"the facts of hand {name} cannot be taken over: {_why(error)}")
    return shipped


def _ship_hand(home: Home, hand: str, spool: Path, receiver: Receiver, *, wait: bool) -> int:
    shipped, owner = 0, spool.stat().st_uid
    with os.scandir(spool) as entries:
        agents = sorted(entry.name for entry in islice(entries, _MOST_AGENTS))
    deadline = time.monotonic() + (_ROUNDS if wait else SECONDS)
    for agent in agents:
        if time.monotonic() > deadline:
            break
        if not agent.startswith(f"{hand}."):
            _alert(receiver, hand, "foreign-agent", f"hand {hand} has a spool in the name of {agent}"[:300])
            continue
        try:
            with _opened(spool / agent, owner) as files:
                aside = home.root / "quarantine"
                folder = SpoolFolder(agent, files, spool / agent, aside, MOST_BYTES, _PATIENCE_SECONDS)
                if segment_numbers(files):
                    shipped += ship_agent(folder, receiver, wait=wait)
        except (FileNotFoundError, BlockingIOError):
            continue  # another shipper finished and removed it; its writer is just adding keys
        except OSError as error:
            _alert(receiver, agent, "hand-unusable", f"the spool of {agent} cannot be taken over: {_why(error)}")
    return shipped


@contextmanager
def _opened(folder: Path, owner: int | None = None) -> Iterator[Path]:
    """Open a folder that is none of a link's; yield a path to just this folder, whatever becomes of its name.

    Raises:
        OSError: there is no such folder, or it is not ``owner``'s.
        IonError: ``no-proc``.
    """
    handle = os.open(folder, _FOLDER)
    try:
        if owner is not None and os.fstat(handle).st_uid != owner:
            raise PermissionError(1, "it belongs to another user", str(folder))
        pinned = Path(f"/proc/self/fd/{handle}")
        if not pinned.is_dir():
            raise IonError("no-proc", "taking facts over from other users needs Linux", "use one user elsewhere")
        yield pinned
    finally:
        os.close(handle)


def _alert(receiver: Receiver, scope: str, kind: str, message: str) -> None:
    if message in _told:
        return
    tell_of_spool(receiver, AlertRaised(scope=scope, alert=kind, message=message), scope, message)
    if len(_told) < _MOST_TOLD:
        _told.add(message)


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
