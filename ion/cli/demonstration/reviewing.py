"""The act of the people: a model that nobody but two of them can let serve."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ion.cli.demonstration.commands import DagsterRuns, ion, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ion.cli.demonstration.claims import Claims
    from ion.cli.demonstration.story import Review

_DECISION_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Reviewing:
    """Trains a high-risk model, waits in vain, has it signed by two people, and lets it predict.

    Args:
        review: what is trained, and who signs.
        claims: prints and keeps what was seen.
        runs: Dagster.
        keys: where the people of the demonstration keep their keys, outside the deployment.
    """

    review: Review
    claims: Claims
    runs: DagsterRuns
    keys: Path

    def perform(self) -> str:
        """Play the act; returns the model that two people approved.

        Raises:
            IonError: ``demo-…`` at the first thing that does not hold.
        """
        review, claims = self.review, self.claims
        ion("define", review.ion, "--record")
        claims.step(f"training {review.title}: its policy set asks for {len(review.people)} people")
        run = self.runs.materialize(review.ion, review.assets, {}, review.title)
        entry = wait_for("the decision", lambda: self._decided(run), seconds=_DECISION_SECONDS)
        model = str(entry["model"])
        if entry["verdict"] == "approve":  # an earlier performance made, and people signed, the very same bytes
            signed = sorted(_people(entry))
            stands = signed == sorted(person for person, _ in review.people)
            claims.holds("signed before, byte for byte: its approvals still stand", ", ".join(signed), when=stands)
        else:
            self._wait_for_people(run, model, entry)
        self._predict(model)
        return model

    def _wait_for_people(self, run: str, model: str, entry: Mapping[str, Any]) -> None:
        """Hold the model to what its policy set says of it, signature by signature."""
        review, claims = self.review, self.claims
        waits = entry["verdict"] == "defer" and not entry["serving"]
        claims.holds("the policies hold, and the model still waits for people", model[7:19], when=waits)
        os.environ["ION_KEYS"] = str(self.keys)
        os.environ["ION_KEY_PASSPHRASE"] = "only for this demonstration"  # noqa: S105 - of two keys made here
        self._introduce()
        for number, (person, name) in enumerate(review.people, start=1):
            self._approve(model, person, name)
            verdict = self._awaited(run, number)
            if number < len(review.people):
                claims.holds(f"with {name}'s signature alone it still waits", verdict, when=verdict == "defer")
        served = self._verdict(run, len(review.people)) == "approve"
        claims.holds(f"with {len(review.people)} signatures it is approved and promoted", model[7:19], when=served)

    def _introduce(self) -> None:
        """Make keys for people who have none, and let the root name them as approvers."""
        known = {person["id"] for person in ion("trust", "show")["people"]}
        for person, name in self.review.people:
            public = self.keys / f"{person}.pub.pem"
            if not public.exists():
                ion("keys", "new", person)
            if person not in known:
                ion("trust", "add", person, "--name", name, "--role", "approver", "--key", str(public))

    def _approve(self, model: str, person: str, name: str) -> None:
        reason = "the error on the held-out patients is acceptable"
        node = f"{self.review.ion}/{self.review.node}"
        ion("approve", model, "--node", node, "--reason", reason, "--person", person, "--key", person, "--yes")
        self.claims.step(f"{name} signs: {reason}")

    def _decided(self, run: str) -> Any:  # noqa: ANN401 - a JSON document
        found = [each for each in ion("models")["models"] if each["dagster_run"] == run and each["verdict"]]
        return found[0] if found else None

    def _awaited(self, run: str, signatures: int) -> str:
        return str(wait_for("its decision", lambda: self._verdict(run, signatures), seconds=_DECISION_SECONDS))

    def _verdict(self, run: str, signatures: int) -> str:
        """Return the newest verdict once it rests on so many signatures; empty before."""
        entry = self._decided(run)
        return str(entry["verdict"]) if len(_people(entry)) >= signatures else ""

    def _predict(self, model: str) -> None:
        review = self.review
        self.runs.materialize(review.ion, (review.node,), {}, "predictions by the approved model")
        newest = ion("predictions", review.ion, "--limit", "1")["predictions"]
        made = str(newest[0]["model"]) if newest else ""
        self.claims.holds("the approved model predicts, in a Dagster run", made[7:19], when=made == model)
        why = ion("why", str(newest[0]["prediction"]), allowed=(0, 1))
        people = sorted(person["person"] for approval in why["approvals"] for person in approval["people"])
        wanted = sorted(person for person, _ in review.people)
        self.claims.holds("why: and the prediction leads to who approved", ", ".join(people), when=people == wanted)


def _people(entry: Mapping[str, Any]) -> set[str]:
    """Return who signed what a model's newest decision rests on."""
    return {person for rule in entry["approvals"] for person in rule["people"]}
