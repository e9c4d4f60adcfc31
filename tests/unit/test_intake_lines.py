"""What other programs tell, line by line: refused or recorded, once, and on disk before it is acknowledged."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ion.agent import Client
from ion.agent.intake.splitting import LineSplitter
from ion.agent.intake.taking import Taking
from ion.agent.segments import read_frames
from ion.agent.spool import SpoolWriter
from ion.errors import IonError
from ion.facts import GOVERNANCE_ONLY, GapNoted, NodeRunEnded, NodeRunStarted, ParamRecorded, StatisticsRecorded
from ion.home import Home
from ion.records import read_record
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARAM = {"run": "r", "name": "depth", "value": 3}


@pytest.fixture
def receiver() -> MemoryReceiver:
    return MemoryReceiver()


@pytest.fixture
def client(tmp_path: Path, receiver: MemoryReceiver) -> Iterator[Client]:
    opened = Client(Home(tmp_path), "intake", receiver)
    yield opened
    opened.close()


@pytest.fixture
def taking(client: Client) -> Taking:
    return Taking(client)


def line(**fields: object) -> bytes:
    return json.dumps({"ion": 1, **fields}).encode()


def identity() -> str:
    return str(uuid.uuid4())


def spooled(client: Client) -> Counter[str]:
    """Count the facts that are in the file, by kind."""
    frames = read_frames(client.home.spool / client.agent)
    return Counter(type(read_record(frame.record).fact).__name__ for frame in frames)


def test_a_fact_is_recorded_as_it_was_told(taking: Taking, client: Client, receiver: MemoryReceiver) -> None:
    (answer,) = taking.take([line(kind="ParamRecorded", body=PARAM)])
    assert answer["ok"]
    client.ship()
    assert receiver.facts(ParamRecorded) == [ParamRecorded(run="r", name="depth", value=3)]


def test_each_line_is_answered_in_order_and_a_bad_one_ends_nothing(taking: Taking) -> None:
    first, last = identity(), identity()
    good = {"kind": "ParamRecorded", "body": PARAM}
    answers = taking.take([line(id=first, **good), b"{broken", None, line(id=last, **good)])
    assert [answer.get("id") for answer in answers] == [first, None, None, last]
    assert [answer.get("code") for answer in answers] == [None, "bad-line", "line-too-long", None]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (b"", "bad-line"), (b"[]", "bad-line"), (b"\xff", "bad-line"), (b"[" * 100_000, "bad-line"),
        (b'{"ion": 1, "ion": 1, "kind": "ParamRecorded", "body": {}}', "bad-line"),
        (line(kind="ParamRecorded", body={**PARAM, "value": float("nan")}), "bad-line"),
        (line(kind="Nothing", body={}), "bad-line"), (line(kind=["ParamRecorded"], body=PARAM), "bad-line"),
        (line(kind="ParamRecorded", body=PARAM, more=1), "bad-line"), (line(do="jump"), "bad-line"),
        (line(kind="ParamRecorded", body=PARAM, id="1"), "bad-line"),
        (line(ion=2, kind="ParamRecorded", body=PARAM), "unknown-version"),
        (line(ion=True, kind="ParamRecorded", body=PARAM), "unknown-version"),
        (b'{"kind": "ParamRecorded", "body": {}}', "unknown-version"),
        (line(kind="ParamRecorded", body=[]), "bad-fact"), (line(kind="ParamRecorded", body={}), "bad-fact"),
        (line(kind="ParamRecorded", body={**PARAM, "more": 1}), "bad-fact"),
        (line(kind="ParamRecorded", body={**PARAM, "run": 5}), "bad-fact"),
        (line(kind="ParamRecorded", body={**PARAM, "run": "r" * 301}), "bad-fact"),
        (line(kind="ParamRecorded", body={**PARAM, "value": 2**53 + 1}), "bad-line"),
        (line(kind="GapNoted", body={"scope": "s", "what": "w", "count": True, "reason": ""}), "bad-fact"),
        (line(kind="SignatureRecorded", body={"run": "r", "name": "n", "role": "training", "edges": [0, "1"],
              "counts": [1]}), "bad-fact"),
        (line(kind="StatisticsRecorded", body={}), "forbidden-fact"),
        (line(kind="InputsCaptured", body={}), "forbidden-fact"),
        (line(do="stat", run="r", series="s"), "bad-line"),
        (line(do="stat", run="r", series="s", values=[]), "bad-line"),
        (line(do="stat", run="r", series="s", values=[1, None], times=[1, 2]), "bad-line"),
        (line(do="stat", run="r", series="s", values=[1, 2]), "bad-line"),
        (line(do="stat", run="r", series="s", values=[1, 2], times=[1]), "bad-line"),
        (line(do="stat", run="r", series="s", value=1, times=[-1]), "bad-line"),
        (b'{"ion": 1, "do": "stat", "run": "r", "series": "s", "value": 1e999}', "not-canonical"),
        (line(do="stat", run="r", series="s", value=10**400), "bad-line"),
        (line(do="node_run.start", node="Nowhere"), "bad-node"), (line(do="node_run.start"), "bad-line"),
        (line(do="node_run.end", run="r", status="gone"), "bad-status"),
        (line(do="openlineage", event={}), "bad-event"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_reason(taking: Taking, client: Client, told: bytes, code: str) -> None:
    (answer,) = taking.take([told])
    assert (answer["ok"], answer["code"]) == (False, code)
    assert answer["message"]
    assert set(spooled(client)) == {"GapNoted"}


@pytest.mark.parametrize("kind", GOVERNANCE_ONLY, ids=lambda kind: kind.__name__)
def test_a_program_cannot_tell_what_only_governance_may(taking: Taking, client: Client, kind: type) -> None:
    (answer,) = taking.take([line(kind=kind.__name__, body={})])
    assert answer["code"] == "forbidden-fact"
    assert set(spooled(client)) == {"GapNoted"}


def test_what_was_refused_is_counted_in_a_gap_of_the_agent(
    taking: Taking, client: Client, receiver: MemoryReceiver
) -> None:
    for _ in range(3):
        taking.take([b"no", b"no", line(kind="Promoted", body={})])
    taking.tell_refused(at_once=True)
    client.ship()
    gaps = receiver.facts(GapNoted)
    assert sum(gap.count for gap in gaps) == 9
    assert {gap.scope for gap in gaps} == {client.agent}
    assert len(gaps) == 2, "bad lines do not fill the spool with gaps"
    assert "bad-line 2, forbidden-fact 1" in gaps[0].reason


def test_a_line_sent_again_is_known_and_not_told_twice(taking: Taking, client: Client) -> None:
    told = line(id=identity(), kind="ParamRecorded", body=PARAM)
    assert taking.take([told, told]) == [*taking.take([told])] * 2
    assert spooled(client)["ParamRecorded"] == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "ParamRecorded", "body": PARAM},
        {"do": "stat", "run": "r", "series": "auc", "value": 0.5},
        {"do": "node_run.start", "node": "a/b"},
        {"do": "node_run.end", "run": "r"},
    ],
    ids=["fact", "stat", "start", "end"],
)
def test_a_line_sent_again_to_the_next_agent_counts_once(
    tmp_path: Path, receiver: MemoryReceiver, fields: dict[str, object]
) -> None:
    """The first one took it, and died before it could answer."""
    told, answers = line(id=identity(), **fields), []
    for name in ("first", "second"):
        client = Client(Home(tmp_path), name, receiver)
        answers += Taking(client).take([told])
        client.close()
    assert answers[0] == answers[1]
    assert len(receiver.records) == 2, "the store gets it twice, under one id"
    assert len({record.id for record in receiver.records}) == 1


def test_an_id_that_names_two_different_lines_is_refused_and_never_merges_them(
    taking: Taking, client: Client, receiver: MemoryReceiver
) -> None:
    same = identity()
    first = line(id=same, kind="ParamRecorded", body=PARAM)
    other = line(id=same, kind="ParamRecorded", body={**PARAM, "value": 4})
    assert [answer.get("code") for answer in taking.take([first, other])] == [None, "id-conflict"]
    assert Taking(client).take([other])[0]["ok"], "an agent that no longer knows takes it as what it is"
    client.ship()
    assert [fact.value for fact in receiver.facts(ParamRecorded)] == [3, 4]


def test_a_run_is_started_measured_and_ended_with_three_lines(
    taking: Taking, client: Client, receiver: MemoryReceiver
) -> None:
    (started,) = taking.take([line(do="node_run.start", node="a/b", config={"depth": 3}, engine="r")])
    run = started["run"]
    taking.take([
        line(do="stat", run=run, series="auc", values=[0.5, 0.75], times=[1, 2]),
        line(do="stat", run=run, series="loss", value=2),
        line(do="node_run.end", run=run, status="failed", error="no rows"),
    ])  # fmt: skip
    client.ship()
    (start,), (end,) = receiver.facts(NodeRunStarted), receiver.facts(NodeRunEnded)
    assert (start.run, start.node, start.config, start.engine) == (run, "a/b", {"depth": 3}, "r")
    assert (end.run, end.status, end.error) == (run, "failed", "no rows")
    assert {fact.run for fact in receiver.facts(StatisticsRecorded)} == {run}
    assert len(receiver.facts(StatisticsRecorded)) == 2


def test_what_is_acknowledged_is_on_disk(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    written: list[int] = []
    sync, append = os.fdatasync, SpoolWriter.append
    monkeypatch.setattr(os, "fdatasync", lambda handle: (synced.append(len(written)), sync(handle))[1])
    monkeypatch.setattr(SpoolWriter, "append", lambda writer, *frame: (append(writer, *frame), written.append(1))[0])
    answers = taking.take([line(kind="ParamRecorded", body=PARAM)] * 5)
    assert all(answer["ok"] for answer in answers)
    assert synced[-1] == len(written) == 5


def test_what_cannot_reach_the_disk_is_not_acknowledged_and_may_be_sent_again(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = line(id=identity(), kind="ParamRecorded", body=PARAM)
    with monkeypatch.context() as broken:

        def refuse(_handle: int) -> None:
            raise OSError(28, "No space left on device")

        broken.setattr(os, "fdatasync", refuse)
        (answer,) = taking.take([told])
    assert (answer["ok"], answer["code"]) == (False, "spool-unusable")
    deadline = time.monotonic() + 60
    while not taking.take([told])[0]["ok"]:  # the next spool is opened after a while
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_is_acknowledged_that_was_in_a_spool_somebody_removed(
    taking: Taking, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told = client.home.spool / client.agent, line(id=identity(), kind="ParamRecorded", body=PARAM)
    real = client.flush
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(client, "flush", lambda: (shutil.rmtree(folder), real()))
        (answer,) = taking.take([told])
    assert (answer["ok"], answer["code"]) == (False, "spool-unusable")
    assert taking.take([told])[0]["ok"]
    assert spooled(client)["ParamRecorded"] == 1, "sent again, it is told again"


def test_a_closed_client_acknowledges_nothing(taking: Taking, client: Client) -> None:
    client.close()
    (answer,) = taking.take([line(kind="ParamRecorded", body=PARAM)])
    assert answer["ok"] is False
    with pytest.raises(IonError):
        taking.take([b"bad"]) and taking.tell_refused(at_once=True)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    data = b'{"a": 1}\n\n  \n{"b": 22}\r\n' + b"x" * 50 + b"\n" + b"y" * 20 + b"\nlast"
    splitter = LineSplitter(20)
    found = [line for at in range(0, len(data), size) for line in splitter.feed(data[at : at + size])]
    assert splitter.inside
    assert [*found, *splitter.end()] == [b'{"a": 1}', b'{"b": 22}\r', None, b"y" * 20, b"last"]
    assert not splitter.inside


def test_an_endless_line_takes_no_memory() -> None:
    splitter = LineSplitter(1000)
    for _ in range(100):
        assert splitter.feed(b"x" * 900) == []
        assert len(splitter._rest) <= 1000
    assert splitter.feed(b"\nnext\n") == [None, b"next"]
