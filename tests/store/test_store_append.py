"""Appending: whole or not at all, once, in one chain, and only what an agent may say."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from ion.agent.shipping import ship_all
from ion.agent.spool import SpoolWriter
from ion.canonical import digest_bytes
from ion.clock import MAX_AHEAD_US, now_us
from ion.errors import IonError
from ion.evidence.captures import CaptureKey
from ion.facts import (
    GOVERNANCE_ONLY,
    AlertRaised,
    ClockSkewed,
    GapNoted,
    Promoted,
)
from ion.ids import PredictionId
from ion.ledger import verify_chain
from ion.store import GovernanceStore, open_store
from ion.store import appending as appending_module
from ion.testing import MemoryReceiver, make_history, written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.facts import Fact
    from ion.records import Record


@pytest.fixture
def store(store_url: str) -> Iterator[GovernanceStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def gap(number: int = 0, *, agent: str = "agent-1", scope: str = "s", fact_id: str = "", us: int = 1) -> Record:
    return written(
        GapNoted(scope=scope, what="x", count=number, reason=""), number, agent=agent, us=us, fact_id=fact_id
    )


def alerts(store: GovernanceStore) -> list[tuple[str, str]]:
    return [(alert.fact.scope, alert.fact.alert) for alert in store.find(AlertRaised)]


def assert_whole(store: GovernanceStore) -> None:
    head, before = store.head(), store.projections()
    assert verify_chain(store.entries(), head.position, head.link) == []
    store.rebuild()
    assert store.projections() == before


def test_facts_are_found_by_kind_and_subject_in_store_order(store: GovernanceStore) -> None:
    assert store.append([gap(0), gap(1, scope="t"), gap(2)]).accepted == 3
    assert [r.fact.count for r in store.find(GapNoted, "s")] == [0, 2]
    assert [r.position for r in store.find(GapNoted, after=1, limit=1)] == [2]
    latest = store.latest(GapNoted, "s")
    assert latest is not None
    assert (latest.position, latest.agent) == (3, "agent-1")
    assert store.record_at(2).fact == gap(1, scope="t").fact
    assert store.agents() == {"agent-1": 2}
    with pytest.raises(IonError) as caught:
        store.record_at(4)
    assert caught.value.code == "unknown-position"
    assert_whole(store)


def test_a_tail_sent_again_changes_nothing(store: GovernanceStore) -> None:
    records = [gap(number) for number in range(5)]
    store.append(records[:3])
    result = store.append(records[1:])
    assert (result.accepted, result.known, result.conflicts) == (2, 2, 0)
    head = store.head()
    store.append(records)
    assert store.head() == head
    assert_whole(store)


def test_the_same_sequence_with_another_body_is_refused_with_one_alert(store: GovernanceStore) -> None:
    store.append([gap(0)])
    other = written(GapNoted(scope="s", what="other", count=9, reason=""), 0)
    for _ in range(3):
        assert store.append([other]).conflicts == 1
        assert store.head().position == 2  # the fact and one alert
    assert alerts(store) == [("agent-1", "sequence-conflict")]
    assert [r.fact.count for r in store.find(GapNoted)] == [0]
    assert store.append([gap(7), written(other.fact, 7)]).conflicts == 1  # also within one batch
    assert_whole(store)


def test_the_same_fact_told_by_two_agents_counts_once(store: GovernanceStore) -> None:
    store.append([gap(0, agent="a", fact_id="same")])
    store.append([gap(0, agent="b", fact_id="same"), gap(1, agent="b", fact_id="same")])
    assert len(store.find(GapNoted)) == len(store.find(GapNoted, "s")) == 1
    assert store.head().position == 3  # all are kept: they were told
    assert_whole(store)


VALUES = {"str": "x", "int": 1, "int | None": 1, "bool": True, "Object": {}}
VALUES |= {"Sequence[Object]": [], "Sequence[str]": []}


def any_fact(kind: type[Fact]) -> Fact:
    return kind(**{item.name: VALUES[str(item.type)] for item in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", GOVERNANCE_ONLY, ids=lambda kind: kind.__name__)
def test_an_agent_cannot_say_what_only_governance_may(store: GovernanceStore, kind: type[Fact]) -> None:
    fact = any_fact(kind)
    for _ in range(2):
        result = store.append([written(fact, 0), gap(1)])
    assert (result.accepted, result.known, result.conflicts) == (0, 1, 1)
    assert store.find(kind) == []
    assert store.current("x").serial == 0
    assert alerts(store) == [("agent-1", "forbidden-fact")]
    assert_whole(store)


def test_an_agent_cannot_speak_in_the_name_of_the_store(store: GovernanceStore) -> None:
    with store.command() as command:
        command.record(GapNoted(scope="s", what="x", count=1, reason=""))
    (own,) = store.agents()
    assert store.append([gap(1, agent=own)]).conflicts == 1
    assert alerts(store) == [(own, "forbidden-agent")]
    with store.command() as command:
        command.record(GapNoted(scope="s", what="x", count=2, reason=""))
    assert_whole(store)


def test_an_append_that_fails_half_way_leaves_the_store_as_before(
    store: GovernanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([gap(0)])
    head, before, agents = store.head(), store.projections(), store.agents()
    body = b"block"

    def fail(*_: object) -> None:
        raise RuntimeError("half way")

    for step in ("fold", "_acknowledge"):
        with monkeypatch.context() as patch:
            target = appending_module if step == "fold" else appending_module.Append
            patch.setattr(target, step, fail)
            with pytest.raises(RuntimeError):
                store.append([gap(1), gap(2)], {digest_bytes(body): body})
            with pytest.raises(RuntimeError), store.command() as command:
                command.record(gap().fact)
    assert (store.head(), store.projections(), store.agents(), store.block(digest_bytes(body))) == (
        head, before, agents, None,
    )  # fmt: skip
    assert store.append([gap(1), gap(2)]).accepted == 2
    assert_whole(store)


def test_a_command_that_raises_records_nothing(store: GovernanceStore) -> None:
    def act() -> None:
        with store.command() as command:
            command.record(gap().fact)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        act()
    assert store.head().position == 0


def test_a_cause_changes_a_node_once(store: GovernanceStore) -> None:
    promoted = any_fact(Promoted)
    with store.command() as command:
        command.record(promoted)
    with pytest.raises(IonError) as caught, store.command() as command:
        command.record(promoted)
    assert caught.value.code == "conflict"
    assert store.current("x").serial == 1
    assert_whole(store)


def test_blocks_are_kept_only_under_their_own_digest(store: GovernanceStore) -> None:
    right, wrong = b"sealed", digest_bytes(b"something else")
    store.append([gap(0)], {digest_bytes(right): right, wrong: right})
    assert store.block(digest_bytes(right)) == right
    assert store.block(wrong) is None
    assert alerts(store) == [(wrong, "block-differs")]


def test_an_agent_with_a_clock_far_ahead_is_told_once_per_batch(store: GovernanceStore) -> None:
    ahead = now_us() + 10 * MAX_AHEAD_US
    store.append([gap(number, us=ahead + number) for number in range(20)])
    (skew,) = store.find(ClockSkewed, "agent-1")
    assert skew.fact.ahead_us > 9 * MAX_AHEAD_US
    assert skew.us < ahead - MAX_AHEAD_US
    assert_whole(store)


def test_a_subject_at_its_longest_fits_every_index(store: GovernanceStore) -> None:
    scope = "\U0001d54a" * 300  # four bytes each
    store.append([gap(0, scope=scope)])
    assert len(store.find(GapNoted, scope)) == 1


def test_capture_keys_can_be_kept_twice_and_are_gone_when_erased(store: GovernanceStore) -> None:
    key = CaptureKey.generate("tag")
    assert [store.keep_capture_keys([key]) for _ in range(2)] == [1, 0]
    assert store.capture_key(key.key_id) == key
    assert store.capture_key("other") is None
    fact = store.erase_capture_keys([key.key_id], reason="asked", by="ada")
    assert fact is not None
    assert fact.keys == [key.key_id]
    assert store.capture_key(key.key_id) is None
    assert store.erase_capture_keys([key.key_id], reason="asked", by="ada") is None


def test_a_whole_history_folds_again_to_the_same(store_url: str, tmp_path: Path) -> None:
    history = make_history(tmp_path / "home", store_url)
    store = history.deployment.store
    assert_whole(store)
    last = history.served.predictions[-1]
    position = store.prediction_position(last)
    assert position is not None
    assert store.record_at(position).fact.subjects() >= {history.served.epoch}
    assert store.prediction_position(PredictionId(last.epoch, last.seq + 1)) is None
    assert store.prediction_position(PredictionId(last.epoch, 2**53 - 1)) is None
    history.deployment.close()


@pytest.mark.parametrize("real", [True, False], ids=["store", "fake"])
def test_store_and_fake_receive_alike(tmp_path: Path, *, real: bool) -> None:
    receiver = open_store(f"sqlite:///{tmp_path / 'store.db'}") if real else MemoryReceiver()
    writer = SpoolWriter(tmp_path / "spool", "agent-1")
    for number in range(3):
        writer.append(gap(number).raw, b"block")
    assert ship_all(tmp_path / "spool", receiver) == 3
    receiver.append([gap(2), written(gap().fact, 2)], {digest_bytes(b"x"): b"y"})
    writer.close()
    blocks = [digest_bytes(b"block"), digest_bytes(b"x")]
    if isinstance(receiver, MemoryReceiver):
        told, kept = receiver.facts(GapNoted), [receiver.blocks.get(digest) for digest in blocks]
    else:
        told, kept = [r.fact for r in receiver.find(GapNoted)], [receiver.block(digest) for digest in blocks]
    assert [fact.count for fact in told] == [0, 1, 2]
    assert kept == [b"block", None]
