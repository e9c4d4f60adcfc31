"""However facts arrive (batches, duplicates, sent again, in conflict), a rebuild gives the same projections."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from ion.errors import IonError
from ion.facts import (
    DecisionMade,
    Fact,
    GapNoted,
    ModelRecorded,
    ModelRevoked,
    NodeHalted,
    PredictionsCommitted,
    Promoted,
    RolledBack,
)
from ion.ledger import verify_chain
from ion.store import GovernanceStore, open_store
from ion.testing import written

if TYPE_CHECKING:
    from ion.records import Record

NAMES = st.sampled_from(["a", "b", "c"])


def predictions(epoch: str, first: int, rows: int) -> Fact:
    return PredictionsCommitted(
        epoch=epoch, run="r", first=first, last=first + rows, rows=rows, file="f", file_digest="d", sources=[],
        us_first=0, us_last=1,
    )  # fmt: skip


def model(name: str, run: str, dataset: str) -> Fact:
    return ModelRecorded(
        run=run, node="i/n", model=name, name=name, format="f", size=1, features=[], label="", input_schema=[],
        output_schema=[], metrics={}, datasets={"training": dataset},
    )  # fmt: skip


def decision(name: str, run: str, verdict: str) -> Fact:
    return DecisionMade(
        decision=name + run, node="i/n", model=name, run=run, verdict=verdict, reasons=[], policy_set="p",
        policy_digest="p", evidence={}, expires=1, envelope="", envelope_digest="",
    )  # fmt: skip


def promoted(cause: str, node: str, serial: int) -> Fact:
    return Promoted(cause=cause, node=node, model="m", run="r", decision="d", serial=serial, previous="", envelope="")


def halted(cause: str, node: str, serial: int) -> Fact:
    return NodeHalted(cause=cause, node=node, serial=serial, reason="", by="", envelope="")


def revoked(cause: str, node: str, model: str, serial: int) -> Fact:
    return ModelRevoked(cause=cause, node=node, model=model, serial=serial, reason="", by="", envelope="")


def rolled_back(cause: str, node: str, model: str, serial: int) -> Fact:
    return RolledBack(
        cause=cause, node=node, model=model, run="r", decision="d", serial=serial, previous="", reason="", by="",
        envelope="",
    )  # fmt: skip


TOLD = (
    st.builds(predictions, NAMES, st.integers(0, 3), st.integers(0, 3))
    | st.builds(model, NAMES, NAMES, NAMES)
    | st.builds(lambda scope: GapNoted(scope=scope, what="x", count=1, reason=""), NAMES)
)
OWN = (
    st.builds(decision, NAMES, NAMES, st.sampled_from(["approve", "reject", "defer"]))
    | st.builds(promoted, NAMES, NAMES, st.integers(1, 4))
    | st.builds(halted, NAMES, NAMES, st.integers(1, 4))
    | st.builds(revoked, NAMES, NAMES, NAMES, st.integers(1, 4))
    | st.builds(rolled_back, NAMES, NAMES, NAMES, st.integers(1, 4))
)
RECORD = st.builds(
    lambda fact, seq, agent, shared: written(fact, seq, agent=agent, fact_id=shared),
    TOLD | OWN, st.integers(0, 8), NAMES, st.sampled_from(["", "", "same", "other"]),
)  # fmt: skip
STEP = st.lists(RECORD, min_size=1, max_size=6) | OWN


def take(store: GovernanceStore, step: list[Record] | Fact) -> None:
    if isinstance(step, list):
        result = store.append(step)
        assert result.accepted + result.known + result.conflicts == len(step)
        return
    try:
        with store.command() as command:
            command.record(step)
    except IonError as error:
        if error.code != "conflict":
            raise


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(STEP, max_size=10), again=st.lists(st.integers(0, 9), max_size=4))
def test_a_rebuild_changes_no_projection(steps: list[list[Record] | Fact], again: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'store.db'}")
        try:
            for step in steps:
                take(store, step)
            for index in again:  # the tail of some agent's spool, sent again
                if index < len(steps) and isinstance(steps[index], list):
                    assert store.append(steps[index]).accepted == 0  # type: ignore[arg-type]
            head, before = store.head(), store.projections()
            assert store.rebuild() == head.position
            assert store.projections() == before
            assert store.head() == head
            assert verify_chain(store.entries(), head.position, head.link) == []
        finally:
            store.close()
