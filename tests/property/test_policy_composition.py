"""How verdicts compose: nothing approves unless everything approves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from ion.decision.policy import Policy, PolicySet, Verdict, compose

if TYPE_CHECKING:
    from ion.decision import Evidence

VERDICT: st.SearchStrategy[Verdict] = st.sampled_from(["approve", "reject", "defer"])
ANSWER = st.sampled_from(["approve", "reject", "defer", "raise", "none", "APPROVE", True, None, ["approve"]])


def test_no_verdict_at_all_rejects() -> None:
    assert compose([]) == "reject"
    assert PolicySet("empty", (), 1, {}, "tests").evaluate(None) == ("reject", ())  # type: ignore[arg-type]


@given(st.lists(VERDICT, min_size=1))
def test_all_must_approve_one_rejection_rejects_and_order_does_not_matter(verdicts: list[Verdict]) -> None:
    composed = compose(verdicts)
    assert (composed == "approve") == all(verdict == "approve" for verdict in verdicts)
    assert (composed == "reject") == ("reject" in verdicts)
    assert compose(verdicts[::-1]) == compose(sorted(verdicts)) == composed


@given(st.lists(VERDICT), VERDICT)
def test_one_more_policy_never_makes_an_approval_of_a_denial(verdicts: list[Verdict], more: Verdict) -> None:
    if verdicts and compose(verdicts) != "approve":
        assert compose([*verdicts, more]) != "approve"


@given(st.lists(ANSWER, max_size=5))
def test_a_set_approves_only_when_every_member_says_exactly_so(answers: list[object]) -> None:
    def policy(answer: object) -> Policy:
        def judge(_: Evidence) -> tuple[Verdict, str]:
            if answer == "raise":
                raise ValueError("broken")
            return answer, "said"  # type: ignore[return-value]

        return Policy("p", {}, judge)

    verdict, reasons = PolicySet("s", [policy(a) for a in answers], 1, {}, "tests").evaluate(None)  # type: ignore[arg-type]
    assert len(reasons) == len(answers)
    assert (verdict == "approve") == (bool(answers) and all(answer == "approve" for answer in answers))
