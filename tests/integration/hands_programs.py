"""What each user of test_separate_hands.py does, in a process of its own: the last line printed is JSON.

Imported under the user's id only, so that nothing is done with another's rights by accident.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import dagster as dg

NODE = "ward/scores"


def _assets() -> list[dg.AssetsDefinition]:
    from ward import assets, policy_sets

    made: list[dg.AssetsDefinition] = assets.ion_of("ward", policy_sets.careful).all
    return made


def _materialize(*names: str, **config: object) -> dict[str, object]:
    import dagster as dg

    from ion.dagster.io import ParquetIOManager

    assets = _assets()
    with dg.DagsterInstance.get() as instance:
        done = dg.materialize(
            assets,
            instance=instance,
            selection=[asset for asset in assets if asset.key.path[-1] in names],
            resources={"io_manager": ParquetIOManager()},
            run_config={"ops": {name: {"config": value} for name, value in config.items()}},
            raise_on_error=False,
        )
        errors = [str(event.event_specific_data)[:2000] for event in done.all_events if event.is_step_failure]
        return {"errors": errors, "run": done.run_id}


def train(weight: str) -> dict[str, object]:
    """Materialize the dataset and a candidate."""
    return _materialize("patients", "recommender", ward__recommender={"weight": float(weight)})


def predict() -> dict[str, object]:
    """Materialize predictions of the promoted model, admitted by the gate."""
    return _materialize("patients", "scores")


def define() -> dict[str, object]:
    """Record the ION and found trust."""
    from ion.dagster.declaration import declarations, definitions_of
    from ion.dagster.governing import decision_signer
    from ion.graph import define as record
    from ion.home import Home
    from ion.store import open_store

    home = Home.find().make()
    store = open_store(home.store_url)
    recorded = [item.ion for item in definitions_of(declarations(_assets())) if record(store, item)]
    decision_signer(home)
    store.close()
    return {"recorded": recorded}


def govern(ready: str, stop: str) -> dict[str, object]:
    """Watch as the promotion sensor does, until told to stop; returns what the store then holds."""
    import dagster as dg
    import sklearn.metrics  # noqa: F401  loading it is not what is measured

    from ion.dagster.governing import open_governor
    from ion.facts import AlertRaised, DecisionMade, GapNoted, InputsCaptured, PredictionsCommitted, Promoted
    from ion.home import Home
    from sensors.promotion import watch

    with dg.DagsterInstance.get() as instance:
        governor = open_governor(Home.find(), instance)
        store, reported = governor.store, 0
        Path(ready).touch()
        while not Path(stop).exists():
            reported = watch(governor, instance, reported, 0.5)
        captured = store.find(InputsCaptured)
        told = {
            "decisions": [(r.fact.model, r.fact.verdict) for r in store.find(DecisionMade)],
            "promoted": [(r.fact.model, r.fact.serial, r.us) for r in store.find(Promoted)],
            "materialized": [
                event.timestamp
                for event in instance.fetch_materializations(dg.AssetKey(["ward", "recommender"]), 9).records
            ],
            "predictions": sum(r.fact.rows for r in store.find(PredictionsCommitted)),
            "alerts": [(r.fact.scope, r.fact.alert) for r in store.find(AlertRaised)],
            "gaps": [(r.fact.scope, r.fact.what) for r in store.find(GapNoted)],
            "lags": _lags(Home.find().root / "store.db"),
            "capture keys": len({r.fact.key for r in captured if store.capture_key(r.fact.key) is not None}),
        }
        store.close()
    return told


def _lags(database: Path) -> dict[str, float]:
    """Return how long after each hand's last fact the store had it, in seconds."""
    query = (
        "SELECT agent.agent, (agent.us - max(fact.us)) / 1e6 FROM ion_agent agent JOIN ion_fact fact USING (agent)"
        " WHERE agent.agent LIKE '%.%' GROUP BY agent.agent"
    )
    with sqlite3.connect(database) as connection:
        return dict(connection.execute(query).fetchall())


def forge() -> dict[str, object]:
    """Tell, as a hand, what only governance may say."""
    from ion.agent import open_client
    from ion.facts import DecisionMade
    from ion.home import Home

    client = open_client(Home.find(), name="forger")
    client.emit(
        DecisionMade(
            decision="d" * 8,
            model="sha256:" + "0" * 64,
            run="nobody",
            node=NODE,
            verdict="approve",
            reasons=[],
            policy_set="policies.catalog:clinical_low_risk",
            policy_digest="sha256:" + "0" * 64,
            evidence={},
            expires=2**52,
            envelope="{}",
            envelope_digest="sha256:" + "0" * 64,
        )
    )
    client.close()
    return {"agent": client.agent}


def attack(governance: str, others_artifact: str) -> dict[str, object]:
    """Try, as a hand, everything that governance and other hands would have to notice or refuse."""
    from ion.agent import open_client
    from ion.evidence.files import write_atomic
    from ion.evidence.keys import load_signer
    from ion.home import Home
    from ion.serving import pointer_path, write_pointer
    from ion.store import open_store

    home = Home.find()
    pointer, foreign = pointer_path(home.root, NODE), Path(others_artifact)
    other = home.hands / "ion-serving"
    code = Path(sys.modules["ion"].__file__ or "")

    def database() -> None:
        with sqlite3.connect(home.root / "store.db") as connection:
            connection.execute("DELETE FROM ion_fact")

    def store_of_its_own() -> None:
        (home.root / "store.db").rename(home.root / "store.old")

    def take_a_name() -> None:
        os.environ["ION_STORE_URL"] = "spool:ion-serving"
        try:
            open_client(home)
        finally:
            os.environ["ION_STORE_URL"] = "spool:ion-training"

    deeds: dict[str, Callable[[], object]] = {
        **{
            f"read keys/{name}.pem": (home.keys / f"{name}.pem").read_bytes
            for name in ("decision", "root", "ledger", "model")
        },
        "list keys": lambda: list(home.keys.iterdir()),
        "sign": lambda: load_signer(f"file:{home.keys / 'decision.pem'}"),
        "the store's address": lambda: home.store_url,
        "open the store": lambda: open_store(f"sqlite:///{home.root / 'store.db'}"),
        "write the database": database,
        "replace the database": store_of_its_own,
        "write the pointer": lambda: write_pointer(pointer, b"{}"),
        "overwrite the pointer": lambda: pointer.write_bytes(b"{}"),
        "remove the pointer": pointer.unlink,
        "exchange serving/": lambda: (home.root / "serving").rename(home.root / "gone"),
        "replace trust.json": lambda: write_atomic(home.trust_document, b"{}"),
        "replace the root's public key": lambda: write_atomic(home.root_public, b"-"),
        "overwrite another's artifact": lambda: foreign.write_bytes(b"-"),
        "replace another's artifact": lambda: write_atomic(foreign, b"-"),
        "remove another's artifact": foreign.unlink,
        "make a hand": (home.hands / "evil").mkdir,
        "exchange a hand": lambda: other.rename(home.hands / "gone"),
        "look into a hand": lambda: list(other.iterdir()),
        "take a hand's name": take_a_name,
        "change the code that governance runs": lambda: code.write_bytes(b""),
        "change Dagster's settings": lambda: write_atomic(Path(os.environ["DAGSTER_HOME"], "dagster.yaml"), b""),
        "read governance's memory": lambda: Path(f"/proc/{governance}/mem").open("rb").close(),
        "read governance's environment": lambda: Path(f"/proc/{governance}/environ").read_bytes(),
        "end governance": lambda: os.kill(int(governance), signal.SIGTERM),
    }
    return {name: _outcome(deed) for name, deed in deeds.items()}


def _outcome(deed: Callable[[], object]) -> str:
    from ion.errors import IonError

    try:
        deed()
    except (OSError, sqlite3.Error) as error:
        return type(error).__name__
    except IonError as error:
        return error.code
    return "done"


def own() -> dict[str, object]:
    """Do, as governance, what it must be able to do."""
    from ion.evidence.keys import load_signer
    from ion.home import Home
    from ion.store import open_store

    home = Home.find()
    deeds: dict[str, Callable[[], object]] = {
        "read keys": (home.keys / "decision.pem").read_bytes,
        "sign": lambda: load_signer(home.decision_key_uri).sign(b"data"),
        "open the store": lambda: open_store(home.store_url).close(),
    }
    return {name: _outcome(deed) for name, deed in deeds.items()}


def spoil(digest: str) -> dict[str, object]:
    """Change the bytes of an artifact, as the user who added it may."""
    from ion.evidence import ArtifactStore
    from ion.home import Home

    path = ArtifactStore(Home.find().artifacts).path(digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return {"owner": path.stat().st_uid}


def admit() -> dict[str, object]:
    """Ask a gate, with a memory in the hand's own folder."""
    from ion.evidence import ArtifactStore
    from ion.evidence.trust import trust_file
    from ion.home import Home
    from ion.serving import Admitted, Gate, pointer_path

    home = Home.find()
    gate = Gate(
        pointer_path(home.root, NODE),
        ArtifactStore(home.artifacts),
        trust_file(home),
        NODE,
        home.own / "gate" / "accepted.json",
    )
    answer = gate.admit()
    if isinstance(answer, Admitted):
        return {"model": answer.model, "serial": answer.serial}
    return {"step": str(getattr(answer, "step", "")), "reason": answer.reason}


def doctor() -> dict[str, object]:
    """Ask the doctor what this user may do."""
    from ion.cli.separation import separation
    from ion.home import Home

    return {finding.name: [finding.ok, finding.found] for finding in separation(Home.find())}


def ping(socket: str) -> dict[str, object]:
    """Ask a code server whether it is there, for at most ten seconds."""
    from dagster._grpc.client import DagsterGrpcClient

    error, deadline = "", time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            Path(socket).stat()
            return {"echo": DagsterGrpcClient(socket=socket).ping("here")["echo"]}
        except PermissionError as refused:
            return {"error": type(refused).__name__}
        except Exception as trouble:  # noqa: BLE001 - it is still starting
            error = repr(trouble)
            time.sleep(0.2)
    return {"error": error[:300]}


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        print("\n" + json.dumps(globals()[sys.argv[1]](*sys.argv[2:])), flush=True)  # noqa: T201 - the answer
