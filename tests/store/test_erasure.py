"""What was captured of a person can be destroyed, for good, and everything still verifies."""

from __future__ import annotations

import dataclasses
import io
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event

from ion.audit import verify
from ion.canonical import digest_bytes
from ion.cli import run
from ion.errors import IonError
from ion.evidence.captures import CaptureKey
from ion.facts import CaptureErased, InputsCaptured, RowsQuarantined
from ion.graph import explain, timeline
from ion.replay import Eraser, replay, tell_erased
from ion.serving import open_row, seal
from ion.serving.captured import capture_aad
from ion.serving.erased import erased_path
from ion.serving.subject import SubjectTags
from ion.store import open_store
from ion.testing import ION, SERVING, History, Served
from tests.store.complete_history import complete_history

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PEOPLE = ["wdbc-1", "wdbc-2", "wdbc-1", "", "wdbc-3"]
MINE = (0, 2)


@pytest.fixture
def history(isolated: Path) -> History:
    """A history in the state root that commands find by themselves."""
    return complete_history(isolated / ".ion")


def eraser(history: History) -> Eraser:
    return Eraser(history.deployment.store, history.deployment.home, reason="request 7", by="ada")


def verdicts(history: History, served: Served) -> list[str]:
    deployment = history.deployment
    found = [replay(deployment.store, deployment.home, each, deployment.client) for each in served.predictions]
    return [each.verdict if each.held else each.reason.partition(":")[0] for each in found]


def test_one_persons_rows_are_gone_and_nobody_elses(tmp_path: Path, store_url: str) -> None:
    history = complete_history(tmp_path / "home", store_url)
    served = history.deployment.serve(subjects=PEOPLE)
    assert verdicts(history, served) == ["identical"] * 5
    done = eraser(history).subject(SERVING, "wdbc-1")
    assert done.held
    assert len(done.keys) == 1
    assert done.cleared
    assert verdicts(history, served) == ["erased", "identical", "erased", "identical", "identical"]
    assert verdicts(history, history.served) == ["identical"] * 5
    assert eraser(history).subject(SERVING, "wdbc-1").held is False
    deployment = history.deployment
    assert verify(deployment.store, deployment.home).ok
    assert deployment.store.rebuild()
    assert verdicts(history, served)[0] == "erased"


def test_all_that_was_captured_of_a_person_goes_in_every_run(history: History) -> None:
    served = [history.deployment.serve(subjects=PEOPLE) for _ in range(3)]
    assert len(eraser(history).subject(SERVING, " wdbc-1 ").keys) == 3
    assert {verdict for each in served for verdict in (verdicts(history, each)[0], verdicts(history, each)[2])} == {
        "erased"
    }


def test_who_is_seen_again_after_an_erasure_gets_another_key(history: History) -> None:
    before = history.deployment.serve(subjects=PEOPLE)
    eraser(history).subject(SERVING, "wdbc-1")
    after = history.deployment.serve(subjects=PEOPLE)
    assert verdicts(history, after) == ["identical"] * 5
    assert verdicts(history, before)[0] == "erased"


def test_a_key_that_was_erased_never_comes_back_from_a_copy(store_url: str) -> None:
    store, key = open_store(store_url), CaptureKey.generate("tag")
    store.keep_capture_keys([key])
    store.erase_capture_keys(subject="tag", reason="asked", by="ada")
    assert store.keep_capture_keys([key, CaptureKey.generate("tag")]) == 1
    assert store.capture_key(key.key_id) is None
    store.rebuild()
    assert store.keep_capture_keys([key]) == 0
    store.close()


def test_a_key_put_back_behind_the_stores_back_is_noticed_by_the_audit(history: History) -> None:
    deployment, key_id = history.deployment, history.served.capture_key
    key = deployment.store.capture_key(key_id)
    assert key
    eraser(history).key(key_id)
    with sqlite3.connect(deployment.home.root / "store.db") as connection:
        connection.execute("INSERT INTO ion_capture_key VALUES (?, ?, '')", (key_id, key.secret))
    (problem,) = verify(deployment.store, deployment.home).problems
    assert problem.kind == "erased key"
    assert "back" in problem.message


@pytest.fixture
def careless() -> Iterator[None]:
    """Let SQLite leave deleted bytes where they are, as it is built by default; some distributions build otherwise."""

    def leave(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA secure_delete=OFF")

    event.listen(Engine, "connect", leave)
    yield
    event.remove(Engine, "connect", leave)


@pytest.mark.usefixtures("careless")
def test_neither_the_secret_nor_the_tag_is_left_in_any_file(isolated: Path) -> None:
    history = complete_history(isolated / ".ion")
    deployment = history.deployment
    deployment.serve(subjects=PEOPLE)
    tag = SubjectTags.of(deployment.home).tag(SERVING, "wdbc-1")
    (key_id,) = deployment.store.capture_keys_of(tag)
    key = deployment.store.capture_key(key_id)
    assert key

    def holding(data: bytes) -> list[str]:
        return [path.name for path in deployment.home.root.rglob("*") if path.is_file() and data in path.read_bytes()]

    assert holding(key.secret)
    assert holding(tag.encode())
    assert eraser(history).subject(SERVING, "wdbc-1").cleared
    assert [holding(key.secret), holding(key.secret.hex().encode()), holding(tag.encode())] == [[], [], []]


def test_no_fact_and_no_block_holds_the_person_or_anything_made_of_it(history: History) -> None:
    deployment = history.deployment
    deployment.serve(subjects=PEOPLE)
    tag = SubjectTags.of(deployment.home).tag(SERVING, "wdbc-1")
    eraser(history).subject(SERVING, "wdbc-1")
    facts = b"".join(raw for _, raw, _ in deployment.store.entries())
    blocks = b"".join(
        deployment.store.block(record.fact.block) or b"" for record in deployment.store.find(InputsCaptured)
    )
    for hidden in (b"wdbc-1", tag.encode(), digest_bytes(b"wdbc-1").encode()[7:]):
        assert hidden not in facts + blocks


def test_the_receipt_says_who_why_and_where_but_not_whose(history: History) -> None:
    served = history.deployment.serve(subjects=PEOPLE)
    done = eraser(history).subject(SERVING, "wdbc-1")
    (record,) = history.deployment.store.find(CaptureErased, SERVING)
    fact = record.fact
    assert (fact.erasure, fact.reason, fact.by, fact.node, fact.rows) == (
        done.erasure, "request 7", "ada", SERVING, None
    )  # fmt: skip
    answer = explain(history.deployment.store, served.predictions[0], history.deployment.home)
    (gap,) = answer.gaps
    assert gap.what == "captured input"
    assert "request 7" in gap.reason
    assert done.erasure in gap.reason
    assert answer.epoch["erased"]
    assert explain(history.deployment.store, served.predictions[1], history.deployment.home).complete
    events = [event for event in timeline(history.deployment.store, ION) if event.kind == "CaptureErased"]
    assert [(event.node, event.subject) for event in events] == [(SERVING, done.erasure)]


def test_a_shared_key_is_not_destroyed_for_one_prediction_by_accident(history: History) -> None:
    prediction = history.served.predictions[1]
    with pytest.raises(IonError) as raised:
        eraser(history).prediction(prediction)
    assert raised.value.code == "shared-key"
    assert "4 other rows" in raised.value.message
    assert verdicts(history, history.served) == ["identical"] * 5
    done = eraser(history).prediction(prediction, with_others=True)
    assert done.rows == 5
    assert verdicts(history, history.served) == ["erased"] * 5


def test_one_prediction_of_a_person_needs_nobody_elses_rows(history: History) -> None:
    served = history.deployment.serve(subjects=PEOPLE)
    assert eraser(history).prediction(served.predictions[2]).rows is None
    assert [verdicts(history, served)[index] for index in (*MINE, 1)] == ["erased", "erased", "identical"]


def test_what_was_told_twice_is_erased_twice(history: History) -> None:
    """A job that crashed tells a file again: the same fact id, sealed under another key."""
    deployment, served = history.deployment, history.deployment.serve(subjects=PEOPLE)
    (record,) = deployment.store.find(InputsCaptured, served.epoch)
    again = CaptureKey.generate()
    deployment.store.keep_capture_keys([again])
    block = seal(["row"] * 5, again, capture_aad(served.epoch, 0))
    fact = InputsCaptured(
        epoch=served.epoch, run=served.run, first=0, last=4, rows=5, key=again.key_id, block=digest_bytes(block)
    )
    deployment.client.emit(fact, block=block, fact_id=record.id)
    deployment.client.ship()
    assert open_row(block, again, 0, capture_aad(served.epoch, 0)) == b"row"
    done = eraser(history).prediction(served.predictions[1], with_others=True)
    assert again.key_id in done.keys
    assert len(done.keys) == 2


def test_a_key_goes_with_those_that_seal_its_rows_again(history: History) -> None:
    deployment, again = history.deployment, CaptureKey.generate()
    (record,) = deployment.store.find(InputsCaptured, history.served.epoch)
    deployment.store.keep_capture_keys([again])
    fact = dataclasses.replace(record.fact, key=again.key_id)
    deployment.client.emit(fact, fact_id=record.id)
    deployment.client.ship()
    assert set(eraser(history).key(history.served.capture_key).keys) == {again.key_id, history.served.capture_key}


def test_quarantined_rows_are_erased_by_their_key(history: History) -> None:
    deployment, key = history.deployment, CaptureKey.generate()
    deployment.store.keep_capture_keys([key])
    block = seal(["bad row"] * 3, key, b"file")
    fact = RowsQuarantined(
        run=history.served.run, node=SERVING, rows=3, reasons={"short": 3}, key=key.key_id,
        block=digest_bytes(block), file="f", file_digest="d",
    )  # fmt: skip
    deployment.client.emit(fact, block=block)
    deployment.client.ship()
    assert eraser(history).key(key.key_id).rows == 3
    assert deployment.store.capture_key(key.key_id) is None
    assert verify(deployment.store, deployment.home).ok


def test_running_writers_are_told_and_told_again_after_an_interruption(history: History) -> None:
    deployment = history.deployment
    done = eraser(history).key(history.served.capture_key)
    path = erased_path(deployment.home)
    assert json.loads(path.read_bytes()) == list(done.keys)
    assert not tell_erased(deployment.home, deployment.store)
    path.unlink()  # as if the erasure had died before it told
    assert tell_erased(deployment.home, deployment.store)
    assert json.loads(path.read_bytes()) == list(done.keys)


def test_nothing_is_erased_that_is_not_meant(history: History) -> None:
    deployment = history.deployment
    for call, code in (
        (lambda: eraser(history).subject(SERVING, "  "), "no-subject"),
        (lambda: eraser(history).subject(f"{ION}/model", "wdbc-1"), "no-subject"),
        (lambda: eraser(history).subject("nowhere/at_all", "wdbc-1"), "unknown-ion"),
        (lambda: eraser(history).prediction(deployment.serve(capture=False).predictions[0]), "not-captured"),
    ):
        with pytest.raises(IonError) as raised:
            call()
        assert raised.value.code == code
    assert not eraser(history).key("0" * 24).held
    assert deployment.store.find(CaptureErased) == []


def test_the_command_erases_answers_in_json_and_never_repeats_the_person(
    history: History, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = history.deployment.serve(subjects=PEOPLE)
    asked = ["erase", "wdbc-1", "--node", SERVING, "--reason", "request 7", "--json"]
    capsys.readouterr()
    assert run(asked) == 0
    printed = capsys.readouterr().out
    assert "wdbc-1" not in printed
    told = json.loads(printed)
    assert (len(told["keys"]), told["rows"], told["cleared"], told["reason"]) == (1, None, True, "request 7")
    assert run(asked) == 1
    assert json.loads(capsys.readouterr().out)["keys"] == []
    monkeypatch.setattr("sys.stdin", io.StringIO("wdbc-2\n"))
    assert run(["erase", "-", "--node", SERVING, "--reason", "r"]) == 0
    assert "Erased: 1 keys" in capsys.readouterr().out
    assert verdicts(history, served) == ["erased", "erased", "erased", "identical", "identical"]
    assert run(["erase", "--prediction", str(served.predictions[4]), "--reason", "r"]) == 0
    assert run(["erase", "--key", history.served.capture_key, "--reason", "r"]) == 0
    assert "5 captured rows" in capsys.readouterr().out
    for wrong in (["erase"], ["erase", "x"], ["erase", "--key", "k", "--prediction", "p"]):
        assert run([*wrong, "--reason", "r"]) == 2
    assert run(["replay", str(served.predictions[0])]) == 1
    assert "erased" in capsys.readouterr().out
    assert run(["why", str(served.predictions[0])]) == 1
    assert "erased" in capsys.readouterr().out
