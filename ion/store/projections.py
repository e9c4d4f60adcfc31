"""The fold: what one more record changes in the projections, in store order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select, update

from ion.facts import (
    DecisionMade,
    Fact,
    InputsCaptured,
    ModelRecorded,
    ModelRevoked,
    NodeHalted,
    PredictionsCommitted,
    Promoted,
    RolledBack,
)
from ion.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ion.records import Record


def fold(connection: Connection, records: Iterable[tuple[int, Record]]) -> None:
    """Apply ``(position, record)`` pairs, first appearance of each fact id only."""
    mentions: list[dict[str, object]] = []
    for position, record in records:
        kind = type(record.fact).__name__
        mentions += [
            {"subject": subject, "kind": kind, "position": position} for subject in sorted(record.fact.subjects())
        ]
        _fold_one(connection, position, record.fact)
    if mentions:
        connection.execute(insert(schema.mention), mentions)


def _fold_one(connection: Connection, position: int, fact: Fact) -> None:
    if isinstance(fact, PredictionsCommitted | InputsCaptured):
        _add_range(connection, position, fact)
    elif isinstance(fact, ModelRecorded):
        table = schema.candidate
        known = connection.execute(
            select(table.c.model).where(table.c.model == fact.model, table.c.run == fact.run)
        ).first()
        if known is None:
            row = {"model": fact.model, "run": fact.run, "node": fact.node}
            connection.execute(insert(table).values(**row, position=position, verdict=""))
    elif isinstance(fact, DecisionMade):
        _set_verdict(connection, fact)
    elif isinstance(fact, Promoted | RolledBack):
        _set_current(connection, fact, model=fact.model, run=fact.run, decision=fact.decision, halted=False)
    elif isinstance(fact, NodeHalted):
        _set_current(connection, fact, halted=True)
    elif isinstance(fact, ModelRevoked):
        table = schema.current
        model = connection.execute(select(table.c.model).where(table.c.node == fact.node)).scalar()
        if model == fact.model:
            _set_current(connection, fact, halted=True)
        else:  # what serves goes on under its own cause; only the serial is used up
            _set_serial(connection, fact)


def _add_range(connection: Connection, position: int, fact: PredictionsCommitted | InputsCaptured) -> None:
    row = {"epoch": fact.epoch, "first": fact.first, "last": fact.last, "position": position}
    if isinstance(fact, InputsCaptured):
        connection.execute(insert(schema.captured_range).values(row))
        return
    table = schema.prediction_range
    taken = (table.c.epoch == fact.epoch) & (table.c.first == fact.first)
    if connection.execute(select(table.c.position).where(taken)).first() is None:
        connection.execute(insert(table).values(row))


def _set_verdict(connection: Connection, fact: DecisionMade) -> None:
    waits = schema.put_off
    about = (waits.c.model == fact.model) & (waits.c.run == fact.run)
    connection.execute(delete(waits).where(about, waits.c.node == fact.node))
    if fact.verdict == "defer":
        connection.execute(insert(waits).values(model=fact.model, run=fact.run, node=fact.node))
    waiting = connection.execute(select(waits.c.node).where(about)).first() is not None
    table = schema.candidate
    chosen = (table.c.model == fact.model) & (table.c.run == fact.run)
    connection.execute(update(table).where(chosen).values(verdict="defer" if waiting else fact.verdict))


def _set_current(
    connection: Connection, fact: Promoted | RolledBack | NodeHalted | ModelRevoked, **values: object
) -> None:
    _set_serial(connection, fact, cause=fact.cause, **values)


def _set_serial(
    connection: Connection, fact: Promoted | RolledBack | NodeHalted | ModelRevoked, **values: object
) -> None:
    connection.execute(insert(schema.cause).values(cause=fact.cause, node=fact.node, serial=fact.serial))
    table = schema.current
    row = {"serial": fact.serial, **values}
    done = connection.execute(update(table).where(table.c.node == fact.node).values(row))
    if done.rowcount == 0:
        empty = {"model": "", "run": "", "decision": "", "cause": "", "halted": False}
        connection.execute(insert(table).values(node=fact.node, **{**empty, **row}))
