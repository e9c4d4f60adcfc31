"""What a retention is asked for, what it chose, and how old a body is."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from sqlalchemy import select

from ion.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection, Delete

    from ion.store.floors import Kind

MOST = 10_000
"""Bodies, or leaves of points, that go in one transaction, about."""
Place = tuple[int, str]
"""How far a retention came: the position of a fact, or the id of a run."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to go: bodies of a kind older than ``before`` (µs), at one node or (empty) everywhere, and by whom."""

    kind: Kind
    before: int
    floor: int
    by: str
    node: str = ""


@dataclass(slots=True)
class Chosen:
    """What goes in one transaction: positions of facts, bodies and bytes; ``kept`` counts by reason what stays."""

    reached: Place
    positions: set[int] = field(default_factory=set)
    bodies: int = 0
    size: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    more: bool = False
    deletions: Callable[[], Iterable[Delete]] = list

    def keep(self, reason: str) -> None:
        """Count a body that stays."""
        self.kept[reason] = self.kept.get(reason, 0) + 1


class Arrivals:
    """When the store itself recorded what stands before a position.

    A fact is as old as it says, but not older than that: who tells facts with a clock that is behind does not
    have their bodies removed early.
    """

    def __init__(self, connection: Connection) -> None:
        table = schema.fact
        own = select(schema.meta.c.value).where(schema.meta.c.name == "store").scalar_subquery()
        told = select(table.c.position, table.c.us).where(table.c.agent == own).order_by(table.c.position)
        ours = [(row.position, row.us) for row in connection.execute(told)]
        self._places = [position for position, _ in ours]
        self._reached = list(accumulate((us for _, us in ours), max))

    def since(self, position: int, us: int) -> int:
        """Return the time (µs) of what a fact at a position says it is of ``us``."""
        before = bisect_left(self._places, position)
        return max(us, self._reached[before - 1] if before else 0)
