"""The audit finds each kind of tampering, planted by raw SQL or in the files; and nothing where nothing is wrong."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ion.audit import Audit, verify
from ion.canonical import canonical_bytes
from ion.facts import GapNoted, IonDefined, NodeHalted, ParamRecorded, Promoted
from ion.home import Home
from ion.ids import observed_id
from ion.ledger import GENESIS, link
from ion.serving import pointer_path
from ion.testing import SERVING, History, trust_another, written
from tests.store.complete_history import artifact, complete_history

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.store import Head


@pytest.fixture
def history(tmp_path: Path) -> History:
    return complete_history(tmp_path / "home")


def audit(history: History) -> Audit:
    return verify(history.deployment.store, history.deployment.home)


def kinds(history: History) -> set[str]:
    found = audit(history)
    assert found.ok == (not found.problems)
    return {problem.kind for problem in found.problems}


def sql(history: History, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(history.deployment.home.root / "store.db")) as connection, connection:
        assert connection.execute(statement, values).rowcount, "the statement planted nothing"


def positions(history: History, kind: str) -> list[int]:
    with closing(sqlite3.connect(history.deployment.home.root / "store.db")) as connection:
        rows = connection.execute("SELECT position FROM ion_fact WHERE kind = ? ORDER BY position", (kind,))
        return [row[0] for row in rows]


def forge(history: History, position: int, change: Callable[[dict[str, object]], object]) -> None:
    """Change a record as somebody would who may write the database: links and projections made to fit."""
    with closing(sqlite3.connect(history.deployment.home.root / "store.db")) as connection, connection:
        (raw,) = connection.execute("SELECT raw FROM ion_fact WHERE position = ?", (position,)).fetchone()
        record = json.loads(raw)
        change(record)
        connection.execute("UPDATE ion_fact SET raw = ? WHERE position = ?", (canonical_bytes(record), position))
        previous = GENESIS
        for at, body in connection.execute("SELECT position, raw FROM ion_fact ORDER BY position").fetchall():
            previous = link(previous, body)
            connection.execute("UPDATE ion_fact SET link = ? WHERE position = ?", (previous, at))
        connection.execute("UPDATE ion_head SET link = ?", (previous,))
    history.deployment.store.rebuild()


def test_an_untouched_history_holds(tmp_path: Path, store_url: str) -> None:
    history = complete_history(tmp_path / "home", store_url)
    before = history.deployment.store.head()
    found = audit(history)
    assert found.problems == ()
    assert (found.ok, found.entries, found.head) == (True, before.position, before.link.hex())
    assert history.deployment.store.head() == before, "an audit changes nothing"
    assert found.as_dict() == {
        "ok": True,
        "entries": before.position,
        "head": before.link.hex(),
        "root": history.deployment.store.ledger.tree().root(before.position).hex(),
        "checkpoints": 0,
        "removed": 0,
        "problems": [],
    }


def test_an_empty_store_holds(tmp_path: Path) -> None:
    from ion.store import open_store

    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    found = verify(store, Home(tmp_path))
    assert (found.ok, found.entries) == (True, 0)
    store.close()


def test_a_halted_node_holds(history: History) -> None:
    history.deployment.promotions().halt(SERVING, reason="test", by="tester")
    assert kinds(history) == set()


# The chain ---------------------------------------------------------------------------------------


def test_facts_that_arrive_while_the_audit_reads_are_no_fault(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = history.deployment.store
    head = store.head

    def told_meanwhile() -> Head:
        found = head()
        history.deployment.client.emit(ParamRecorded(run="r", name="n", value=found.position))
        history.deployment.client.ship()
        return found

    monkeypatch.setattr(store, "head", told_meanwhile)
    assert verify(store, history.deployment.home).problems == ()


def test_an_edited_fact(history: History) -> None:
    edit = "UPDATE ion_fact SET raw = CAST(replace(CAST(raw AS TEXT), 'succeeded', 'successed') AS BLOB)"
    sql(history, f"{edit} WHERE kind = 'NodeRunEnded'")
    found = audit(history)
    assert found.problems[0].kind == "edited"
    assert found.problems[0].position == positions(history, "NodeRunEnded")[0]


def test_a_fact_turned_into_text(history: History) -> None:
    """SQLite lets a column hold another type; the same characters are still the same record."""
    sql(history, "UPDATE ion_fact SET raw = CAST(raw AS TEXT), link = CAST(link AS TEXT) WHERE position = 4")
    assert audit(history).ok


def test_an_unreadable_fact(history: History) -> None:
    sql(history, "UPDATE ion_fact SET raw = x'00' WHERE position = 3")
    assert {"edited", "unreadable"} <= kinds(history)


def test_a_deleted_fact(history: History) -> None:
    sql(history, "DELETE FROM ion_fact WHERE position = 5")
    assert "deleted" in kinds(history)


def test_a_cut_end(history: History) -> None:
    sql(history, "DELETE FROM ion_fact WHERE position = (SELECT max(position) FROM ion_fact)")
    assert "truncated" in kinds(history)


def test_a_cut_end_with_the_head_set_back(history: History) -> None:
    last = history.deployment.store.head().position
    sql(history, "DELETE FROM ion_fact WHERE position = ?", last)
    sql(
        history,
        "UPDATE ion_head SET position = ?, link = (SELECT link FROM ion_fact WHERE position = ?)",
        last - 1,
        last - 1,
    )
    assert "acknowledged-missing" in kinds(history)


def test_a_changed_head(history: History) -> None:
    sql(history, "UPDATE ion_head SET link = zeroblob(32)")
    assert "head-differs" in kinds(history)


# What is derived -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ion_current SET model = 'another'",
        "UPDATE ion_current SET halted = 1",
        "UPDATE ion_candidate SET verdict = 'approve' WHERE verdict = 'reject'",
        "DELETE FROM ion_mention WHERE kind = 'GapNoted' OR kind = 'CheckEvaluated'",
        "UPDATE ion_prediction_range SET last = 1000",
        "DELETE FROM ion_cause",
    ],
)
def test_an_altered_projection(history: History, statement: str) -> None:
    sql(history, statement)
    found = audit(history)
    assert {problem.kind for problem in found.problems} == {"projection-differs"}
    assert "ion store rebuild" in found.problems[0].message
    history.deployment.store.rebuild()
    assert audit(history).ok


@pytest.mark.parametrize(
    "change",
    ["kind = 'AlertRaised'", "agent = 'somebody'", "us = us + 1", "id = 'another'", "seq = 999", "first = 0"],
)
def test_a_misfiled_fact(history: History, change: str) -> None:
    position = positions(history, "CheckEvaluated")[0]
    sql(history, f"UPDATE ion_fact SET {change} WHERE position = ?", position)  # noqa: S608 - from the list above
    found = [problem for problem in audit(history).problems if problem.kind == "misfiled"]
    assert [problem.position for problem in found] == [position]


def test_a_fact_told_twice_is_no_fault(history: History) -> None:
    client = history.deployment.client
    for _ in range(2):
        client.emit(GapNoted(scope="s", what="x", count=1, reason="told again"), fact_id=observed_id("the same"))
    client.ship()
    assert audit(history).ok


# Signatures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verdict", "approve"),
        ("model", "sha256:" + "0" * 64),
        ("node", "patient_tests/other"),
        ("policy_digest", "sha256:" + "0" * 64),
        ("expires", 1),
        ("reasons", []),
        ("evidence", {}),
        ("envelope_digest", "sha256:" + "0" * 64),
        ("envelope", "{}"),
    ],
)
def test_a_forged_decision(history: History, field: str, value: object) -> None:
    position = positions(history, "DecisionMade")[1]
    forge(history, position, lambda record: record["body"].__setitem__(field, value))
    found = [problem for problem in audit(history).problems if problem.kind == "signature"]
    assert [problem.position for problem in found] == [position]


@pytest.mark.parametrize(
    ("field", "value"), [("model", "sha256:" + "0" * 64), ("serial", 9), ("cause", "another"), ("run", "another")]
)
def test_a_forged_promotion(history: History, field: str, value: object) -> None:
    forge(history, positions(history, "Promoted")[0], lambda record: record["body"].__setitem__(field, value))
    assert "signature" in kinds(history)


def test_a_promotion_that_rests_on_a_rejection(history: History) -> None:
    """Signed by the right key, and still wrong."""
    from ion.clock import now_us
    from ion.decision.promotion import LEASE_US
    from ion.evidence import PromotionStatement, sign_statement
    from ion.facts import DecisionMade

    deployment = history.deployment
    decided = deployment.store.latest(DecisionMade, history.rejected.decision)
    assert decided
    fact = decided.fact
    statement = PromotionStatement(
        ion="patient_tests",
        node="predictions",
        action="promote",
        model=fact.model,
        decision=fact.envelope_digest,
        serial=2,
        cause=fact.decision,
        issued=now_us(),
        lease_end=now_us() + LEASE_US,
        on_lease_end="keep",
    )
    with deployment.store.command() as command:
        command.record(
            Promoted(
                cause=fact.decision,
                node=SERVING,
                model=fact.model,
                run=fact.run,
                decision=fact.decision,
                serial=2,
                previous="",
                envelope=sign_statement(statement, deployment.signer).decode(),
            )
        )
    deployment.promotions().publish(SERVING)
    (problem,) = audit(history).problems
    assert problem.kind == "signature"
    assert "reject" in problem.message


@pytest.mark.parametrize(("field", "value"), [("serial", 9), ("cause", "another"), ("node", "patient_tests/model")])
def test_a_forged_halt(history: History, field: str, value: object) -> None:
    history.deployment.promotions().halt(SERVING, reason="test", by="tester")
    forge(history, positions(history, "NodeHalted")[0], lambda record: record["body"].__setitem__(field, value))
    assert "signature" in kinds(history)


def test_another_key(history: History, tmp_path: Path) -> None:
    trust_another(history.deployment.home, Home(tmp_path / "another"))
    assert kinds(history) == {"signature", "pointer"}


def test_no_key(history: History) -> None:
    history.deployment.home.trust_document.unlink()
    assert kinds(history) == {"trust-missing"}


def test_a_changed_definition(history: History) -> None:
    forge(history, 1, lambda record: record["body"]["definition"].__setitem__("description", "mine"))
    assert kinds(history) == {"definition-differs"}


def test_a_decision_written_by_an_agent(history: History) -> None:
    def by_an_agent(record: dict[str, object]) -> None:
        record["agent"], record["seq"] = "test-agent", 0

    position = positions(history, "DecisionMade")[1]
    forge(history, position, by_an_agent)
    found = {(problem.kind, problem.position) for problem in audit(history).problems}
    assert ("foreign-author", position) in found


# Bytes ---------------------------------------------------------------------------------------------


def test_a_changed_or_missing_block(history: History) -> None:
    sql(history, "UPDATE ion_block SET body = CAST(body || x'00' AS BLOB)")
    assert kinds(history) == {"block"}
    sql(history, "UPDATE ion_block SET body = CAST(body AS TEXT)")
    assert kinds(history) == {"block"}
    sql(history, "DELETE FROM ion_block")
    assert kinds(history) == {"block"}


def test_changed_model_bytes(history: History) -> None:
    manifest = history.deployment.artifacts.get_manifest(history.trained.model)
    path = artifact(history, manifest.entries[0].sha256)
    path.write_bytes(path.read_bytes() + b" ")
    assert kinds(history) == {"model"}


def test_a_missing_manifest(history: History) -> None:
    artifact(history, history.trained.model).unlink()
    assert kinds(history) == {"model"}


def test_changed_rows_of_a_dataset(history: History) -> None:
    uri = history.trained.heldout.uri
    path = artifact(history, uri.removeprefix("artifact:"))
    path.write_bytes(path.read_bytes()[:-1])
    (problem,) = audit(history).problems
    assert (problem.kind, problem.message.partition(":")[0]) == ("artifact", "DatasetRecorded")


def test_a_missing_decision_envelope(history: History) -> None:
    decided = positions(history, "DecisionMade")[0]
    digest = history.deployment.store.record_at(decided).fact.envelope_digest  # type: ignore[attr-defined]
    artifact(history, digest).unlink()
    (problem,) = audit(history).problems
    assert (problem.kind, problem.position) == ("artifact", decided)


# Agents --------------------------------------------------------------------------------------------


def test_a_hole_in_an_agents_sequence_until_a_gap_explains_it(history: History) -> None:
    store = history.deployment.store
    facts = [written(ParamRecorded(run="r", name="n", value=seq), seq, agent="holed") for seq in (0, 3)]
    store.append(facts)
    (problem,) = audit(history).problems
    assert problem.kind == "sequence-hole"
    assert "holed: 2 facts before sequence 3" in problem.message
    gap = GapNoted(scope="holed", what="facts", count=2, reason="the disk failed")
    store.append([written(gap, 0, agent="shipping-x")])
    assert audit(history).ok


def test_a_gap_explains_only_the_numbers_it_names(history: History) -> None:
    store = history.deployment.store
    store.append([written(ParamRecorded(run="r", name="n", value=seq), seq, agent="holed") for seq in (0, 3)])
    part = GapNoted(scope="holed", what="facts", count=1, reason="the disk failed", first=1, last=1)
    store.append([written(part, 0, agent="shipping-x")])
    assert kinds(history) == {"sequence-hole"}
    rest = GapNoted(scope="holed", what="facts", count=1, reason="the disk failed", first=2, last=2)
    store.append([written(rest, 1, agent="shipping-x")])
    assert audit(history).ok


def test_a_fact_that_was_refused_leaves_no_unexplained_hole(history: History) -> None:
    halted = NodeHalted(cause="c", node=SERVING, serial=9, reason="", by="", envelope="")
    facts = [
        written(ParamRecorded(run="r", name="n", value=0), 0, agent="forger"),
        written(halted, 1, agent="forger"),
        written(ParamRecorded(run="r", name="n", value=2), 2, agent="forger"),
    ]
    for _ in range(2):
        history.deployment.store.append(facts)
    assert audit(history).ok
    assert len(history.deployment.store.find(GapNoted, "forger")) == 1


def test_a_sequence_that_does_not_begin_at_its_beginning(history: History) -> None:
    history.deployment.store.append([written(ParamRecorded(run="r", name="n", value=1), 4, agent="late")])
    assert kinds(history) == {"sequence-hole"}


def test_facts_lost_after_they_were_acknowledged(history: History) -> None:
    sql(history, "UPDATE ion_agent SET seq = seq + 1 WHERE agent LIKE 'test-%'")
    assert kinds(history) == {"acknowledged-missing"}


# Pointers ------------------------------------------------------------------------------------------


def pointer(history: History) -> Path:
    return pointer_path(history.deployment.home.root, SERVING)


def test_a_missing_pointer(history: History) -> None:
    pointer(history).unlink()
    assert kinds(history) == {"pointer"}


def test_a_pointer_that_is_not_signed(history: History) -> None:
    pointer(history).write_text("{}")
    assert kinds(history) == {"pointer"}


def test_an_old_pointer_put_back(history: History) -> None:
    old = pointer(history).read_bytes()
    history.deployment.promotions().halt(SERVING, reason="test", by="tester")
    assert audit(history).ok
    pointer(history).write_bytes(old)
    (problem,) = audit(history).problems
    assert problem.kind == "pointer"
    assert "serial 1" in problem.message


def test_everything_wrong_is_listed(history: History) -> None:
    pointer(history).unlink()
    sql(history, "DELETE FROM ion_block")
    sql(history, "UPDATE ion_current SET halted = 1")
    with history.deployment.store.command() as command:
        command.record(IonDefined(ion="x", version="v", definition={}))
    assert kinds(history) == {"pointer", "block", "projection-differs", "definition-differs"}
