"""Listening to people: what they no longer stand behind stands down, and whom their words concern is decided again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.decision.standing_behind import stand_down_unsupported
from ion.facts import ApprovalGiven, TrustChanged

if TYPE_CHECKING:
    from ion.decision.governor import Governor
    from ion.store import Candidate


@dataclass(slots=True)
class Listening:
    """What a process has heard.

    Args:
        heard: position of the newest word, or change of who may speak, that was listened to.
        about: decided candidates that are to be decided again.
        problems: what went wrong; it is tried again.
    """

    heard: int = 0
    about: list[Candidate] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def listen(self, governor: Governor) -> bool:
        """Take in what was said since; returns whether there was anything."""
        store = governor.store
        self.about = [candidate for candidate in self.about if self.waits(governor, candidate)]
        said = [store.find(kind, limit=1, newest_first=True) for kind in (ApprovalGiven, TrustChanged)]
        newest = max((found[0].position for found in said if found), default=0)
        if newest <= self.heard or governor.trust is None:
            return False
        about = {record.fact.model for record in store.find(ApprovalGiven, after=self.heard)}
        try:
            stood_down = stand_down_unsupported(store, governor.promotions, governor.trust.read())
        except Exception as error:  # noqa: BLE001 - the gate refuses such models by itself; the next look tries again
            self._note(f"standing down: {error}")
            return True
        about.update(current.model for current in stood_down)
        known = {(candidate.model, candidate.run) for candidate in self.about}
        self.about += [
            candidate
            for candidate in store.candidates()
            if candidate.model in about
            and candidate.verdict not in {"", "defer"}  # those are looked at anyway
            and (candidate.model, candidate.run) not in known
        ]
        self.heard = newest
        return True

    def waits(self, governor: Governor, candidate: Candidate) -> bool:
        """Say whether a candidate is to be decided; one broken policy set holds up nobody else's decision."""
        try:
            return governor.waits(candidate)
        except Exception as error:  # noqa: BLE001 - the next look tries again, and the tick says why
            self._note(f"{candidate.model[:19]}…: {error}")
            return False

    def take_problems(self) -> list[str]:
        """Return what went wrong since it was asked last."""
        problems, self.problems = self.problems, []
        return problems

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
