"""Promotions, halts, revocations, rollbacks, leases, clocks and restarts in any order, against a simple model.

The model knows what was signed and what the gate has looked at. Whatever happens, nothing serves that the
model says must not: not on a fresh admission, and not as what goes on serving after a refusal.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ion.evidence.decisions import RequiredApprovals
from ion.serving import Admitted, Halted, Refused
from tests.unit.test_gate_scene import ANNA, BEN, DAY, NOW, PEOPLE, Scene, linear_model

if TYPE_CHECKING:
    from ion.evidence import DecisionStatement, PromotionStatement
    from ion.serving import Gate

HOUR = DAY // 24
MEMORY = "/dev/shm"  # noqa: S108 - a state file is synced with every step, which a disk takes its time for


@dataclass
class Signed:
    """A statement governance signed, what its decision rests on, and until when."""

    statement: PromotionStatement
    ends: int
    ben: bool


class Serving(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if Path(MEMORY).is_dir() else None)
        self.scene = Scene.set_up(Path(self.folder.name))
        self.gate: Gate = self.scene.gate()
        self.issued = NOW
        self.serial = 0
        self.version = 1
        self.signed: list[Signed] = []
        self.shown: Signed | None = None
        self.in_force: Signed | None = None
        # What the gate has looked at, and what serves.
        self.floor = NOW - 3_000_000
        self.highest = 0
        self.stopped_at = 0
        self.revoked: set[str] = set()
        self.over: set[str] = set()
        self.ben_gone = False
        self.serving: Admitted | None = None

    def teardown(self) -> None:
        self.folder.cleanup()

    # What governance does ------------------------------------------------------------------------------

    def decision(self, number: int, days: int, *, people: bool) -> DecisionStatement:
        self.the_artifacts(there=True)
        self.scene.files = {"model.json": linear_model(0.25 + number)}
        approvals = (self.scene.approval("anna", ANNA), self.scene.approval("ben", BEN, until=NOW + days * DAY))
        asked = (RequiredApprovals("approver", 2, approvals),) if people else ()
        expires = NOW + 40 * DAY if people else NOW + days * DAY
        return self.scene.decision(expires=expires, approvals=asked, automatic=not people)

    def sign(self, statement: PromotionStatement, ends: int, *, ben: bool) -> None:
        self.in_force = Signed(statement, ends, ben)
        self.signed.append(self.in_force)
        self.show(self.in_force)

    def show(self, signed: Signed) -> None:
        self.scene.point(signed.statement)
        self.shown = signed

    def next_times(self, hours: int) -> dict[str, int]:
        self.issued += 1000
        return {"issued": self.issued, "lease_end": self.issued + hours * HOUR}

    @initialize()
    def first(self) -> None:
        self.promote(0, 30, 24, "stop", people=False)

    @rule(
        number=st.integers(0, 2),
        days=st.integers(1, 30),
        hours=st.integers(1, 48),
        end=st.sampled_from(["keep", "stop"]),
        people=st.booleans(),
    )
    def promote(self, number: int, days: int, hours: int, end: str, *, people: bool) -> None:
        decision = self.decision(number, days, people=people)
        if self.in_force and decision.model in self.in_force.statement.revoked:
            return  # governance never promotes a revoked model
        self.serial += 1
        changes = {"serial": self.serial, "cause": f"decision-{self.serial}", "on_lease_end": end}
        revoked = self.in_force.statement.revoked if self.in_force else ()
        statement = self.scene.promotion(decision, revoked=revoked, **changes, **self.next_times(hours))
        self.sign(statement, NOW + days * DAY, ben=people)

    @rule(hours=st.integers(1, 48))
    def renew(self, hours: int) -> None:
        assert self.in_force is not None
        self.sign(replace(self.in_force.statement, **self.next_times(hours)), self.in_force.ends, ben=self.in_force.ben)

    @rule()
    def halt(self) -> None:
        assert self.in_force is not None
        self.serial += 1
        halted = replace(
            self.in_force.statement,
            action="halt",
            model=None,
            decision=None,
            serial=self.serial,
            cause=f"halt-{self.serial}",
            **self.next_times(24),
        )
        self.sign(halted, self.in_force.ends, ben=False)

    @precondition(lambda self: self.in_force.statement.model is not None and self.in_force.statement.action != "revoke")
    @rule(there=st.booleans())
    def revoke(self, *, there: bool) -> None:
        """Withdraw what serves; fall back to the newest earlier promotion whose model is not revoked.

        The bytes of what should follow may be gone.
        """
        self.the_artifacts(there=there)
        assert self.in_force is not None
        before = self.in_force.statement
        self.serial += 1
        revoked = tuple(sorted({*before.revoked, str(before.model)}))
        withdrawn = replace(
            before,
            action="revoke",
            decision=None,
            revoked=revoked,
            serial=self.serial,
            cause=f"revoke-{self.serial}",
            **self.next_times(24),
        )
        earlier = [s for s in self.signed if s.statement.decision and s.statement.model not in revoked]
        self.sign(withdrawn, self.in_force.ends, ben=False)
        if earlier:
            self.serial += 1
            back = replace(
                earlier[-1].statement,
                action="rollback",
                revoked=revoked,
                serial=self.serial,
                cause=f"back-{self.serial}",
                **self.next_times(24),
            )
            self.sign(back, earlier[-1].ends, ben=earlier[-1].ben)

    @rule(there=st.booleans())
    def the_root_signs(self, *, there: bool) -> None:
        """Ben leaves, or is there again."""
        self.version += 1
        self.scene.trust_in(version=self.version, people=PEOPLE if there else (PEOPLE[0], PEOPLE[2]))
        self.ben_gone = not there

    # What others do ---------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 50))
    def put_an_older_pointer_back(self, which: int) -> None:
        self.show(self.signed[which % len(self.signed)])

    @rule()
    def hide_the_pointer(self) -> None:
        self.scene.pointer.unlink(missing_ok=True)
        self.shown = None

    @rule(there=st.booleans())
    def the_artifacts(self, *, there: bool) -> None:
        """They are gone for a while: nothing new can be read."""
        here, aside = self.scene.home / "artifacts", self.scene.home / "aside"
        if there and aside.exists():
            aside.rename(here)
        elif not there and here.exists():
            here.rename(aside)

    @rule(hours=st.sampled_from([1, 12, 30, 24 * 10, 24 * 400, -1, -24 * 400]))
    def the_clock_moves(self, hours: int) -> None:
        self.scene.now += hours * HOUR

    @rule()
    def the_clock_is_set_right(self) -> None:
        self.scene.now = self.issued

    @rule()
    def the_process_starts_again(self) -> None:
        self.gate = self.scene.gate()
        self.serving = None

    # What must hold ------------------------------------------------------------------------------------------

    @invariant()
    def nothing_serves_that_may_not(self) -> None:
        if not self.signed:
            return
        answer = self.gate.admit()
        if self.shown is not None:
            self.floor = max(self.floor, self.shown.statement.issued)
            self.revoked.update(self.shown.statement.revoked)
        now = max(self.scene.now, self.floor)
        match answer:
            case Admitted():
                self.check_fresh(answer, now)
                self.serving, self.highest = answer, max(self.highest, answer.serial)
            case Halted():
                self.serving = None
                if self.shown and self.shown.statement.action in {"halt", "revoke"}:
                    self.stopped_at = max(self.stopped_at, self.shown.statement.serial)
                    self.highest = max(self.highest, self.stopped_at)
            case Refused():
                pass
        if self.serving is not None:
            self.check_serving(self.serving, now)
        if self.shown and self.shown.statement.decision and now >= self.shown.ends:
            self.over.add(self.shown.statement.decision)

    def check_fresh(self, answer: Admitted, now: int) -> None:
        assert self.shown is not None, "admitted without a pointer"
        shown = self.shown.statement
        assert (answer.model, answer.serial) == (shown.model, shown.serial)
        assert answer.serial >= self.highest, "an older serial"
        assert answer.serial > self.stopped_at, "a halt or revocation was undone"
        known = self.serving is not None and self.serving.serial == answer.serial
        again = known or answer.serial == self.highest
        assert now < shown.lease_end or (again and shown.on_lease_end == "keep"), "the lease had ended"

    def check_serving(self, serving: Admitted, now: int) -> None:
        signed = next(s for s in self.signed if s.statement.decision == serving.decision)
        assert serving.model not in self.revoked, "a revoked model serves"
        assert now < signed.ends, "it serves after its decision or approvals ended"
        assert serving.decision not in self.over, "what was over came back"
        assert not (signed.ben and self.ben_gone), "it rests on a person who is not trusted any more"
        assert serving.serial > self.stopped_at, "it serves in spite of a halt"


Serving.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestServing = Serving.TestCase
