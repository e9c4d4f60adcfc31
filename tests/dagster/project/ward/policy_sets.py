"""Policy sets that behave, hang or fail."""

from __future__ import annotations

import threading
import time

from ion.decision import Evidence, Policy, PolicySet, Verdict
from policies.catalog import clinical_high_risk, clinical_low_risk

HANG_SECONDS = 30.0
hanging: list[str] = []


def _hangs(evidence: Evidence) -> tuple[Verdict, str]:
    hanging.append(evidence.candidate.model)
    time.sleep(HANG_SECONDS)
    return "approve", "at last"


AT_ONCE = 4
_start = threading.Barrier(AT_ONCE)
_met: set[int] = set()


def _waits(_evidence: Evidence) -> tuple[Verdict, str]:
    if threading.get_ident() not in _met:  # who came late is asked again, alone
        _met.add(threading.get_ident())
        _start.wait(timeout=10.0)
    return "approve", "everybody is here"


def _fails(_evidence: Evidence) -> tuple[Verdict, str]:
    raise RuntimeError("the registry of policies is on fire")


def _set(name: str, *policies: Policy) -> PolicySet:
    return PolicySet(name=name, policies=policies, valid_days=30, sources={}, module=__name__)


careful = clinical_low_risk
peopled = clinical_high_risk
hung = _set("hung", Policy("sleeper", {}, _hangs))
together = _set("together", Policy("rendezvous", {}, _waits))
failing = _set("failing", Policy("arsonist", {}, _fails))
