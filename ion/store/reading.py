"""What the store answers: rows of the projections, and facts found by kind and subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from sqlalchemy import select

from ion.facts import Fact
from ion.records import Recorded, read_record
from ion.store import schema
from ion.store.answers import Current
from ion.values import dataclass

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from ion.ids import PredictionId

F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest position (0 when empty) and its 32-byte link."""

    position: int
    link: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """What one append did: facts new to the store, already known, and refused as conflicts."""

    accepted: int
    known: int
    conflicts: int


@dataclass(frozen=True, slots=True)
class Filed:
    """The columns beside a record, by which it is found: copies of what its bytes say."""

    position: int
    id: str
    agent: str
    seq: int
    kind: str
    us: int
    first: bool


class Reader:
    """Queries on one connection; shared by the store and a command."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(
        self,
        kind: type[F],
        subject: str | None = None,
        *,
        after: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Recorded[F]]:
        """Return facts of a kind, about ``subject`` if given, in store order; each fact id once."""
        fact, mention = schema.fact, schema.mention
        query = select(fact.c.position, fact.c.id, fact.c.agent, fact.c.us, fact.c.raw)
        if subject is None:
            query = query.where(fact.c.kind == kind.__name__, fact.c.first)
        else:
            query = query.join(mention, mention.c.position == fact.c.position)
            query = query.where(mention.c.subject == subject, mention.c.kind == kind.__name__)
        order = fact.c.position.desc() if newest_first else fact.c.position
        query = query.where(fact.c.position > after).order_by(order).limit(limit)
        return [recorded(row) for row in self._connection.execute(query).mappings()]

    def current(self, node: str) -> Current:
        """Return what ``ion/node`` should serve now."""
        query = select(schema.current).where(schema.current.c.node == node)
        row = self._connection.execute(query).mappings().first()
        return Current(**row) if row else Current(node, 0, "", "", "", "", halted=False)

    def prediction_position(self, prediction: PredictionId) -> int | None:
        """Return the position of the fact that committed this prediction, or None."""
        table = schema.prediction_range
        query = (
            select(table.c.position, table.c.last)
            .where(table.c.epoch == prediction.epoch, table.c.first <= prediction.seq)
            .order_by(table.c.first.desc())
            .limit(1)
        )
        row = self._connection.execute(query).first()
        return row.position if row is not None and row.last >= prediction.seq else None

    def serial_of(self, cause: str, node: str) -> int | None:
        """Return the serial of the change that ``cause`` made to a node, or None when it made none."""
        table = schema.cause
        query = select(table.c.serial).where(table.c.cause == cause, table.c.node == node)
        return self._connection.execute(query).scalar()


def recorded(row: RowMapping) -> Recorded[F]:
    """Return the fact in a row of position, id, agent, us and raw."""
    record = read_record(bytes(row["raw"]))
    return Recorded(row["position"], row["id"], row["agent"], row["us"], cast("F", record.fact))
