"""Policies that keep a fast track to changes that risk little."""

from __future__ import annotations

from ion.decision import Evidence, Policy, Verdict


def same_inputs_as_current() -> Policy:
    """Approve a model that asks for what the current one asks for, and predicts the same label.

    The first model of a node has nothing to differ from. A new input may be new personal data or a new
    way to be wrong; such a change belongs in front of a person.
    """

    def judge(evidence: Evidence) -> tuple[Verdict, str]:
        candidate, current = evidence.candidate, evidence.current
        if current is None:
            problem = evidence.current_measured.problem
            if problem:
                return "reject", f"the current model is not known: {problem}"
            return "approve", "no model is serving yet"
        if candidate.label != current.label:
            return "reject", f"it predicts {candidate.label!r}, the current model {current.label!r}"
        more, less = set(candidate.features) - set(current.features), set(current.features) - set(candidate.features)
        if more or less:
            changed = [f"asks for {name!r} anew" for name in sorted(more)]
            changed += [f"no longer asks for {name!r}" for name in sorted(less)]
            return "reject", f"not a small change: it {', '.join(changed)[:200]}"
        return "approve", f"it asks for the same {len(candidate.features)} inputs as the current model"

    return Policy("same_inputs_as_current", {}, judge)
