"""Policies about how well a candidate predicts, on numbers that governance measured itself."""

from __future__ import annotations

from ion.decision import Evidence, Policy, Verdict

_TOLERANCE = 1e-9
"""How far a reported metric may be from the measured one: float noise, nothing more."""


def metric_at_least(metric: str, minimum: float) -> Policy:
    """Approve when the measured ``metric`` on the held-out dataset is ``minimum`` or more."""

    def judge(evidence: Evidence) -> tuple[Verdict, str]:
        value = _measured(evidence, metric)
        if isinstance(value, str):
            return "reject", value
        if not value >= minimum:
            return "reject", f"{metric} is {value:.4f}, the SLA asks for at least {minimum:.4f}"
        return "approve", f"{metric} is {value:.4f}, at least the SLA's {minimum:.4f}"

    return Policy("metric_at_least", {"metric": metric, "minimum": minimum}, judge)


def not_worse_than_current(metric: str, margin: float) -> Policy:
    """Approve when ``metric`` is at most ``margin`` below the current model's, on the same rows."""

    def judge(evidence: Evidence) -> tuple[Verdict, str]:
        value = _measured(evidence, metric)
        if isinstance(value, str):
            return "reject", value
        if evidence.current is None and not evidence.current_measured.problem:
            return "approve", "no model is serving yet"
        current = evidence.current_measured.metrics.get(metric)
        if current is None:
            problem = evidence.current_measured.problem or f"it has no {metric}"
            return "reject", f"the current model cannot be compared: {problem}"
        compared = f"{metric} is {value:.4f}, the current model has {current:.4f} on the same held-out rows"
        if not value >= current - margin:
            return "reject", f"{compared}: more than {margin} worse"
        return "approve", compared

    return Policy("not_worse_than_current", {"metric": metric, "margin": margin}, judge)


def _measured(evidence: Evidence, metric: str) -> float | str:
    """Return the measured metric, or why it cannot be trusted."""
    if evidence.measured.problem:
        return f"{metric} could not be measured: {evidence.measured.problem}"
    reported = evidence.candidate.metrics.get(metric)
    if not isinstance(reported, int | float):
        return f"the candidate came without the metric {metric}"
    value = evidence.measured.metrics.get(metric)
    if value is None:
        return f"governance cannot measure {metric} for this kind of model"
    if not abs(value - reported) <= _TOLERANCE:
        return f"training reported {metric} {reported:.6f}, governance measured {value:.6f}: they differ"
    return value
