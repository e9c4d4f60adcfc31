"""The play: train, decide, serve, swap, refuse, and then the questions about one prediction."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ion.cli.demonstration.commands import DagsterRuns, ion, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.cli.demonstration.claims import Claims
    from ion.cli.demonstration.reviewing import Reviewing
    from ion.cli.demonstration.story import Story, Training
    from ion.cli.demonstration.tampering import Tampering

_DECISION_SECONDS = 30
_SERVING_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Play:
    """One performance of a story on a running deployment."""

    story: Story
    claims: Claims
    runs: DagsterRuns
    tampering: Tampering
    reviewing: Reviewing

    def perform(self) -> str:
        """Play everything; returns the prediction that was asked about.

        Raises:
            IonError: ``demo-…`` at the first thing that does not hold.
        """
        self.claims.step(f"the ION {self.story.ion}, as the code declares it")
        document = ion("define", self.story.ion, "--record")
        names = ", ".join(node["name"] for node in document["nodes"])
        self.claims.holds("the ION is defined", names, when=bool(document["nodes"]))
        served = self._serving()
        if served:
            self.claims.step(f"a model of an earlier performance serves: {served[7:19]}")
        again = bool(served)
        with self._stream():
            for training in self.story.trainings:
                served = self._train(training, training.again if again else training.verdict, served)
            prediction = self._newest(served)
            self.tampering.move_alias(self.story.registered_as, f"{self.story.ion}/{self.story.node}")
        self._ask(prediction, served)
        self.tampering.flip_bytes(self.reviewing.perform())
        return prediction

    @contextmanager
    def _stream(self) -> Iterator[None]:
        self.claims.step("patients start to stream in")
        feed = subprocess.Popen(list(self.story.feed), stdout=subprocess.DEVNULL)
        try:
            yield
            self.claims.holds("patients kept streaming in all the while", f"pid {feed.pid}", when=feed.poll() is None)
        finally:
            feed.terminate()
            feed.wait()

    def _train(self, training: Training, verdict: str, served: str) -> str:
        """Train a candidate, expect a ``verdict``, see what follows; returns the model served afterwards."""
        self.claims.step(f"training {training.title} (Spark, in a Dagster run)")
        run = self.runs.materialize(self.story.ion, self.story.assets, training.config, training.title)
        entry = wait_for("the decision", lambda: self._decided(run), seconds=_DECISION_SECONDS)
        model = str(entry["model"])
        measured = ", ".join(f"{name} {value:.4f}" for name, value in sorted(entry["metrics"].items()))
        for reason in entry["reasons"]:
            mark = "[green]✓[/green]" if reason["verdict"] == "approve" else "[red]✗[/red]"
            self.claims.console.print(f"          {mark} [dim]{reason['policy']}:[/dim] {reason['message']}")
        word = "approved" if verdict == "approve" else "rejected"
        self.claims.holds(f"the policy {word} {model[7:19]}", measured, when=entry["verdict"] == verdict)
        if verdict != "approve":
            still = self._serving()
            self.claims.holds("the node still serves the last approved model", still[7:19], when=still == served)
            return served
        serving = "the Flink job serves the new model" if served else "the Flink job has started and serves it"
        epoch = wait_for(serving, lambda: self._predicting(run), seconds=_SERVING_SECONDS)
        self.claims.holds(serving, f"{epoch['predictions']} predictions in epoch {epoch['epoch']}", when=True)
        return model

    def _decided(self, run: str) -> Any:  # noqa: ANN401 - a JSON document
        found = [e for e in ion("models")["models"] if e["dagster_run"] == run and e["verdict"]]
        return found[0] if found else None

    def _serving(self) -> str:
        """Return the model the node serves; empty before the first promotion."""
        node = f"{self.story.ion}/{self.story.node}"
        return next((str(e["model"]) for e in ion("models")["models"] if node in e["serving"]), "")

    @staticmethod
    def _predicting(run: str) -> Any:  # noqa: ANN401 - a JSON document
        """Return an epoch in which the candidate of a Dagster run has committed predictions."""
        used = [use for e in ion("models")["models"] if e["dagster_run"] == run for use in e["used"]]
        return next((use for use in used if use["predictions"]), None)

    def _predicted_by(self, model: str) -> str:
        newest = ion("predictions", self.story.ion, "--limit", "20")["predictions"]
        return next((str(p["prediction"]) for p in newest if p["model"] == model), "")

    def _newest(self, model: str) -> str:
        return str(wait_for("a prediction", lambda: self._predicted_by(model), seconds=_SERVING_SECONDS))

    def _ask(self, prediction: str, served: str) -> None:
        self.claims.step(f"the questions about one patient: {prediction}")
        why = wait_for("a complete answer", lambda: self._complete(prediction), seconds=_SERVING_SECONDS)
        champion = [model["model"] for model in why["models"]]
        self.claims.holds("why: the prediction leads to its model", served[7:19], when=champion == [served])
        datasets = ", ".join(sorted(item["name"] for item in why["datasets"]))
        self.claims.holds("why: and to its data, code, decision and policy", datasets, when=bool(why["complete"]))
        again = ion("replay", prediction, allowed=(0, 1))
        seen = f"recorded {again['recorded']}, replayed {again['replayed']}"
        same = again["verdict"] == "identical"
        self.claims.holds("replay: computed again from the record, it is identical", seen, when=same)
        agents = ion("agents", allowed=(0, 1))["agents"]
        alive = [agent for agent in agents if agent["state"] == "alive"]
        carried = ", ".join(f"{agent['name']}, {agent['lag_seconds']:.0f} s behind" for agent in alive)
        self.claims.holds("the agent that ships for all programs of this host is at work", carried, when=bool(alive))
        audit = ion("audit", "verify", allowed=(0, 1))
        shown = f"{audit['entries']} facts" if audit["ok"] else audit["problems"]
        self.claims.holds("verify: the whole history holds together", shown, when=bool(audit["ok"]))

    @staticmethod
    def _complete(prediction: str) -> Any:  # noqa: ANN401 - a JSON document
        """Return the answer once it is complete: the captured input may still be on its way."""
        why = ion("why", prediction, allowed=(0, 1))
        return why if why["complete"] else None
