"""Decisions: evidence in, a signed verdict out, and what follows from an approval."""

from ion.decision.evidence import CheckEvidence, Evidence, Measured, RequiredCheck
from ion.decision.governor import Assignment, Governor, Outcome
from ion.decision.people import asking
from ion.decision.policy import Policy, PolicySet, Reason, Verdict, compose, load_policy_set
from ion.decision.promotion import PointerFiles, Promotions, promotion_message
from ion.evidence.quorum import ApprovalRule

__all__ = [
    "ApprovalRule",
    "Assignment",
    "CheckEvidence",
    "Evidence",
    "Governor",
    "Measured",
    "Outcome",
    "PointerFiles",
    "Policy",
    "PolicySet",
    "Promotions",
    "Reason",
    "RequiredCheck",
    "Verdict",
    "asking",
    "compose",
    "load_policy_set",
    "promotion_message",
]
