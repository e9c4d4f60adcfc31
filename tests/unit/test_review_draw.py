"""Which automatic approvals are drawn for review: unknown before the signature, the same ever after."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ion.decision.review import drawn_for_review
from ion.evidence.envelope import sign
from ion.evidence.keys import Signer
from ion.facts import DecisionMade
from ion.ids import new_id

DRAWS = 2000


def decision(signer: Signer, **changes: object) -> DecisionMade:
    number = new_id()
    made = DecisionMade(
        decision=number, node="a/b", model="m", run="r", verdict="approve", reasons=[], policy_set="s",
        policy_digest="d", evidence={}, expires=1, envelope=sign({"id": number}, "text/x", signer).decode(),
        envelope_digest="e",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.of(Ed25519PrivateKey.generate())


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_about_the_share_is_drawn(signer: Signer, share: float) -> None:
    drawn = sum(drawn_for_review(decision(signer), share) for _ in range(DRAWS))
    spread = (DRAWS * share * (1 - share)) ** 0.5
    assert abs(drawn - DRAWS * share) < 6 * spread


def test_a_larger_share_draws_what_a_smaller_one_draws(signer: Signer) -> None:
    for _ in range(200):
        made = decision(signer)
        lots = [drawn_for_review(made, share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)]
        assert lots == sorted(lots)
        assert (lots[0], lots[-1]) == (False, True)
        assert drawn_for_review(made, 0.5) == lots[2]


def test_the_lot_depends_on_the_signature_that_nobody_else_can_make(signer: Signer) -> None:
    """The same decision under another key has another lot: who does not hold the key cannot compute it."""
    other = Signer.of(Ed25519PrivateKey.generate())
    lots = []
    for _ in range(64):
        made = decision(signer)
        again = replace(made, envelope=sign({"id": made.decision}, "text/x", other).decode())
        lots.append(drawn_for_review(made, 0.5) == drawn_for_review(again, 0.5))
    assert {True, False} == set(lots)


def test_only_an_automatic_approval_is_drawn(signer: Signer) -> None:
    assert drawn_for_review(decision(signer), 1.0)
    for changes in ({"verdict": "reject"}, {"verdict": "defer"}, {"automatic": False}):
        assert not drawn_for_review(decision(signer, **changes), 1.0)
