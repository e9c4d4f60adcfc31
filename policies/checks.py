"""Policies about data quality evidence."""

from __future__ import annotations

from ion.decision import Evidence, Policy, Verdict


def all_checks_passed() -> Policy:
    """Approve when every declared check passed on exactly the dataset versions used.

    No declared check is no evidence. A result for another version of the data is missing evidence;
    so is a check that was deselected. A failure counts whatever its severity.
    """

    def judge(evidence: Evidence) -> tuple[Verdict, str]:
        if not evidence.checks:
            return "reject", "the ION declares no data quality check; give its datasets `expectations=`"
        for check in evidence.checks:
            label = f"{check.name} on {check.asset}"
            if not check.dataset:
                return "reject", f"{label}: the model names no version of this dataset"
            if check.result is None:
                return "reject", f"{label} has no result for the version used ({check.dataset[:19]}…)"
            if not check.result.passed:
                return "reject", f"{label} failed ({check.result.severity})"
        return "approve", f"all {len(evidence.checks)} declared checks passed on the versions used"

    return Policy("all_checks_passed", {}, judge)
