"""`GovernanceStore`: append, command, find."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

from sqlalchemy import Connection, Row, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ion.canonical import digest_bytes
from ion.clock import Clock, now_us
from ion.errors import IonError
from ion.facts import (
    GOVERNANCE_ONLY,
    AlertRaised,
    ClockSkewed,
    Fact,
    Record,
    Recorded,
    read_record,
    write_record,
)
from ion.ids import PredictionId, new_id
from ion.ledger import link
from ion.store import schema
from ion.store.connection import connect, writing
from ion.store.projections import fold

F = TypeVar("F", bound=Fact)
_REBUILD_STEP = 1000


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
class Candidate:
    """A model version and the node run that made it; ``verdict`` is empty until decided."""

    model: str
    run: str
    node: str
    position: int
    verdict: str


@dataclass(frozen=True, slots=True)
class Current:
    """What an inference node should serve; ``model`` is empty before the first promotion."""

    node: str
    serial: int
    model: str
    run: str
    decision: str
    cause: str
    halted: bool


class _Reader:
    """Queries on one connection; shared by the store and a command."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(
        self, kind: type[F], subject: str | None = None, *, after: int = 0, limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Recorded[F]]:
        fact, mention = schema.fact, schema.mention
        columns = (fact.c.position, fact.c.id, fact.c.agent, fact.c.us, fact.c.raw)
        query: Select[tuple[int, str, str, int, bytes]]
        if subject is None:
            query = select(*columns).where(fact.c.kind == kind.__name__, fact.c.first)
        else:
            query = select(*columns).join(mention, mention.c.position == fact.c.position)
            query = query.where(mention.c.subject == subject, mention.c.kind == kind.__name__)
        order = fact.c.position.desc() if newest_first else fact.c.position
        query = query.where(fact.c.position > after).order_by(order).limit(limit)
        return [_recorded(row) for row in self._connection.execute(query)]

    def current(self, node: str) -> Current:
        row = self._connection.execute(
            select(schema.current).where(schema.current.c.node == node)
        ).first()
        return Current(**row._mapping) if row else Current(node, 0, "", "", "", "", halted=False)  # noqa: SLF001 - SQLAlchemy's public mapping

    def serial_of(self, cause: str, node: str) -> int | None:
        table = schema.cause
        query = select(table.c.serial).where(table.c.cause == cause, table.c.node == node)
        return self._connection.execute(query).scalar()


class Command(_Reader):
    """A transaction of governance itself, under the head lock: read, decide, record."""

    def __init__(self, connection: Connection, append: _Append) -> None:
        super().__init__(connection)
        self._append = append

    def record(self, fact: Fact, fact_id: str = "") -> int:
        """Record a fact of the store's own and return its position."""
        return self._append.own(fact, fact_id or new_id())


class GovernanceStore:
    """The append-only facts of one deployment. Open with `open_store`; safe across threads."""

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._clock = Clock()

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> Appended:
        """Append what an agent shipped, in order; idempotent by (agent, seq) and by fact id.

        The same (agent, seq) with other bytes, and facts that only governance may write, are
        refused, each with an alert fact. ``blocks``
        maps digests to the ciphertext that facts refer to.
        """
        with writing(self._engine) as connection:
            step = _Append(connection, self._clock)
            for digest, body in (blocks or {}).items():
                step.keep_block(digest, body)
            result = step.shipped(records)
            step.finish()
            return result

    @contextmanager
    def command(self) -> Iterator[Command]:
        """Open a transaction that holds the head lock; what it records commits together.

        Raises:
            IonError: ``conflict`` when a cause would change a node twice.
        """
        try:
            with writing(self._engine) as connection:
                step = _Append(connection, self._clock)
                yield Command(connection, step)
                step.finish()
        except IntegrityError as error:
            raise IonError("conflict", f"the store refused a second change: {error.orig}") from error

    def head(self) -> Head:
        """Return the newest position and link: one indexed row, cheap enough to poll."""
        with self._engine.connect() as connection:
            row = connection.execute(select(schema.head.c.position, schema.head.c.link)).one()
        return Head(row.position, bytes(row.link))

    def find(
        self, kind: type[F], subject: str | None = None, *, after: int = 0, limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Recorded[F]]:
        """Return facts of a kind, about ``subject`` if given, in store order."""
        with self._engine.connect() as connection:
            return _Reader(connection).find(
                kind, subject, after=after, limit=limit, newest_first=newest_first
            )

    def latest(self, kind: type[F], subject: str | None = None) -> Recorded[F] | None:
        """Return the newest fact of a kind about ``subject``, or None."""
        found = self.find(kind, subject, limit=1, newest_first=True)
        return found[0] if found else None

    def current(self, node: str) -> Current:
        """Return what ``ion/node`` should serve now."""
        with self._engine.connect() as connection:
            return _Reader(connection).current(node)

    def candidates(self, *, undecided_only: bool = False) -> list[Candidate]:
        """Return all candidates, oldest first."""
        table = schema.candidate
        query = select(table).order_by(table.c.position)
        if undecided_only:
            query = query.where(table.c.verdict == "")
        with self._engine.connect() as connection:
            return [Candidate(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public mapping

    def prediction_position(self, prediction: PredictionId) -> int | None:
        """Return the position of the fact that committed this prediction, or None."""
        table = schema.prediction_range
        query = (
            select(table.c.position, table.c.last)
            .where(table.c.epoch == prediction.epoch, table.c.first <= prediction.seq)
            .order_by(table.c.first.desc())
            .limit(1)
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return row.position if row is not None and row.last >= prediction.seq else None

    def record_at(self, position: int) -> Record:
        """Return the record at a position.

        Raises:
            IonError: ``unknown-position``.
        """
        query = select(schema.fact.c.raw).where(schema.fact.c.position == position)
        with self._engine.connect() as connection:
            raw = connection.execute(query).scalar()
        if raw is None:
            raise IonError("unknown-position", f"the store holds no record {position}")
        return read_record(bytes(raw))

    def entries(self, first: int = 1) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield ``(position, raw, link)`` from ``first`` on, one consistent snapshot."""
        columns = (schema.fact.c.position, schema.fact.c.raw, schema.fact.c.link)
        query = select(*columns).where(schema.fact.c.position >= first).order_by(columns[0])
        with self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=_REBUILD_STEP).execute(query):
                yield row.position, bytes(row.raw), bytes(row.link)

    def block(self, digest: str) -> bytes | None:
        """Return the ciphertext block with this digest, or None."""
        query = select(schema.block.c.body).where(schema.block.c.digest == digest)
        with self._engine.connect() as connection:
            body = connection.execute(query).scalar()
        return None if body is None else bytes(body)

    def keep_capture_key(self, key: str, secret: bytes) -> None:
        """Keep a capture key; keeping the same one again changes nothing."""
        table = schema.capture_key
        with writing(self._engine) as connection:
            if connection.execute(select(table.c.key).where(table.c.key == key)).first() is None:
                connection.execute(insert(table).values(key=key, secret=secret))

    def capture_key(self, key: str) -> bytes | None:
        """Return the secret of a capture key, or None when it was never here or was erased."""
        query = select(schema.capture_key.c.secret).where(schema.capture_key.c.key == key)
        with self._engine.connect() as connection:
            secret = connection.execute(query).scalar()
        return None if secret is None else bytes(secret)

    def agents(self) -> dict[str, int]:
        """Return the acknowledged sequence number of each agent."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(schema.agent.c.agent, schema.agent.c.seq))
            return {row.agent: row.seq for row in rows}

    def rebuild(self) -> int:
        """Empty the projections and fold all facts again; returns how many facts there are."""
        with writing(self._engine) as connection:
            for table in schema.PROJECTIONS:
                connection.execute(delete(table))
            seen: set[str] = set()
            last, count = 0, 0
            columns = (schema.fact.c.position, schema.fact.c.raw)
            query = select(*columns).order_by(columns[0]).limit(_REBUILD_STEP)
            while rows := connection.execute(query.where(columns[0] > last)).all():
                batch = [(row.position, read_record(bytes(row.raw))) for row in rows]
                fold(connection, _first_of_each(batch, seen))
                last, count = rows[-1].position, count + len(rows)
            return count

    def projections(self) -> dict[str, list[tuple[object, ...]]]:
        """Return every projection's rows, ordered: equal before and after `rebuild`."""
        with self._engine.connect() as connection:
            return {
                table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for table in schema.PROJECTIONS
            }


class _Append:
    """One transaction's appends: numbers, links, projections."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        row = connection.execute(select(schema.head.c.position, schema.head.c.link)).one()
        self._started = row.position
        self._position: int = row.position
        self._link = bytes(row.link)
        query = select(schema.meta.c.value).where(schema.meta.c.name == "store")
        self._own: str = connection.execute(query).scalar_one()
        self._own_next: int | None = None

    def shipped(self, records: Sequence[Record]) -> Appended:
        known = conflicts = 0
        fresh: list[Record] = []
        raws = self._raws_of(records)
        for record in records:
            stored = raws.get((record.agent, record.seq))
            if isinstance(record.fact, GOVERNANCE_ONLY):
                conflicts += 1
                kind = type(record.fact).__name__
                self._alert(record.agent, "forbidden-fact", f"an agent shipped a {kind} as sequence {record.seq}")
            elif stored is None:
                fresh.append(record)
                raws[record.agent, record.seq] = record.raw
            elif stored == record.raw:
                known += 1
            else:
                conflicts += 1
                self._alert(record.agent, "sequence-conflict", f"sequence {record.seq} came twice with different content")
        for record in fresh:
            ahead = record.stamp.us - now_us()
            if not self._clock.observe(record.stamp):
                self.own(ClockSkewed(agent=record.agent, ahead_us=ahead), new_id())
        self._write(fresh)
        for agent in {record.agent for record in fresh}:
            self._acknowledge(agent, max(r.seq for r in fresh if r.agent == agent))
        return Appended(len(fresh), known, conflicts)

    def own(self, fact: Fact, fact_id: str) -> int:
        if self._own_next is None:
            query = select(schema.agent.c.seq).where(schema.agent.c.agent == self._own)
            last = self._connection.execute(query).scalar()
            self._own_next = 0 if last is None else last + 1
        record = write_record(
            fact, fact_id=fact_id, agent=self._own, seq=self._own_next, stamp=self._clock.tick()
        )
        self._write([record])
        self._acknowledge(self._own, self._own_next)
        self._own_next += 1
        return self._position

    def keep_block(self, digest: str, body: bytes) -> None:
        if digest_bytes(body) != digest:
            self._alert(digest, "block-differs", "a shipped block does not have the digest its fact names")
            return
        query = select(schema.block.c.digest).where(schema.block.c.digest == digest)
        if self._connection.execute(query).first() is None:
            self._connection.execute(insert(schema.block).values(digest=digest, body=body))

    def finish(self) -> None:
        if self._position != self._started:
            values = {"position": self._position, "link": self._link}
            self._connection.execute(update(schema.head).values(values))

    def _alert(self, scope: str, alert: str, message: str) -> None:
        self.own(AlertRaised(scope=scope, alert=alert, message=message), new_id())

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

    def _write(self, records: Sequence[Record]) -> None:
        if not records:
            return
        placed = list(enumerate(records, start=self._position + 1))
        first = list(_first_of_each(placed, self._ids_known({record.id for record in records})))
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

    def _ids_known(self, ids: set[str]) -> set[str]:
        query = select(schema.fact.c.id).where(schema.fact.c.id.in_(ids))
        return set(self._connection.execute(query).scalars())

    def _acknowledge(self, agent: str, seq: int) -> None:
        table = schema.agent
        row = {"seq": seq, "us": now_us()}
        done = self._connection.execute(
            update(table).where(table.c.agent == agent, table.c.seq < seq).values(row)
        )
        known = select(table.c.agent).where(table.c.agent == agent)
        if done.rowcount == 0 and self._connection.execute(known).first() is None:
            self._connection.execute(insert(table).values(agent=agent, **row))


def _first_of_each(placed: Iterable[tuple[int, Record]], seen: set[str]) -> Iterator[tuple[int, Record]]:
    for position, record in placed:
        if record.id not in seen:
            seen.add(record.id)
            yield position, record


def _recorded(row: Row[tuple[int, str, str, int, bytes]]) -> Recorded[F]:
    record = read_record(bytes(row.raw))
    return Recorded(row.position, row.id, row.agent, row.us, cast("F", record.fact))


def open_store(url: str) -> GovernanceStore:
    """Open the store at a SQLAlchemy URL (``sqlite:///…`` or ``postgresql://…``).

    Raises:
        IonError: ``bad-store-url``, ``store-unreachable``, ``foreign-store``.
    """
    return GovernanceStore(url)
