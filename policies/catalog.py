"""The catalogue of policy sets. An ION names one of them; a decision binds its digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ion.decision import PolicySet
from policies.checks import all_checks_passed
from policies.fast_track import same_inputs_as_current
from policies.metrics import metric_at_least, not_worse_than_current
from policies.people import people
from policies.source import source_committed

_SOURCES = {
    path.name: "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(Path(__file__).parent.glob("*.py"))
}
"""Taken at import, so that the digest is of the code that decides, not of a file edited since."""

standard = PolicySet(
    name="standard",
    policies=(
        metric_at_least("roc_auc", 0.90),
        not_worse_than_current("roc_auc", margin=0.01),
        all_checks_passed(),
        source_committed(),
    ),
    valid_days=180,
    sources=_SOURCES,
    module=__name__,
)
"""Where a wrong prediction costs money, not health."""

clinical_low_risk = PolicySet(
    name="clinical_low_risk",
    policies=(
        metric_at_least("roc_auc", 0.95),
        metric_at_least("recall", 0.85),
        not_worse_than_current("roc_auc", margin=0.005),
        all_checks_passed(),
        source_committed(),
    ),
    valid_days=90,
    sources=_SOURCES,
    module=__name__,
)
"""A recommendation that a clinician still reviews: SLA, no regression, data quality, known source."""

clinical_high_risk = PolicySet(
    name="clinical_high_risk",
    policies=(
        metric_at_least("roc_auc", 0.95),
        metric_at_least("recall", 0.85),
        not_worse_than_current("roc_auc", margin=0.005),
        all_checks_passed(),
        source_committed(),
        people(quorum=2, role="approver", within_days=30),
    ),
    valid_days=90,
    sources=_SOURCES,
    module=__name__,
)
"""Nobody reviews the single answer, so two people sign for the model: the low-risk set, and their approvals."""

fast_track = PolicySet(
    name="fast_track",
    policies=(
        metric_at_least("roc_auc", 0.90),
        not_worse_than_current("roc_auc", margin=0.005),
        same_inputs_as_current(),
        all_checks_passed(),
        source_committed(),
    ),
    valid_days=30,
    sources=_SOURCES,
    module=__name__,
    automatic_review_share=0.1,
)
"""Low risk, retrained often: approved at once under the SLA, labelled automatic; a tenth is looked at later."""
