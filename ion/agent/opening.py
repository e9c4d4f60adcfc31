"""How a program gets a client: one of its own, or the one its process shares."""

from __future__ import annotations

import atexit
import os
import threading

from ion.agent.client import Client
from ion.agent.receiver import StoreReceiver
from ion.agent.remote import RemoteReceiver
from ion.home import Home


def open_client(home: Home | None = None, *, name: str = "agent", ship: bool = True) -> Client:
    """Open a client under ``home`` (default: `Home.find`).

    With ``ship`` the facts go straight to the store at the home's ``store_url`` (needs the extra
    ``store``), or with ``ION_STORE_URL=https://host:port`` to the server there (needs nothing but a
    token); while it cannot be reached they wait in the spool. Without, they stay in the spool until
    another agent of this host ships them. With ``ION_STORE_URL=spool:NAME`` the store is not opened
    either way: governance, which is another user, takes the facts over from the hand NAME.

    Raises:
        IonError: ``extra-missing`` when ``ship`` is asked for without SQLAlchemy; ``bad-store-url``,
            ``foreign-store``; ``insecure-url``, ``no-token``; as `Client`.
    """
    found = home or Home.find()
    return _opened(found, name, _place(found) if ship else "")


def _place(home: Home) -> str:
    """Return where a client ships to: a server, a store, or nowhere."""
    return "" if home.hand else home.server_url or home.store_url


def _opened(home: Home, name: str, url: str) -> Client:
    home.make()
    if url.startswith(("https://", "http://")):
        return Client(home, name, RemoteReceiver.of(url))
    return Client(home, name, StoreReceiver.of(url) if url else None)


_shared: dict[tuple[Home, str], Client] = {}
_shared_lock = threading.Lock()


def shared_client(home: Home, store_url: str = "") -> Client:
    """Return this process's own client for ``home``, shipping as `open_client` does; closed when it ends."""
    place = (home, "" if home.hand else store_url or _place(home))
    with _shared_lock:
        if place not in _shared or _shared[place].closed:
            _shared[place] = _opened(home, "program", place[1])
            atexit.register(_shared[place].close)
        return _shared[place]


def ship_shared(home: Home) -> str:
    """Ship what this process's own client for ``home`` was told; returns why something waits, or nothing."""
    with _shared_lock:
        mine = [client for (place, _), client in _shared.items() if place == home and not client.closed]
    waiting = [client.last_trouble for client in mine if not client.ship()]
    return f"what this program told waits in its spool: {waiting[0]}" if waiting else ""


def _after_fork() -> None:
    global _shared_lock  # noqa: PLW0603 - another thread of the parent may have held it
    _shared_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
