"""Retention: bodies go by age, never too early, always with a receipt; everything else stays as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import text

from ion.agent.statistics import statistics_fact
from ion.audit import verify
from ion.canonical import digest_bytes
from ion.cli import run
from ion.clock import now_us
from ion.errors import IonError
from ion.facts import EpochOpened, InputsCaptured, NodeRunStarted, RetentionApplied, RowsQuarantined
from ion.graph import explain, timeline
from ion.home import Home
from ion.points import Points
from ion.replay import replay
from ion.store import choosing, old_blocks, open_store
from ion.store.choosing import Asked
from ion.store.floors import DAY_US, FLOORS, age_us, floors
from ion.store.holds import SERVING as SERVES
from ion.store.holds import UNDECIDED
from ion.testing import SERVING, History, written
from tests.store.complete_history import complete_history

if TYPE_CHECKING:
    from pathlib import Path

    from ion.replay import Replayed
    from ion.store import GovernanceStore
    from ion.store.floors import Kind


@pytest.fixture
def history(tmp_path: Path, store_url: str) -> History:
    """A history whose one captured epoch is over, because another one came after it."""
    made = complete_history(tmp_path / "home", store_url)
    made.deployment.serve(capture=False, closed=False)
    return made


def asked(kind: Kind = "captures", *, before: int = 0, node: str = "") -> Asked:
    return Asked(kind, before or now_us() + 1, 0, "ada", node)


def replayed(history: History) -> Replayed:
    deployment = history.deployment
    return replay(deployment.store, deployment.home, history.served.predictions[0], deployment.client)


def test_captured_rows_go_and_everything_that_asks_for_them_says_when(history: History) -> None:
    deployment = history.deployment
    assert replayed(history).verdict == "identical"
    entries = list(deployment.store.entries())
    gone = deployment.store.retention.apply(asked())
    assert (gone.bodies, len(gone.receipts), gone.kept) == (1, 1, {})
    captured = deployment.store.latest(InputsCaptured, history.served.epoch)
    assert captured
    assert deployment.store.block(captured.fact.block) is None
    assert list(deployment.store.entries())[: len(entries)] == entries
    audit = verify(deployment.store, deployment.home)
    assert audit.ok
    assert audit.removed == 1
    result = replayed(history)
    assert result.verdict == "unavailable"
    assert result.reason.startswith("retention-ended: the captured input was kept until 20")
    answer = explain(deployment.store, history.served.predictions[0], deployment.home)
    assert [hole.reason for hole in answer.gaps if "retention" in hole.reason] == [
        f"kept until {result.reason.split('kept until ')[1]}"
    ]
    (told,) = [event for event in timeline(deployment.store, "patient_tests") if event.kind == "RetentionApplied"]
    assert told.subject == gone.receipts[0]
    assert "1 bodies of captures" in told.summary


def test_asking_again_removes_nothing_and_leaves_no_receipt(history: History) -> None:
    store = history.deployment.store
    store.retention.apply(asked())
    head = store.head()
    again = store.retention.apply(asked())
    assert (again.bodies, again.receipts) == (0, [])
    assert store.head() == head


def test_a_dry_run_counts_the_same_and_changes_nothing(history: History) -> None:
    store = history.deployment.store
    head = store.head()
    would = store.retention.apply(asked(), dry_run=True)
    assert store.head() == head
    assert replayed(history).held
    did = store.retention.apply(asked())
    assert (would.bodies, would.size, would.kept) == (did.bodies, did.size, did.kept)
    assert would.size > 0


def test_what_is_younger_stays(history: History) -> None:
    captured = history.deployment.store.latest(InputsCaptured, history.served.epoch)
    assert captured
    store = history.deployment.store
    assert store.retention.apply(asked(before=captured.us)).bodies == 0
    assert store.retention.apply(asked(before=captured.us + 1)).bodies == 1


def test_a_clock_that_is_behind_does_not_make_a_body_old(store_url: str) -> None:
    store = open_store(store_url)
    with store.command() as command:
        command.record(RowsQuarantined(
            run="x", node=SERVING, rows=1, reasons={}, key="", block="sha256:" + "0" * 64, file="f", file_digest="d"
        ))  # fmt: skip
    quarantine(store, us=1)
    assert store.retention.apply(asked("quarantine", before=now_us() - DAY_US)).bodies == 0
    assert store.retention.apply(asked("quarantine")).bodies == 1
    store.close()


def quarantine(store: GovernanceStore, seq: int = 0, *, us: int = 1, run: str = "r", node: str = SERVING) -> str:
    body = f"ciphertext {seq} {us}".encode()
    fact = RowsQuarantined(
        run=run, node=node, rows=1, reasons={"short": 1}, key="k", block=digest_bytes(body), file="f", file_digest="d"
    )
    started = NodeRunStarted(run=run, node=node, node_kind="inference")
    store.append(
        [written(started, 2 * seq, us=us), written(fact, 2 * seq + 1, us=us)], {digest_bytes(body): body}
    )  # fmt: skip
    return digest_bytes(body)


def test_only_the_named_node_loses_bodies(store_url: str) -> None:
    store = open_store(store_url)
    mine = quarantine(store, run="a", node="a/x")
    other = quarantine(store, 1, run="b", node="b/x")
    assert store.retention.apply(asked("quarantine", node="a/x")).bodies == 1
    assert store.block(mine) is None
    assert store.block(other)
    receipt = store.latest(RetentionApplied, "a/x")
    assert receipt
    assert (receipt.fact.bodies, receipt.fact.by, receipt.fact.kept) == (1, "ada", {})
    store.close()


def test_what_an_epoch_that_still_serves_captured_stays(tmp_path: Path, store_url: str) -> None:
    history = complete_history(tmp_path / "home", store_url)
    serving = history.deployment.serve(closed=False)
    store = history.deployment.store
    gone = store.retention.apply(asked())
    assert (gone.bodies, gone.kept) == (1, {SERVES: 1})
    captured = store.latest(InputsCaptured, serving.epoch)
    assert captured
    assert store.block(captured.fact.block)
    history.deployment.serve(capture=False)  # the next epoch of the subtask: the one before is over, closed or not
    assert store.retention.apply(asked()).bodies == 1


def test_what_an_undecided_candidate_predicted_stays_until_it_is_decided(history: History) -> None:
    store = history.deployment.store
    trained = history.deployment.train(weight=2.0)
    opened = store.latest(EpochOpened, history.served.epoch)
    assert opened
    shadow = EpochOpened(
        epoch="shadow", run="s", node=SERVING, subtask=1, attempt=0, models={"member": trained.model},
        decision_digest="", cause="", serial=0,
    )  # fmt: skip
    body = b"ciphertext"
    fact = InputsCaptured(epoch="shadow", run="s", first=0, last=0, rows=1, key="k", block=digest_bytes(body))
    closed = EpochOpened(
        epoch="next", run="s", node=SERVING, subtask=1, attempt=0, models={}, decision_digest="", cause="", serial=0
    )
    store.append([written(each, seq) for seq, each in enumerate((shadow, fact, closed))], {fact.block: body})
    gone = store.retention.apply(asked())
    assert (gone.bodies, gone.kept) == (1, {UNDECIDED: 1})
    assert store.block(fact.block)
    history.deployment.govern()
    assert store.retention.apply(asked()).bodies == 1


def test_a_body_that_went_without_a_receipt_is_still_a_problem(history: History) -> None:
    store = history.deployment.store
    lost = history.deployment.serve()
    history.deployment.serve(capture=False, closed=False)
    record = store.latest(InputsCaptured, lost.epoch)
    assert record
    store.retention.apply(asked(before=1))
    with store._engine.begin() as connection:
        connection.execute(text("DELETE FROM ion_block WHERE digest = :d"), {"d": record.fact.block})
    store.retention.apply(asked())  # of what is there: the lost one gets no excuse
    (problem,) = verify(store, history.deployment.home).problems
    assert (problem.kind, problem.position) == ("block", record.position)


def test_a_receipt_without_its_listing_excuses_nothing(history: History) -> None:
    store = history.deployment.store
    store.retention.apply(asked())
    receipt = store.latest(RetentionApplied)
    assert receipt
    with store._engine.begin() as connection:
        connection.execute(text("DELETE FROM ion_block WHERE digest = :d"), {"d": receipt.fact.listing})
    assert {problem.kind for problem in verify(store, history.deployment.home).problems} == {"retention", "block"}
    assert replayed(history).reason.startswith("block-missing")


def test_a_listing_of_facts_that_a_receipt_is_not_about_excuses_nothing(history: History) -> None:
    store = history.deployment.store
    record = store.latest(InputsCaptured, history.served.epoch)
    assert record
    listing = json.dumps(
        {"facts": [record.position], "format": "ion-retained/1", "kind": "quarantine"}, separators=(",", ":")
    )
    store.append([], {digest_bytes(listing.encode()): listing.encode()})
    with store.command() as command:
        command.record(RetentionApplied(
            retention="r", kind="quarantine", before=now_us(), floor=0, bodies=1, size=1, first=1, last=record.position,
            listing=digest_bytes(listing.encode()), kept={}, by="eve",
        ))  # fmt: skip
    with store._engine.begin() as connection:
        connection.execute(text("DELETE FROM ion_block WHERE digest = :d"), {"d": record.fact.block})
    assert {problem.kind for problem in verify(store, history.deployment.home).problems} == {"retention", "block"}


def test_an_agent_cannot_tell_of_a_retention(store_url: str) -> None:
    store = open_store(store_url)
    fact = RetentionApplied(
        retention="r", kind="captures", before=1, floor=0, bodies=1, size=1, first=1, last=1, listing="", kept={}, by=""
    )
    assert store.append([written(fact)]).conflicts == 1
    assert store.find(RetentionApplied) == []
    store.close()


def test_many_bodies_go_in_portions_each_with_its_receipt(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "MOST", 4)
    monkeypatch.setattr(old_blocks, "_STEP", 3)
    store = open_store(store_url)
    digests = [quarantine(store, seq, run=f"r{seq}") for seq in range(10)]
    gone = store.retention.apply(asked("quarantine"))
    assert (gone.bodies, len(gone.receipts)) == (10, 3)
    assert [record.fact.bodies for record in store.find(RetentionApplied)] == [4, 4, 2]
    assert [store.block(digest) for digest in digests] == [None] * 10
    store.close()


KILLED = """
import os, signal, sys
from sqlalchemy import Engine, event
from ion.store import choosing, open_store
from ion.store.choosing import Asked
choosing.MOST = 2
store = open_store(sys.argv[1])
left = int(sys.argv[2])
def die(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(Engine, "before_cursor_execute", die)
event.listen(Engine, "commit", die)
store.retention.apply(Asked("quarantine", 10**15 * 4, 0, "ada"))
"""


def test_killed_at_any_statement_it_removed_what_its_receipts_say(store_url: str, tmp_path: Path) -> None:
    from ion.store.listing import read_listing

    home, kills = Home(tmp_path / "home"), 0
    store = open_store(store_url)
    bodies = {}
    for seq in range(4):
        digest = quarantine(store, seq, run=f"r{seq}")
        bodies[digest] = store.block(digest)
    while True:
        done = subprocess.run([sys.executable, "-c", KILLED, store_url, str(5 * kills + 3)], check=False)
        listed = [read_listing(store.block(r.fact.listing), r.fact) for r in store.find(RetentionApplied)]
        gone = {fact.fact.block for fact in store.find(RowsQuarantined) if store.block(fact.fact.block) is None}
        said = {
            fact.fact.block for fact in store.find(RowsQuarantined) if any(fact.position in each for each in listed)
        }
        assert gone == said
        assert verify(store, home).ok
        if done.returncode == 0:
            break
        kills += 1
    assert len(gone) == 4
    assert kills > 2
    store.close()


def test_ages_and_floors_are_read(tmp_path: Path) -> None:
    assert (age_us("36h"), age_us("90d"), age_us("26w")) == (DAY_US * 3 // 2, 90 * DAY_US, 182 * DAY_US)
    path = tmp_path / "retention.toml"
    assert floors(path) == FLOORS
    path.write_text('[floors]\ncaptures = "400d"\n')
    assert floors(path) == {**FLOORS, "captures": 400 * DAY_US}


@pytest.mark.parametrize("age", ["", "90", "d", "-1d", "1y", "1.5d", "٣d", "9999999d"])
def test_what_is_no_age_is_refused(age: str) -> None:
    with pytest.raises(IonError) as caught:
        age_us(age)
    assert caught.value.code == "bad-age"


@pytest.mark.parametrize(
    "content", ["[floors", "[floor]\n", '[floors]\nmodels = "1d"', "[floors]\ncaptures = 90", "floors = 3", "a = 1"]
)
def test_a_file_that_does_not_say_how_long_to_keep_stops_everything(tmp_path: Path, content: str) -> None:
    path = tmp_path / "retention.toml"
    path.write_text(content)
    with pytest.raises(IonError) as caught:
        floors(path)
    assert caught.value.code == "bad-retention-file"


def test_the_command_refuses_below_the_least_age_and_else_removes(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = complete_history(isolated / ".ion")
    history.deployment.serve(capture=False, closed=False)
    home = history.deployment.home
    history.deployment.close()
    assert run(["retain", "--kind", "captures", "--older-than", "90d", "--json"]) == 1
    refused = json.loads(capsys.readouterr().out)
    assert refused["refused"] == "captures must be kept for 183 days at least, you ask for 90"
    assert "bodies" not in refused
    assert run(["retain", "--kind", "captures", "--older-than", "183d", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bodies"] == 0
    home.retention.write_text('[floors]\ncaptures = "0h"\n')
    assert run(["retain", "--kind", "captures", "--older-than", "0d", "--dry-run"]) == 0
    assert "1 bodies of captures" in capsys.readouterr().out
    assert run(["retain", "--kind", "captures", "--older-than", "0d", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["bodies"], len(done["receipts"]), done["floor_days"]) == (1, 1, 0)
    assert run(["audit", "verify"]) == 0
    assert "1 facts have lost their bodies by retention" in capsys.readouterr().out


def told(store: GovernanceStore, run: str, seq: int, *, us: int, node: str = SERVING, epoch: str = "") -> None:
    """Tell one leaf of two series, each of three points in consecutive seconds from ``us`` on."""
    columns = {
        name: Points(np.arange(us, us + 3_000_000, 1_000_000), np.array([1.0, 2.0, 3.0])) for name in ("loss", "auc")
    }
    fact, block = statistics_fact(run, epoch, columns)
    started = NodeRunStarted(run=run, node=node, node_kind="training")
    records = [written(started, 2 * seq, us=us), written(fact, 2 * seq + 1, us=us)]
    store.append(records, {fact.digest: block})


@pytest.mark.parametrize("compacted", [False, True])
def test_old_points_go_by_whole_leaves_and_the_rest_still_verifies(
    store_url: str, tmp_path: Path, *, compacted: bool
) -> None:
    store, home = open_store(store_url), Home(tmp_path / "home")
    for seq in range(4):
        told(store, "r", seq, us=(seq + 1) * DAY_US)
    if compacted:
        assert list(store.statistics.compact_all())
    gone = store.retention.apply(asked("statistics", before=3 * DAY_US))
    left = store.points("r", "loss").times.tolist()
    audit = verify(store, home)
    assert audit.problems == ()
    if compacted:  # one row holds them all, so none can go yet
        assert (gone.bodies, len(left), audit.removed) == (0, 12, 0)
        assert store.retention.apply(asked("statistics", before=5 * DAY_US)).bodies == 2
        assert store.points("r", "auc").times.tolist() == []
        assert verify(store, home).ok
    else:
        assert (gone.bodies, audit.removed) == (4, 2)
        assert left == [day * DAY_US + second * 1_000_000 for day in (3, 4) for second in range(3)]
    with store._engine.begin() as connection:
        connection.execute(text("DELETE FROM ion_points WHERE series = 'auc'"))
    assert {problem.kind for problem in verify(store, home).problems} == (set() if compacted else {"points"})
    store.close()


def test_a_leaf_that_is_partly_in_a_younger_row_stays_whole(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url)
    told(store, "r", 0, us=DAY_US)
    told(store, "r", 1, us=3 * DAY_US)
    with store._engine.begin() as connection:  # one series is packed, the other is not
        connection.execute(text("UPDATE ion_points SET run = 'other' WHERE series = 'auc'"))
    store.statistics.compact("r", "loss")
    with store._engine.begin() as connection:
        connection.execute(text("UPDATE ion_points SET run = 'r' WHERE series = 'auc'"))
    assert store.retention.apply(asked("statistics", before=2 * DAY_US)).bodies == 0
    assert verify(store, Home(tmp_path / "home")).ok
    assert store.retention.apply(asked("statistics", before=4 * DAY_US)).bodies == 3
    assert verify(store, Home(tmp_path / "home")).ok
    store.close()


def test_points_of_one_node_and_of_what_is_not_decided(history: History) -> None:
    store = history.deployment.store
    waiting = history.deployment.train(weight=2.0)
    assert store.points(waiting.run, "loss").values.tolist() == [0.25]
    gone = store.retention.apply(asked("statistics", node="patient_tests/model"))
    assert gone.kept == {UNDECIDED: 1}
    assert len(store.points(waiting.run, "loss")) == 1
    assert len(store.points(history.trained.run, "loss")) == 0
    assert len(store.points(history.served.run, "predictions")) == 1
    assert verify(store, history.deployment.home).ok
    history.deployment.govern()
    assert store.retention.apply(asked("statistics", node="patient_tests/model")).bodies == 1
