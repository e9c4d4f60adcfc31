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
    from ion.cli.demonstration.story import Story, Training

_DECISION_SECONDS = 30
_SERVING_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Play:
    """One performance of a story on a running deployment."""

    story: Story
    claims: Claims
    runs: DagsterRuns

    def perform(self) -> str:
        """Play everything; returns the prediction that was asked about.

        Raises:
            IonError: ``demo-…`` at the first thing that does not hold.
        """
        self.claims.step(f"the ION {self.story.ion}, as the code declares it")
        document = ion("define", self.story.ion, "--record")
        names = ", ".join(node["name"] for node in document["nodes"])
        self.claims.holds("the ION is defined", names, when=bool(document["nodes"]))
        with self._stream():
            served = ""
            for training in self.story.trainings:
                served = self._train(training, served)
            prediction = self._newest(served)
        self._ask(prediction, served)
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

    def _train(self, training: Training, served: str) -> str:
        """Train a candidate and see what becomes of it; returns the model served afterwards."""
        self.claims.step(f"training {training.title} (Spark, in a Dagster run)")
        run = self.runs.train(self.story, training)
        entry = wait_for("the decision", lambda: self._decided(run), seconds=_DECISION_SECONDS)
        model = str(entry["model"])
        measured = ", ".join(f"{name} {value:.4f}" for name, value in sorted(entry["metrics"].items()))
        for reason in entry["reasons"]:
            mark = "[green]✓[/green]" if reason["verdict"] == "approve" else "[red]✗[/red]"
            self.claims.console.print(f"          {mark} [dim]{reason['policy']}:[/dim] {reason['message']}")
        word = "approved" if training.verdict == "approve" else "rejected"
        self.claims.holds(f"the policy {word} {model[7:19]}", measured, when=entry["verdict"] == training.verdict)
        if training.verdict != "approve":
            now = self._entry_of(served)
            still = [node for node in now["serving"] if node.endswith(f"/{self.story.node}")] if now else []
            self.claims.holds("the node still serves the last approved model", served[7:19], when=bool(still))
            return served
        serving = "the Flink job serves the new model" if served else "the Flink job has started and serves it"
        prediction = wait_for(serving, lambda: self._predicted_by(model), seconds=_SERVING_SECONDS)
        self.claims.holds(serving, f"prediction {prediction}", when=bool(prediction))
        return model

    def _decided(self, run: str) -> Any:  # noqa: ANN401 - a JSON document
        found = [e for e in ion("models")["models"] if e["dagster_run"] == run and e["verdict"]]
        return found[0] if found else None

    def _entry_of(self, model: str) -> Any:  # noqa: ANN401 - a JSON document
        found = [e for e in ion("models")["models"] if e["model"] == model and e["serving"]]
        return found[0] if found else None

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
        audit = ion("audit", "verify", allowed=(0, 1))
        shown = f"{audit['entries']} facts" if audit["ok"] else audit["problems"]
        self.claims.holds("verify: the whole history holds together", shown, when=bool(audit["ok"]))

    @staticmethod
    def _complete(prediction: str) -> Any:  # noqa: ANN401 - a JSON document
        """Return the answer once it is complete: the captured input may still be on its way."""
        why = ion("why", prediction, allowed=(0, 1))
        return why if why["complete"] else None
