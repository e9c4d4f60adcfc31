"""Facts as they are asked for page by page: by kind, by what they speak of, by agent and time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import select

from ion.facts import Fact, InputsCaptured
from ion.store import schema
from ion.store.reading import recorded
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine, Select

    from ion.ids import PredictionId
    from ion.records import Recorded

F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Search:
    """Which facts are meant; what is empty does not matter.

    ``subjects``: the fact speaks of one of each group. ``since`` and ``until`` are microseconds UTC as the
    agents told them, the end not included. ``after`` is a position in the store.
    """

    kinds: Sequence[str] = ()
    subjects: Sequence[Sequence[str]] = ()
    agent: str = ""
    since: int = 0
    until: int = 0
    after: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Listed:
    """One fact with its position; ``record`` is the JSON of its record (docs/spec/ledger.md)."""

    position: int
    record: Mapping[str, object]


class FactIndex:
    """Questions that are answered a page at a time, by position."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def captured(self, prediction: PredictionId) -> list[Recorded[InputsCaptured]]:
        """Return the facts in whose blocks the input of a prediction stands, in store order."""
        table = schema.captured_range
        within = (table.c.first <= prediction.seq) & (table.c.last >= prediction.seq)
        query = select(table.c.position).where(table.c.epoch == prediction.epoch, within)
        return self._recorded(InputsCaptured, query)

    def captured_ranges(self, epoch: str) -> list[tuple[int, int]]:
        """Return ``(first, last)`` of the captured predictions of an epoch."""
        table = schema.captured_range
        with self._engine.connect() as connection:
            rows = connection.execute(select(table.c.first, table.c.last).where(table.c.epoch == epoch))
            return [(row.first, row.last) for row in rows]

    def _recorded(self, kind: type[F], positions: Select[tuple[int]]) -> list[Recorded[F]]:
        fact = schema.fact
        query = select(fact.c.position, fact.c.id, fact.c.agent, fact.c.us, fact.c.raw)
        query = query.where(fact.c.position.in_(positions), fact.c.kind == kind.__name__).order_by(fact.c.position)
        with self._engine.connect() as connection:
            return [recorded(row) for row in connection.execute(query).mappings()]

    def search(self, search: Search) -> list[Listed]:
        """Return at most ``search.limit`` facts in store order, each fact id once."""
        fact, mention = schema.fact, schema.mention
        query = select(fact.c.position, fact.c.raw).where(fact.c.position > search.after, fact.c.first)
        if search.kinds:
            query = query.where(fact.c.kind.in_(search.kinds))
        for group in search.subjects:
            about = select(mention.c.position).where(mention.c.subject.in_(group), mention.c.position > search.after)
            if search.kinds:
                about = about.where(mention.c.kind.in_(search.kinds))
            query = query.where(fact.c.position.in_(about))
        if search.agent:
            query = query.where(fact.c.agent == search.agent)
        if search.since:
            query = query.where(fact.c.us >= search.since)
        if search.until:
            query = query.where(fact.c.us < search.until)
        query = query.order_by(fact.c.position).limit(search.limit)
        with self._engine.connect() as connection:
            return [Listed(row.position, json.loads(bytes(row.raw))) for row in connection.execute(query)]

    def acknowledged(self, agent: str) -> int | None:
        """Return the highest sequence number acknowledged to an agent, or None when it is not known."""
        query = select(schema.agent.c.seq).where(schema.agent.c.agent == agent)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def subjects(self, kind: str, prefix: str) -> list[str]:
        """Return what facts of a kind speak of, where that begins with ``prefix``, in order."""
        subject = schema.mention.c.subject
        within = (subject.startswith(prefix, autoescape=True), schema.mention.c.kind == kind)
        with self._engine.connect() as connection:
            return list(connection.execute(select(subject).where(*within).distinct().order_by(subject)).scalars())

    def agents(self, after: str = "", limit: int = 100) -> list[tuple[str, int, int]]:
        """Return agents by name, each with its highest acknowledged number and when that was (µs)."""
        table = schema.agent
        query = select(table.c.agent, table.c.seq, table.c.us).where(table.c.agent > after)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c.agent).limit(limit))
            return [(row.agent, row.seq, row.us) for row in rows]

    def entries(self, first: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Return ``(position, raw, link)`` of up to ``limit`` records from ``first`` on."""
        columns = (schema.fact.c.position, schema.fact.c.raw, schema.fact.c.link)
        query = select(*columns).where(columns[0] >= first).order_by(columns[0]).limit(limit)
        with self._engine.connect() as connection:
            return [(row.position, bytes(row.raw), bytes(row.link)) for row in connection.execute(query)]
