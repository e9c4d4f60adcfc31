"""A deployment whose decision key is replaced or revoked while it serves."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ion.clock import now_us
from ion.errors import IonError
from ion.evidence import load_signer
from ion.evidence.key_folder import file_uri
from ion.evidence.rotation import rotate_own_service
from ion.evidence.trust_changes import with_revocation
from ion.evidence.trust_signing import TrustPlace
from ion.facts import DecisionMade
from ion.serving import Admitted, pointer_path
from ion.testing import SERVING, Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """It serves a model, approved and promoted under its first key."""
    made = Deployment.make(tmp_path / "home")
    made.train()
    made.govern()
    yield made
    made.close()


def rotate(deployment: Deployment) -> None:
    root = load_signer(file_uri(deployment.home.keys / "root.pem"))
    rotate_own_service(deployment.home, TrustPlace.of(deployment.home), root, "decision", days=None)
    deployment.signer = load_signer(deployment.home.decision_key_uri)


def revoke(deployment: Deployment, key_id: str, since: int) -> None:
    root = load_signer(file_uri(deployment.home.keys / "root.pem"))
    TrustPlace.of(deployment.home).sign(root, partial(with_revocation, key_id=key_id, since=since))


def pointer_key(deployment: Deployment) -> str:
    envelope = json.loads(pointer_path(deployment.home.root, SERVING).read_bytes())
    return str(envelope["signatures"][0]["keyid"])


def test_what_serves_goes_on_and_its_pointer_is_signed_anew_by_the_new_key(deployment: Deployment) -> None:
    old = pointer_key(deployment)
    rotate(deployment)
    assert isinstance(deployment.gate().admit(), Admitted)
    assert deployment.promotions().publish(SERVING) is True
    assert pointer_key(deployment) == deployment.signer.public.key_id != old
    assert isinstance(deployment.gate().admit(), Admitted)


def test_the_next_decision_is_signed_by_the_new_key_and_both_verify(deployment: Deployment) -> None:
    rotate(deployment)
    deployment.train(weight=2.0)
    assert [outcome.promoted for outcome in deployment.govern()] == [True]
    keys = {
        json.loads(record.fact.envelope)["signatures"][0]["keyid"] for record in deployment.store.find(DecisionMade)
    }
    assert len(keys) == 2
    assert isinstance(deployment.gate().admit(), Admitted)


def test_a_stolen_key_revoked_from_before_it_signed_serves_nothing_until_it_is_decided_anew(
    deployment: Deployment,
) -> None:
    old = deployment.signer.public.key_id
    decided = deployment.store.find(DecisionMade)[0]
    rotate(deployment)
    revoke(deployment, old, decided.us - 1_000_000)
    assert not isinstance(deployment.gate().admit(), Admitted)
    with pytest.raises(IonError) as error:
        deployment.promotions().publish(SERVING)
    assert error.value.code == "promotion-unverified"
    (candidate,) = deployment.store.candidates()
    (outcome,) = deployment.governor().consider(candidate, again=True)
    assert (outcome.verdict, outcome.promoted) == ("approve", True)
    assert isinstance(deployment.gate().admit(), Admitted)


def test_a_key_revoked_from_now_on_leaves_what_serves_once_the_pointer_is_signed_anew(deployment: Deployment) -> None:
    """Until then the gate refuses: a thief could give a pointer of today an earlier date."""
    old = deployment.signer.public.key_id
    rotate(deployment)
    revoke(deployment, old, now_us())
    assert not isinstance(deployment.gate().admit(), Admitted)
    assert deployment.promotions().publish(SERVING) is True
    assert isinstance(deployment.gate().admit(), Admitted)
