"""One transaction's appends: numbers, links and projections, under the head lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.facts import GOVERNANCE_ONLY, AlertRaised, ClockSkewed, Fact, GapNoted, StatisticsRecorded
from ion.ids import new_id, observed_id
from ion.ledger import link
from ion.records import Record, write_record
from ion.store import points, schema
from ion.store.permission import Permission
from ion.store.projections import fold
from ion.store.reading import Appended, Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from ion.clock import Clock
    from ion.store.permission import Scope

_LEAVES_A_HOLE = frozenset({"forbidden-fact", "out-of-scope"})


class Append:
    """Appends within one transaction that already holds the head lock; end with `finish`."""

    def __init__(self, connection: Connection, clock: Clock, scope: Scope | None = None) -> None:
        self._connection = connection
        self._permission = Permission(Reader(connection), scope) if scope else None
        self._clock = clock
        row = connection.execute(select(schema.head.c.position, schema.head.c.link)).one()
        self._started = row.position
        self._position: int = row.position
        self._link = bytes(row.link)
        query = select(schema.meta.c.value).where(schema.meta.c.name == "store")
        self._own: str = connection.execute(query).scalar_one()
        self._own_next: int | None = None

    def shipped(self, records: Sequence[Record], blocks: Mapping[str, bytes]) -> Appended:
        """Append what agents shipped; refuse, with an alert each, what is not theirs to say."""
        named = {record.fact.digest for record in records if isinstance(record.fact, StatisticsRecorded)}
        for digest, body in blocks.items():
            if digest not in named:
                self._keep_block(digest, body)
        known = conflicts = 0
        fresh: list[Record] = []
        raws = self._raws_of(records)
        for record in records:
            stored = raws.get((record.agent, record.seq))
            if stored is not None and stored == record.raw:
                known += 1
                continue
            refusal = self._refusal(record, known=stored is not None)
            if refusal:
                conflicts += 1
                self._alert(record.agent, *refusal, about=record.digest)
                if refusal[0] in _LEAVES_A_HOLE:
                    self._refused(record, refusal[1])
            else:
                fresh.append(record)
                raws[record.agent, record.seq] = record.raw
        self._note_skew(fresh)
        for position, record in self._write(fresh):
            if isinstance(record.fact, StatisticsRecorded):
                self._keep_points(position, record, record.fact, blocks.get(record.fact.digest, b""))
        for agent in {record.agent for record in fresh}:
            self._acknowledge(agent, max(r.seq for r in fresh if r.agent == agent))
        return Appended(len(fresh), known, conflicts)

    def _refusal(self, record: Record, *, known: bool) -> tuple[str, str] | None:
        """Return the alert and its message when a record must not enter."""
        kind = type(record.fact).__name__
        if record.agent == self._own:
            return "forbidden-agent", f"an agent shipped a {kind} in the name of the store"
        if isinstance(record.fact, GOVERNANCE_ONLY):
            return "forbidden-fact", f"an agent may not tell a {kind}; it did as sequence {record.seq}"
        if known:
            return "sequence-conflict", f"sequence {record.seq} came twice with different content"
        problem = self._permission.problem(record) if self._permission else ""
        if problem:
            return "out-of-scope", f"a {kind} as sequence {record.seq} was refused: {problem}"
        return None

    def _note_skew(self, records: Sequence[Record]) -> None:
        """Advance the clock; tell once per agent and batch how far ahead of it an agent was."""
        ahead: dict[str, int] = {}
        for record in records:
            if not self._clock.observe(record.stamp):
                ahead[record.agent] = max(ahead.get(record.agent, 0), record.stamp.us - now_us())
        for agent, us in ahead.items():
            self.own(ClockSkewed(agent=agent, ahead_us=us), new_id())

    def own(self, fact: Fact, fact_id: str) -> int:
        """Append a fact of the store's own (``fact_id``: a new one if empty); return its position."""
        if self._own_next is None:
            query = select(schema.agent.c.seq).where(schema.agent.c.agent == self._own)
            last = self._connection.execute(query).scalar()
            self._own_next = 0 if last is None else last + 1
        record = write_record(
            fact, fact_id=fact_id or new_id(), agent=self._own, seq=self._own_next, stamp=self._clock.tick()
        )
        self._write([record])
        self._acknowledge(self._own, self._own_next)
        self._own_next += 1
        return self._position

    def _keep_points(self, position: int, record: Record, fact: StatisticsRecorded, block: bytes) -> None:
        problem = points.keep(self._connection, position, fact, block)
        if problem:
            reason = f"their points did not come: {problem}"[:300]
            self._alert(fact.run, "points-differ", f"statistics without their points: {problem}", about=record.digest)
            count = sum(n for row in fact.series if isinstance(n := row.get("n"), int))
            gap = GapNoted(scope=fact.run, what="statistics", count=count, reason=reason)
            self.own(gap, observed_id("points missing", record.id))

    def _keep_block(self, digest: str, body: bytes) -> None:
        """Keep a ciphertext block under its digest; other bytes raise an alert instead."""
        if digest_bytes(body) != digest:
            message = "a shipped block does not have the digest its fact names"
            self._alert(digest, "block-differs", message, about=digest_bytes(body))
            return
        query = select(schema.block.c.digest).where(schema.block.c.digest == digest)
        if self._connection.execute(query).first() is None:
            self._connection.execute(insert(schema.block).values(digest=digest, body=body))

    def finish(self) -> None:
        """Write the new head; nothing is appended after this."""
        if self._position != self._started:
            values = {"position": self._position, "link": self._link}
            self._connection.execute(update(schema.head).values(values))

    def _alert(self, scope: str, alert: str, message: str, *, about: str) -> None:
        """Raise an alert once, however often the same thing is shipped."""
        identity = observed_id("alert", scope, alert, about)
        if not self._ids_known({identity}):
            self.own(AlertRaised(scope=scope, alert=alert, message=message), identity)

    def _refused(self, record: Record, reason: str) -> None:
        """Explain the hole that a refused record leaves in its agent's numbers, once."""
        identity = observed_id("refused", record.agent, str(record.seq))
        if not self._ids_known({identity}):
            gap = GapNoted(
                scope=record.agent,
                what="refused facts",
                count=1,
                reason=reason,
                first=record.seq,
                last=record.seq,
            )
            self.own(gap, identity)

    def _raws_of(self, records: Sequence[Record]) -> dict[tuple[str, int], bytes]:
        found: dict[tuple[str, int], bytes] = {}
        table = schema.fact
        for agent in {record.agent for record in records}:
            numbers = [record.seq for record in records if record.agent == agent]
            query = select(table.c.seq, table.c.raw).where(
                table.c.agent == agent, table.c.seq.between(min(numbers), max(numbers))
            )
            found.update({(agent, row.seq): bytes(row.raw) for row in self._connection.execute(query)})
        return found

    def _write(self, records: Sequence[Record]) -> list[tuple[int, Record]]:
        """Append records; return the first appearances of their fact ids, with positions."""
        if not records:
            return []
        placed = list(enumerate(records, start=self._position + 1))
        first = list(first_of_each(placed, self._ids_known({record.id for record in records})))
        positions = {position for position, _ in first}
        rows: list[dict[str, object]] = []
        for position, record in placed:
            self._position = position
            self._link = link(self._link, record.raw)
            rows.append(
                {
                    "position": position,
                    "id": record.id,
                    "agent": record.agent,
                    "seq": record.seq,
                    "kind": type(record.fact).__name__,
                    "us": record.stamp.us,
                    "first": position in positions,
                    "raw": record.raw,
                    "link": self._link,
                }
            )
        self._connection.execute(insert(schema.fact), rows)
        fold(self._connection, first)
        return first

    def _ids_known(self, ids: set[str]) -> set[str]:
        query = select(schema.fact.c.id).where(schema.fact.c.id.in_(ids))
        return set(self._connection.execute(query).scalars())

    def _acknowledge(self, agent: str, seq: int) -> None:
        table = schema.agent
        row = {"seq": seq, "us": now_us()}
        done = self._connection.execute(update(table).where(table.c.agent == agent, table.c.seq < seq).values(row))
        known = select(table.c.agent).where(table.c.agent == agent)
        if done.rowcount == 0 and self._connection.execute(known).first() is None:
            self._connection.execute(insert(table).values(agent=agent, **row))


def first_of_each(placed: Iterable[tuple[int, Record]], seen: set[str]) -> Iterator[tuple[int, Record]]:
    """Yield the first appearance of each fact id, and add the ids to ``seen``."""
    for position, record in placed:
        if record.id not in seen:
            seen.add(record.id)
            yield position, record
