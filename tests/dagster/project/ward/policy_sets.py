"""Policy sets that behave, hang or fail."""

from __future__ import annotations

import time

from ion.decision import Evidence, Policy, PolicySet, Verdict
from policies.catalog import clinical_low_risk

HANG_SECONDS = 30.0
hanging: list[str] = []


def _hangs(evidence: Evidence) -> tuple[Verdict, str]:
    hanging.append(evidence.candidate.model)
    time.sleep(HANG_SECONDS)
    return "approve", "at last"


def _fails(_evidence: Evidence) -> tuple[Verdict, str]:
    raise RuntimeError("the registry of policies is on fire")


def _set(name: str, *policies: Policy) -> PolicySet:
    return PolicySet(name=name, policies=policies, valid_days=30, sources={}, module=__name__)


careful = clinical_low_risk
hung = _set("hung", Policy("sleeper", {}, _hangs))
failing = _set("failing", Policy("arsonist", {}, _fails))
