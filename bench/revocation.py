"""How soon a revocation is obeyed: from the command to the first prediction by another model, or the last of all.

First by the serving side of the streaming job on real pointer files, without Flink; then, a few times, by a
real Flink job, by what its facts say. The clock starts before the store's transaction.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from bench.candidates import pretrained
from bench.figures import tell_samples
from bench.governed_node import NODE
from bench.scene import say, temporary_home
from ion.agent import open_client, ship_all
from ion.clock import now_us
from ion.evidence import ArtifactStore, DecisionStatement, founded_trust, load_signer, sign_statement
from ion.facts import DecisionMade, EpochOpened, ModelRecorded
from ion.graph import Definition, define
from ion.ids import new_id
from ion.serving import Admitted
from ion.serving.promoting import open_promotions
from ion.store import open_store
from ion.testing import attested
from resources.flink.deployment import FlinkDeployment
from resources.flink.journal import Journal
from resources.flink.serving import ProcessServing
from resources.flink.settings import JobSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.home import Home
    from ion.store import GovernanceStore

_DAY_US = 86_400_000_000
_TARGET_S = 2.0
_PATIENCE_S = 30.0


def measure(revocations: int = 60, on_flink: int = 8) -> None:
    """Print all figures."""
    with temporary_home() as home:
        node = ServingNode(home)
        took = _without_flink(home, node, revocations)
        note = "from `Promotions.revoke` to the first row scored by the model before; pointer on disk"
        tell_samples("revocation.scorer", took, "s", 0.99, target=_TARGET_S, note=note)
        took = _on_flink(home, node, on_flink)
        note = "to the opening of the new epoch in a running Flink job"
        tell_samples("revocation.flink", took, "s", 0.99, target=_TARGET_S, note=note)
        node.store.close()


class ServingNode:
    """A streaming node that falls back, with models that governance promotes and revokes."""

    def __init__(self, home: Home) -> None:
        founded_trust(home)
        self._signer = load_signer(home.decision_key_uri)
        self._artifacts = ArtifactStore(home.artifacts)
        self._models = iter(pretrained(200).scorers)
        self.store: GovernanceStore = open_store(home.store_url)
        self.promotions = open_promotions(home, self.store, self._signer)
        ion, _, name = NODE.partition("/")
        serving = {"name": name, "kind": "inference", "mode": "streaming", "on_revocation": "fall_back"}
        define(self.store, Definition.from_json({"ion": ion, "nodes": [serving], "edges": []}))
        self.first = self.promote()

    def promote(self) -> str:
        """Promote one more model; return its digest."""
        model = self._artifacts.put_model({"model.json": next(self._models).to_bytes()}).digest
        run, now = new_id(), now_us()
        ion, _, name = NODE.partition("/")
        statement = DecisionStatement(
            ion=ion,
            node=name,
            model=model,
            candidate_run=run,
            verdict="approve",
            reasons=("measured",),
            policy_uri="policy:bench",
            policy_digest=model,
            evidence=(attested(self._artifacts, self._signer, model=model, run=run, at=now),),
            decided=now,
            expires=now + _DAY_US,
            verifier_version="0",
        )
        envelope = sign_statement(statement, self._signer)
        decision = DecisionMade(
            decision=new_id(),
            node=NODE,
            model=model,
            run=run,
            verdict="approve",
            reasons=[],
            policy_set="bench",
            policy_digest=model,
            evidence={},
            expires=statement.expires,
            envelope=envelope.decode(),
            envelope_digest=self._artifacts.put(envelope),
        )
        with self.store.command() as command:
            made = ModelRecorded(
                run=run,
                node=f"{ion}/model",
                model=model,
                name="model",
                format="ion-linear/1",
                size=1,
                features=[],
                label="",
                input_schema=[],
                output_schema=[],
                metrics={},
                datasets={},
            )
            position = command.record(made)
            command.record(decision)
            self.promotions.promote(command, decision, position, f"{ion}/approval", "keep")
        self.promotions.publish(NODE)
        return model

    def revoke(self, model: str) -> None:
        """Withdraw a model."""
        self.promotions.revoke(NODE, model, reason="measured", by="bench")


def _without_flink(home: Home, node: ServingNode, count: int) -> list[float]:
    """Score row after row in one thread while another promotes and revokes; return seconds, one a revocation."""
    settings = JobSettings(str(home.root), NODE)
    client = open_client(home, name="revocation", ship=False)
    journal = Journal(settings.folders.make().journal)
    serving = ProcessServing(settings, client.node_run(NODE, kind="inference").id, client, journal)
    answer = serving.start()
    if not isinstance(answer, Admitted):
        raise TypeError(f"not admitted: {answer}")
    subtask, row = serving.join(0, 0), [1.0] * len(answer.scorer.features)
    seen, stopping = [answer.model], threading.Event()

    def work() -> None:
        while not stopping.is_set():
            epoch, _, _ = subtask.score(row)
            seen[0] = epoch.admitted.model
            time.sleep(0.0002)

    scoring = threading.Thread(target=work)
    scoring.start()
    took = []
    try:
        for _ in range(count):
            model = node.promote()
            _wait(lambda model=model: seen[0] == model)  # type: ignore[misc]
            began = time.perf_counter()
            node.revoke(model)
            _wait(lambda: seen[0] == node.first)
            took.append(time.perf_counter() - began)
    finally:
        stopping.set()
        scoring.join()
        serving.stop()
        client.close()
        journal.close()
    return took


def _on_flink(home: Home, node: ServingNode, count: int) -> list[float]:
    job = FlinkDeployment(home, NODE)
    job.start(node.store)
    say("waiting for Flink")
    state = job.wait_running(120.0)
    if not state.running:
        raise RuntimeError(f"the job did not start: {state}")

    def opened() -> tuple[str, int]:
        ship_all(home.spool, node.store)
        (newest,) = node.store.find(EpochOpened, newest_first=True, limit=1)
        return str(newest.fact.models["champion"]), newest.us

    took = []
    try:
        for _ in range(count):
            model = node.promote()
            _wait(lambda model=model: opened()[0] == model)  # type: ignore[misc]
            began = now_us()
            node.revoke(model)
            _wait(lambda: opened()[0] == node.first)
            took.append((opened()[1] - began) / 1e6)
    finally:
        job.stop()
    return took


def _wait(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError("it did not happen")
        time.sleep(0.001)
