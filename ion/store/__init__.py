"""The governance store: append-only, hash-linked facts and what folds out of them.

``open_store(url)`` gives a `GovernanceStore` on SQLite or PostgreSQL. Facts enter in two ways
only: `GovernanceStore.append` takes what agents shipped, `GovernanceStore.command` is the
transaction in which governance itself acts (define, decide, promote, halt).
"""

from ion.store.asking import FactIndex, Listed, Search
from ion.store.connection import outage
from ion.store.governance import Command, GovernanceStore, open_store
from ion.store.permission import Scope
from ion.store.reading import Appended, Candidate, Current, Filed, Head

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
