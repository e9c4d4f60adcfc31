"""`GovernanceStore`: append, command, find."""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from ion.clock import Clock
from ion.errors import IonError
from ion.facts import CaptureErased, Fact
from ion.ids import PredictionId, new_id
from ion.records import Record, Recorded, read_record
from ion.store import capture_keys, points, schema
from ion.store.answers import Candidate, Current
from ion.store.appending import Append
from ion.store.asking import FactIndex
from ion.store.connection import connect, drop_inherited, writing
from ion.store.ledger import StoredLedger
from ion.store.reading import Appended, Head, Reader
from ion.store.refold import Refold, fold_all
from ion.store.retention import Retention
from ion.store.statistics import StoredStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from ion.evidence.captures import CaptureKey
    from ion.points import Points
    from ion.store.permission import Scope

F = TypeVar("F", bound=Fact)
_REBUILD_STEP = 1000


_stores: weakref.WeakSet[GovernanceStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork)


class Command(Reader):
    """A transaction of governance itself, under the head lock: read, decide, record."""

    def __init__(self, connection: Connection, append: Append) -> None:
        super().__init__(connection)
        self._append = append

    def record(self, fact: Fact, fact_id: str = "") -> int:
        """Record a fact of the store's own and return its position."""
        return self._append.own(fact, fact_id)


class GovernanceStore:
    """The append-only facts of one deployment. Open with `open_store`; safe across threads."""

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._clock = Clock()
        _stores.add(self)

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    def after_fork(self) -> None:
        """Open connections of its own in a forked child; the parent's are left alone."""
        self._clock = Clock(since=self._clock.last)
        drop_inherited(self._engine)

    def append(
        self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None, scope: Scope | None = None
    ) -> Appended:
        """Append what an agent shipped, in order; idempotent by (agent, seq) and by fact id.

        The same (agent, seq) with other bytes, and facts that only governance may write, are
        refused, each with an alert fact; under a ``scope``, what it does not cover, too. ``blocks`` maps
        the digests that facts name to ciphertext, or to the points of statistics. All or nothing.

        Raises:
            IonError: ``store-unreachable``; ``token-refused`` when the scope's token was revoked.
        """
        with writing(self._engine) as connection:
            step = Append(connection, self._clock, scope)
            result = step.shipped(records, blocks or {})
            step.finish()
            return result

    @contextmanager
    def command(self) -> Iterator[Command]:
        """Open a transaction that holds the head lock; what it records commits together.

        Raises:
            IonError: ``conflict`` when a cause would change a node twice, ``store-unreachable``.
        """
        try:
            with writing(self._engine) as connection:
                step = Append(connection, self._clock)
                yield Command(connection, step)
                step.finish()
        except IntegrityError as error:
            raise IonError("conflict", f"the store refused a second change: {error.orig}") from error

    def head(self) -> Head:
        """Return the newest position and link: one indexed row, cheap enough to poll."""
        with self._engine.connect() as connection:
            row = connection.execute(select(schema.head.c.position, schema.head.c.link)).one()
        return Head(row.position, bytes(row.link))

    @property
    def index(self) -> FactIndex:
        """The facts as they are asked for page by page."""
        return FactIndex(self._engine)

    @property
    def ledger(self) -> StoredLedger:
        """The facts as a ledger: entries in order, and their Merkle tree."""
        return StoredLedger(self._engine)

    @property
    def retention(self) -> Retention:
        """What removes bodies for their age, and knows which went so."""
        return Retention(self._engine, self._clock)

    def refold(self) -> Refold:
        """Return an empty fold to compare the projections with."""
        return Refold(self._engine)

    def find(
        self,
        kind: type[F],
        subject: str | None = None,
        *,
        after: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Recorded[F]]:
        """Return facts of a kind, about ``subject`` if given, in store order."""
        with self._engine.connect() as connection:
            return Reader(connection).find(kind, subject, after=after, limit=limit, newest_first=newest_first)

    def latest(self, kind: type[F], subject: str | None = None) -> Recorded[F] | None:
        """Return the newest fact of a kind about ``subject``, or None."""
        return next(iter(self.find(kind, subject, limit=1, newest_first=True)), None)

    def current(self, node: str) -> Current:
        """Return what ``ion/node`` should serve now."""
        with self._engine.connect() as connection:
            return Reader(connection).current(node)

    def candidates(self, *, undecided_only: bool = False) -> list[Candidate]:
        """Return all candidates, oldest first; or only those without a verdict that settles them."""
        table = schema.candidate
        query = select(table).order_by(table.c.position)
        if undecided_only:
            query = query.where(table.c.verdict.in_(["", "defer"]))
        with self._engine.connect() as connection:
            return [Candidate(**row) for row in connection.execute(query).mappings()]

    def prediction_position(self, prediction: PredictionId) -> int | None:
        """Return the position of the fact that committed this prediction, or None."""
        with self._engine.connect() as connection:
            return Reader(connection).prediction_position(prediction)

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

    def points(
        self, run: str, series: str, first: int | None = None, last: int | None = None, *, epoch: str | None = None
    ) -> Points:
        """Return points of a run's series from ``first`` to ``last`` (µs, inclusive), by time; of ``epoch`` if given.

        Raises:
            IonError: ``points-differ`` when stored points are not those that were told.
        """
        with self._engine.connect() as connection:
            return points.read(connection, run, series, first, last, epoch)

    @property
    def statistics(self) -> StoredStatistics:
        """The stored points as a whole: which series there are, their leaves, and packing them together."""
        return StoredStatistics(self._engine, self._clock)

    def keep_capture_keys(self, keys: Sequence[CaptureKey]) -> int:
        """Keep capture keys; returns how many are new. One that is here, or was erased, changes nothing."""
        with writing(self._engine) as connection:
            return capture_keys.keep(connection, keys)

    def capture_key(self, key: str) -> CaptureKey | None:
        """Return a capture key, or None when it was never here or was erased."""
        with self._engine.connect() as connection:
            return capture_keys.kept(connection, key)

    def capture_keys_of(self, subject: str) -> list[str]:
        """Return the ids of the capture keys under a subject's tag."""
        with self._engine.connect() as connection:
            return capture_keys.of_subject(connection, subject)

    def erase_capture_keys(
        self,
        keys: Sequence[str] = (),
        *,
        subject: str = "",
        reason: str,
        by: str,
        node: str = "",
        rows: int | None = None,
    ) -> CaptureErased | None:
        """Destroy capture keys by id, and all under a subject's tag; return the fact that says so.

        None when none of them is here. In one transaction: there is no erasure without its fact.
        """
        with writing(self._engine) as connection:
            named = {*keys, *(capture_keys.of_subject(connection, subject) if subject else ())}
            gone = capture_keys.destroy(connection, named)
            if not gone:
                return None
            step = Append(connection, self._clock)
            fact = CaptureErased(erasure=new_id(), keys=gone, reason=reason, by=by, node=node, rows=rows)
            step.own(fact, "")
            step.finish()
        return fact

    def clear_erased(self) -> bool:
        """Remove what the database's files still hold of erased keys; False when readers prevented it."""
        return capture_keys.clear_copies(self._engine)

    def repeats(self, fact_ids: Sequence[str]) -> list[Record]:
        """Return what was told again under these fact ids: records that no projection counts."""
        with self._engine.connect() as connection:
            return capture_keys.repeats(connection, fact_ids)

    def agents(self) -> dict[str, int]:
        """Return the acknowledged sequence number of each agent."""
        with self._engine.connect() as connection:
            return {row.agent: row.seq for row in connection.execute(select(schema.agent.c.agent, schema.agent.c.seq))}

    def acknowledged(self, agent: str) -> int | None:
        """Return the highest sequence number acknowledged to an agent, None for an unknown one."""
        return self.index.acknowledged(agent)

    def rebuild(self) -> int:
        """Empty the projections and fold all facts again, forget the tree; returns how many facts there are."""
        with writing(self._engine) as connection:
            return fold_all(connection)

    def projections(self) -> dict[str, list[tuple[object, ...]]]:
        """Return every projection's rows, ordered: equal before and after `rebuild`."""
        with self._engine.connect() as connection:
            return {
                table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for table in schema.PROJECTIONS
            }
