"""What a verification found: steps, each with the files that are wrong and why."""

from __future__ import annotations

from dataclasses import dataclass

from ion.clock import rfc3339


@dataclass(frozen=True, slots=True)
class Problem:
    """A file of the bundle that is not as it must be; ``file`` is its path in the bundle."""

    file: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """Return the JSON form; a name that is no text is shown as near as text can."""
        return {"file": self.file.encode("utf-8", "replace").decode(), "message": self.message}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was checked; ``checked`` is false when an earlier step left nothing to check it with."""

    name: str
    told: str
    problems: tuple[Problem, ...] = ()
    checked: bool = True

    @property
    def ok(self) -> bool:
        """Whether it was checked and nothing is wrong."""
        return self.checked and not self.problems

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        state = "ok" if self.ok else "problem" if self.checked else "unchecked"
        problems = [problem.as_dict() for problem in self.problems]
        return {"step": self.name, "state": state, "told": self.told, "problems": problems}


@dataclass(frozen=True, slots=True)
class Verification:
    """What a bundle proves. Times are microseconds UTC; empty and 0 where nobody could tell.

    Args:
        steps: in the order they were taken. The last is about today, all others about the time of the decision.
        warnings: what the answer rests on that was not checked.
        model: model version.
        node: where it was approved to serve, ``ion/node``.
        decision: digest of the decision's envelope.
        decided: when.
        expires: from when on the decision no longer admits the model.
    """

    steps: tuple[Step, ...]
    warnings: tuple[str, ...]
    model: str = ""
    node: str = ""
    decision: str = ""
    decided: int = 0
    expires: int = 0

    @property
    def valid_then(self) -> bool:
        """Whether the decision was right when it was made, as far as the bundle shows."""
        return all(step.ok for step in self.steps[:-1])

    @property
    def ok(self) -> bool:
        """Whether it was right then and holds now."""
        return all(step.ok for step in self.steps)

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "valid_then": self.valid_then,
            "valid_now": self.ok,
            "model": self.model,
            "node": self.node,
            "decision": self.decision,
            "decided": rfc3339(self.decided) if self.decided else "",
            "expires": rfc3339(self.expires) if self.expires else "",
            "warnings": list(self.warnings),
            "steps": [step.as_dict() for step in self.steps],
        }
