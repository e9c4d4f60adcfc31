"""Withdrawing a model: what serves afterwards, what never serves again, and a store that lies about it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from ion.clock import now_us
from ion.decision import Policy, PolicySet, promotion_message
from ion.decision.promotion import LEASE_US
from ion.errors import IonError
from ion.evidence import PromotionStatement, create_key, load_signer, verify_promotion
from ion.evidence.files import write_atomic
from ion.evidence.trust import TrustedKey, load_trust, sign_trust
from ion.evidence.trust_root import Window
from ion.facts import DecisionMade, MessageSent, ModelRevoked, Promoted, RolledBack
from ion.graph import Definition, define
from ion.serving import Admitted, Halted, Refused, pointer_path
from ion.testing import DEFINITION, POLICY, SERVING, Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.decision import Evidence, Verdict
    from ion.testing import Trained

DAY_US = 86_400_000_000


@pytest.fixture
def deployment(tmp_path: Path, store_url: str) -> Iterator[Deployment]:
    made = Deployment.make(tmp_path / "home", store_url)
    yield made
    made.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Deployment]:
    """On SQLite only: the tests change its file."""
    made = Deployment.make(tmp_path / "home")
    yield made
    made.close()


def approving(days: int = 30) -> PolicySet:
    def judge(_: Evidence) -> tuple[Verdict, str]:
        return "approve", "as asked"

    return PolicySet("fixed", (Policy("fixed", {}, judge),), days, {}, "tests")


def promote(deployment: Deployment, weight: float, *, days: int = 30) -> Trained:
    """Train and approve one more model."""
    trained = deployment.train(weight=weight)
    (outcome,) = deployment.govern(lambda _: approving(days))
    assert outcome.promoted
    return trained


def falls_back(deployment: Deployment) -> None:
    """Declare the serving node anew: it falls back."""
    nodes = [
        {**node, "on_revocation": "fall_back"} if node["name"] == "predictions" else node
        for node in DEFINITION["nodes"]  # type: ignore[attr-defined]
    ]
    define(deployment.store, Definition.from_json({**DEFINITION, "nodes": nodes}))


def pointer(deployment: Deployment) -> PromotionStatement:
    statement = verify_promotion(pointer_path(deployment.home.root, SERVING).read_bytes(), deployment.trust)
    assert isinstance(statement, PromotionStatement)
    return statement


def revoke(deployment: Deployment, trained: Trained) -> int:
    return deployment.promotions().revoke(SERVING, trained.model, reason="mislabelled rows", by="anna")


def admitted(deployment: Deployment) -> Admitted:
    answer = deployment.gate().admit()
    assert isinstance(answer, Admitted), answer
    return answer


# What happens ------------------------------------------------------------------------------------------


def test_a_node_stops_when_what_serves_is_revoked(deployment: Deployment) -> None:
    promote(deployment, 1.0)
    second = promote(deployment, 1.1)
    gate = deployment.gate()
    assert isinstance(gate.admit(), Admitted)
    assert revoke(deployment, second) == 3
    (fact,) = [record.fact for record in deployment.store.find(ModelRevoked, second.model)]
    assert (fact.node, fact.serial, fact.reason, fact.by) == (SERVING, 3, "mislabelled rows", "anna")
    said = pointer(deployment)
    assert (said.action, said.serial, said.model, said.revoked) == ("revoke", 3, second.model, (second.model,))
    current = deployment.store.current(SERVING)
    assert (current.serial, current.model, current.halted) == (3, second.model, True)
    answer = gate.admit()
    assert isinstance(answer, Halted)
    assert answer.cause == "revoke"


def test_a_node_falls_back_to_the_last_approved_model_where_it_declares_so(deployment: Deployment) -> None:
    falls_back(deployment)
    first, second = promote(deployment, 1.0), promote(deployment, 1.1)
    gate = deployment.gate()
    assert isinstance(gate.admit(), Admitted)
    assert revoke(deployment, second) == 3
    (back,) = [record.fact for record in deployment.store.find(RolledBack, SERVING)]
    assert (back.model, back.run, back.previous, back.serial) == (first.model, first.run, second.model, 4)
    assert (back.reason, back.by) == ("mislabelled rows", "anna")
    said = pointer(deployment)
    assert (said.action, said.serial, said.model, said.revoked) == ("rollback", 4, first.model, (second.model,))
    current = deployment.store.current(SERVING)
    assert (current.serial, current.model, current.cause, current.halted) == (4, first.model, back.cause, False)
    answer = gate.admit()
    assert isinstance(answer, Admitted)
    assert (answer.model, answer.cause, answer.serial) == (first.model, back.cause, 4)
    (sent,) = [record.fact for record in deployment.store.find(MessageSent, promotion_message(back.cause, SERVING))]
    assert (sent.sender, sent.receiver, sent.subject) == (POLICY, SERVING, first.model)


def test_falling_back_skips_what_is_revoked_over_or_gone(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    falls_back(deployment)
    oldest, over, withdrawn = promote(deployment, 1.0), promote(deployment, 1.1, days=1), promote(deployment, 1.2)
    gone, last = promote(deployment, 1.3), promote(deployment, 1.4)
    revoke(deployment, withdrawn)
    assert deployment.store.current(SERVING).model == last.model
    (entry,) = deployment.artifacts.get_manifest(gone.model).entries
    deployment.artifacts.path(entry.sha256).unlink()
    assert over.model != oldest.model
    monkeypatch.setattr("ion.decision.promotion.now_us", lambda: now_us() + 2 * DAY_US)
    revoke(deployment, last)
    assert deployment.store.current(SERVING).model == oldest.model


def test_without_anything_to_fall_back_to_the_node_stops(deployment: Deployment) -> None:
    falls_back(deployment)
    only = promote(deployment, 1.0)
    revoke(deployment, only)
    assert deployment.store.find(RolledBack) == []
    assert isinstance(deployment.gate().admit(), Halted)


def test_a_decision_that_went_missing_is_put_back_for_the_fall_back(deployment: Deployment) -> None:
    falls_back(deployment)
    first, second = promote(deployment, 1.0), promote(deployment, 1.1)
    (decided,) = [r.fact for r in deployment.store.find(DecisionMade, first.model)]
    deployment.artifacts.path(decided.envelope_digest).unlink()
    revoke(deployment, second)
    assert admitted(deployment).model == first.model


def test_a_decision_by_a_key_that_never_counted_is_not_fallen_back_to(deployment: Deployment) -> None:
    falls_back(deployment)
    promote(deployment, 1.0)
    rotate(deployment, old=Window(revoked=0))
    second = promote(deployment, 1.1)
    revoke(deployment, second)
    assert deployment.store.find(RolledBack) == []
    assert isinstance(deployment.gate().admit(), Halted)


def test_a_decision_by_a_key_that_was_replaced_since_is_fallen_back_to(deployment: Deployment) -> None:
    falls_back(deployment)
    first = promote(deployment, 1.0)
    rotate(deployment, old=Window(until=now_us()))
    second = promote(deployment, 1.1)
    revoke(deployment, second)
    assert admitted(deployment).model == first.model


def test_revoking_another_model_leaves_what_serves_and_tells_its_gate(deployment: Deployment) -> None:
    first, second = promote(deployment, 1.0), promote(deployment, 1.1)
    before = deployment.store.current(SERVING)
    assert revoke(deployment, first) == 3
    assert deployment.store.current(SERVING) == replace(before, serial=3)
    said = pointer(deployment)
    assert (said.action, said.serial, said.model, said.revoked) == ("promote", 2, second.model, (first.model,))
    assert admitted(deployment).model == second.model
    third = promote(deployment, 1.2)
    assert (pointer(deployment).serial, pointer(deployment).revoked) == (4, (first.model,))
    assert admitted(deployment).model == third.model


def test_a_model_may_be_revoked_before_it_was_ever_promoted(deployment: Deployment) -> None:
    trained = deployment.train()
    assert revoke(deployment, trained) == 1
    assert not pointer_path(deployment.home.root, SERVING).exists()
    with pytest.raises(IonError, match="never served"):
        deployment.promotions().halt(SERVING, reason="x", by="y")
    (outcome,) = deployment.govern(lambda _: approving())
    assert (outcome.verdict, outcome.promoted) == ("reject", False)
    assert isinstance(deployment.gate().admit(), Refused)


def test_a_revoked_model_is_never_promoted_again(deployment: Deployment) -> None:
    trained = promote(deployment, 1.0)
    revoke(deployment, trained)
    candidate = deployment.candidate(trained)
    (outcome,) = deployment.governor(lambda _: approving()).consider(candidate, again=True)
    assert (outcome.verdict, outcome.promoted) == ("reject", False)
    assert [reason.message for reason in outcome.reasons] == [f"the model was revoked for {SERVING}"]
    again = deployment.train(weight=1.0)  # the same bytes from another run
    assert again.model == trained.model
    (outcome,) = deployment.govern(lambda _: approving())
    assert (outcome.verdict, outcome.promoted) == ("reject", False)
    assert isinstance(deployment.gate().admit(), Halted)


def test_a_promotion_that_was_decided_before_the_revocation_does_not_follow_it(deployment: Deployment) -> None:
    """The decision is there and approves; between it and the promotion somebody revoked the model."""
    trained = promote(deployment, 1.0)
    (decided,) = [record.fact for record in deployment.store.find(DecisionMade, trained.model)]
    revoke(deployment, trained)
    with deployment.store.command() as command:
        another = replace(decided, decision="another")
        assert not deployment.promotions().promote(command, another, 99, POLICY, "keep")


def test_an_older_candidate_may_follow_a_newer_one_that_was_revoked(deployment: Deployment) -> None:
    older, newer = deployment.train(weight=1.0), deployment.train(weight=1.1)
    deployment.governor(lambda _: approving()).consider(deployment.candidate(newer))
    governor = deployment.governor(lambda _: approving())
    (outcome,) = governor.consider(deployment.candidate(older))
    assert not outcome.promoted
    revoke(deployment, newer)
    (outcome,) = governor.consider(deployment.candidate(older), again=True)
    assert outcome.promoted
    assert admitted(deployment).model == older.model


def test_revoking_twice_is_revoking_once(deployment: Deployment) -> None:
    falls_back(deployment)
    promote(deployment, 1.0)
    second = promote(deployment, 1.1)
    assert revoke(deployment, second) == revoke(deployment, second) == 3
    assert len(deployment.store.find(ModelRevoked)) == len(deployment.store.find(RolledBack)) == 1


def test_a_halted_node_does_not_fall_back(deployment: Deployment) -> None:
    falls_back(deployment)
    promote(deployment, 1.0)
    second = promote(deployment, 1.1)
    deployment.promotions().halt(SERVING, reason="wrong unit", by="anna")
    revoke(deployment, second)
    assert deployment.store.find(RolledBack) == []
    assert deployment.store.current(SERVING).halted
    assert isinstance(deployment.gate().admit(), Halted)


@pytest.mark.parametrize(
    ("node", "model", "code"),
    [(SERVING, "sha256:" + "0" * 64, "unknown-model"), ("patient_tests/prediction", "", "unknown-node")],
)
def test_what_nobody_knows_cannot_be_revoked(deployment: Deployment, node: str, model: str, code: str) -> None:
    trained = deployment.train()
    with pytest.raises(IonError) as error:
        deployment.promotions().revoke(node, model or trained.model, reason="x", by="anna")
    assert error.value.code == code
    assert deployment.store.find(ModelRevoked) == []


def test_a_crash_between_the_revocation_and_the_pointer_only_delays_the_pointer(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    falls_back(deployment)
    first, second = promote(deployment, 1.0), promote(deployment, 1.1)
    promotions = deployment.promotions()
    monkeypatch.setattr(type(promotions), "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        promotions.revoke(SERVING, second.model, reason="x", by="anna")
    monkeypatch.undo()
    assert admitted(deployment).model == second.model
    assert promotions.publish(SERVING)
    assert admitted(deployment).model == first.model
    assert not promotions.publish(SERVING)


def test_a_revocation_or_a_rollback_that_cannot_be_recorded_changes_nothing(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    falls_back(deployment)
    promote(deployment, 1.0)
    second = promote(deployment, 1.1)
    before = deployment.store.head()
    monkeypatch.setattr("ion.decision.promotion.last_approved", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        revoke(deployment, second)
    assert deployment.store.head() == before
    assert admitted(deployment).model == second.model


# Keys that change ----------------------------------------------------------------------------------------


def rotate(deployment: Deployment, *, old: Window) -> None:
    """Sign with a new decision key from now on, and let the root say how long the old one counted."""
    home = deployment.home
    (home.keys / "decision.pem").rename(home.keys / f"old-{now_us()}.pem")
    create_key(home.keys / "decision.pem")
    replaced, signer = deployment.signer, load_signer(home.decision_key_uri)
    trust = load_trust(home)
    keys = (TrustedKey(replaced.public, old), TrustedKey(signer.public, Window(since=now_us() - 1)))
    services = {**trust.document.services, "decision": keys}
    document = replace(trust.document, version=trust.document.version + 1, services=services)
    write_atomic(home.trust_document, sign_trust(document, load_signer(f"file:{home.keys / 'root.pem'}")))
    deployment.signer = signer


def test_a_pointer_by_another_key_than_ours_is_signed_again(deployment: Deployment) -> None:
    trained = promote(deployment, 1.0)
    before = pointer_path(deployment.home.root, SERVING).read_bytes()
    rotate(deployment, old=Window(until=now_us()))
    answer = deployment.gate().admit()
    assert isinstance(answer, Refused)
    assert (answer.step, "any more" in answer.reason) == ("pointer", True)
    assert deployment.promotions().publish(SERVING)
    assert pointer_path(deployment.home.root, SERVING).read_bytes() != before
    assert admitted(deployment).model == trained.model
    assert not deployment.promotions().publish(SERVING)


def test_a_promotion_by_a_key_that_never_counted_is_not_signed_again(deployment: Deployment) -> None:
    promote(deployment, 1.0)
    before = pointer_path(deployment.home.root, SERVING).read_bytes()
    rotate(deployment, old=Window(revoked=0))
    with pytest.raises(IonError) as error:
        deployment.promotions().publish(SERVING)
    assert error.value.code == "promotion-unverified"
    assert pointer_path(deployment.home.root, SERVING).read_bytes() == before


# A store that lies -----------------------------------------------------------------------------------------


def sql(deployment: Deployment, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(deployment.home.root / "store.db")) as connection, connection:
        assert connection.execute(statement, values).rowcount, "the statement planted nothing"


def aged(deployment: Deployment) -> bytes:
    """Let the pointer need renewal; return its bytes."""
    path = pointer_path(deployment.home.root, SERVING)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"serial":2', b'"serial":7'),
        (b'"node":"patient_tests/predictions","', b'"node":"patient_tests/prediction5","'),
        (b'"cause":"', b'"cause":"x'),
    ],
)
def test_a_promotion_that_the_store_changed_is_not_signed(
    local: Deployment, monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes
) -> None:
    promote(local, 1.0)
    promote(local, 1.1)
    record = local.store.find(Promoted, SERVING)[-1]
    raw = local.store.record_at(record.position).raw
    assert old in raw
    sql(local, "UPDATE ion_fact SET raw = ? WHERE position = ?", raw.replace(old, new, 1), record.position)
    path = pointer_path(local.home.root, SERVING)
    before = path.read_bytes()
    monkeypatch.setattr("ion.decision.promotion.now_us", lambda: now_us() + LEASE_US)  # it should be renewed
    if b"node" in old:  # it is not this node's any more: the one before it is, and that is older than the pointer
        with pytest.raises(IonError, match="store only 1"):
            local.promotions().publish(SERVING)
    else:
        with pytest.raises(IonError) as error:
            local.promotions().publish(SERVING)
        assert error.value.code == "promotion-unverified"
    assert path.read_bytes() == before


def test_an_older_promotion_is_not_signed_again_for_a_store_that_went_back(local: Deployment) -> None:
    """The newest promotion is taken out of the database, or an older backup is put in its place."""
    promote(local, 1.0)
    backup = local.home.root / "backup.db"
    with closing(sqlite3.connect(local.home.root / "store.db")) as there, closing(sqlite3.connect(backup)) as here:
        there.backup(here)
    promote(local, 1.1)
    path = pointer_path(local.home.root, SERVING)
    before = path.read_bytes()
    local.store.close()
    for extra in ("-wal", "-shm"):
        (local.home.root / f"store.db{extra}").unlink(missing_ok=True)
    shutil.copy(backup, local.home.root / "store.db")
    with pytest.raises(IonError) as error:
        local.promotions().publish(SERVING)
    assert error.value.code == "store-went-back"
    assert path.read_bytes() == before


def test_a_revocation_that_the_store_forgot_is_still_in_the_pointer(local: Deployment) -> None:
    first = promote(local, 1.0)
    promote(local, 1.1)
    revoke(local, first)
    sql(local, "DELETE FROM ion_mention WHERE kind = 'ModelRevoked'")
    sql(local, "DELETE FROM ion_fact WHERE kind = 'ModelRevoked'")
    third = local.train(weight=1.2)
    (outcome,) = local.govern(lambda _: approving())
    assert outcome.promoted
    assert pointer(local).revoked == (first.model,)
    assert admitted(local).model == third.model


def test_a_revoked_model_is_not_signed_for_a_store_that_forgot_it(local: Deployment) -> None:
    falls_back(local)
    promote(local, 1.0)
    second = promote(local, 1.1)
    revoke(local, second)
    sql(local, "DELETE FROM ion_mention WHERE kind IN ('ModelRevoked', 'RolledBack')")
    sql(local, "DELETE FROM ion_fact WHERE kind IN ('ModelRevoked', 'RolledBack')")
    sql(local, "UPDATE ion_current SET model = ''")
    path = pointer_path(local.home.root, SERVING)
    before = path.read_bytes()
    local.governor(lambda _: approving())
    with pytest.raises(IonError):
        local.governor(lambda _: approving()).consider(local.candidate(second), again=True)
    assert path.read_bytes() == before


def test_a_forged_revocation_is_not_signed(local: Deployment) -> None:
    first = promote(local, 1.0)
    with local.store.command() as command:
        command.record(
            ModelRevoked(
                cause="forged", node=SERVING, model="sha256:" + "1" * 64, serial=2, reason="", by="", envelope="{}"
            )
        )
    promote(local, 1.1)
    assert pointer(local).revoked == ()
    revoke(local, first)
    assert pointer(local).revoked == (first.model,)


def test_the_gate_needs_no_store(local: Deployment) -> None:
    trained = promote(local, 1.0)
    local.store.close()
    for path in local.home.root.glob("store.db*"):
        path.unlink()
    assert admitted(local).model == trained.model


def test_an_empty_store_and_one_that_cannot_be_reached_leave_the_pointer(local: Deployment, tmp_path: Path) -> None:
    promote(local, 1.0)
    path = pointer_path(local.home.root, SERVING)
    before = path.read_bytes()
    empty = Deployment.make(tmp_path / "empty")
    local.store, kept = empty.store, local.store
    assert not local.promotions().publish(SERVING)
    assert path.read_bytes() == before
    empty.store.close()
    (tmp_path / "empty" / "store.db").unlink()
    (tmp_path / "empty" / "store.db").mkdir()
    with pytest.raises(OperationalError):
        local.promotions().publish(SERVING)
    assert path.read_bytes() == before
    kept.close()
