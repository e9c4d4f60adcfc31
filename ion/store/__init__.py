"""The governance store: append-only, hash-linked facts and what folds out of them.

``open_store(url)`` gives a `GovernanceStore` on SQLite or PostgreSQL. Facts enter in two ways
only: `GovernanceStore.append` takes what agents shipped, `GovernanceStore.command` is the
transaction in which governance itself acts (define, decide, promote, halt).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.store.answers import Candidate, Current
    from ion.store.asking import FactIndex, Listed, Search
    from ion.store.connection import outage
    from ion.store.governance import Command, GovernanceStore
    from ion.store.permission import Scope
    from ion.store.reading import Appended, Filed, Head

__all__ = [
    "Appended",
    "Candidate",
    "Command",
    "Current",
    "FactIndex",
    "Filed",
    "GovernanceStore",
    "Head",
    "Listed",
    "Scope",
    "Search",
    "open_store",
    "outage",
]
_AT = {
    **dict.fromkeys(("FactIndex", "Listed", "Search"), "asking"),
    **dict.fromkeys(("Command", "GovernanceStore"), "governance"),
    **dict.fromkeys(("Candidate", "Current"), "answers"),
    **dict.fromkeys(("Appended", "Filed", "Head"), "reading"),
    "Scope": "permission",
    "outage": "connection",
}


def open_store(url: str) -> GovernanceStore:
    """Open the store at a SQLAlchemy URL (``sqlite:///…`` or ``postgresql://…``).

    Raises:
        IonError: ``bad-store-url``, ``store-unreachable``, ``store-outdated``, ``foreign-store``.
    """
    from ion.store.governance import GovernanceStore

    return GovernanceStore(url)


def __getattr__(name: str) -> object:
    """Load what is asked for: SQLAlchemy takes a quarter of a second, and a sensor needs it first when it runs."""
    if name not in _AT:
        raise AttributeError(name)
    return getattr(import_module(f"ion.store.{_AT[name]}"), name)
