"""The act of the tampering: a registry changed behind our back, one byte of the history flipped."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ion.cli.demonstration.commands import ion, wait_for

if TYPE_CHECKING:
    from ion.cli.demonstration.claims import Claims
    from ion.home import Home

_ALARM_SECONDS = 15
_ALIAS = "champion"


@dataclass(frozen=True, slots=True)
class Tampering:
    """Does what an intruder would do, and sees that it is noticed and changes nothing.

    Args:
        claims: prints and keeps what was seen.
        home: the deployment.
        mlflow: URL of MLflow's server.
    """

    claims: Claims
    home: Home
    mlflow: str

    def move_alias(self, name: str, node: str) -> None:
        """Move the alias of the model ``name`` in MLflow by its own API; put it back when it was noticed."""
        before = self._serving(node)
        right = str(self._mlflow(f"registered-models/alias?name={name}&alias={_ALIAS}")["model_version"]["version"])
        newest = self._mlflow(f"registered-models/get?name={name}")["registered_model"]["latest_versions"]
        wrong = next(str(each["version"]) for each in newest if str(each["version"]) != right)
        self.claims.step(f"somebody moves MLflow's alias {_ALIAS} from version {right} to {wrong}")
        ion_name = node.partition("/")[0]
        known = self._alarms(ion_name)
        self._mlflow("registered-models/alias", {"name": name, "alias": _ALIAS, "version": wrong})
        try:
            alarm = wait_for("the alarm", lambda: self._alarms(ion_name)[len(known) :], seconds=_ALARM_SECONDS)
            still = self._serving(node)
            self.claims.holds("it is alarmed", alarm[0], when=True)
            self.claims.holds("and the node serves what it served", still[7:19], when=still == before)
        finally:
            self._mlflow("registered-models/alias", {"name": name, "alias": _ALIAS, "version": right})

    def flip_bytes(self, model: str) -> None:
        """Flip one byte in a copy of the history and in an exported bundle; both are found."""
        with tempfile.TemporaryDirectory(prefix="ion-demo-") as folder:
            self._flip_in_bundle(Path(folder) / "bundle", model)
            if self.home.store_url.startswith("sqlite:"):
                self._flip_in_history(Path(folder) / "home")

    def _flip_in_bundle(self, bundle: Path, model: str) -> None:
        ion("evidence", "export", model, "-o", str(bundle))
        whole = ion("evidence", "verify", str(bundle), "--root", str(self.home.root_public), allowed=(0, 1))
        files = sum(path.is_file() for path in bundle.rglob("*"))
        self.claims.holds("its evidence, exported, is verified without the store", f"{files} files", when=whole["ok"])
        victim = bundle / "decision.dsse.json"
        _flip(victim, victim.stat().st_size // 2)
        broken = ion("evidence", "verify", str(bundle), "--root", str(self.home.root_public), allowed=(0, 1))
        self.claims.holds("one flipped byte in it is found", victim.name, when=not broken["ok"])

    def _flip_in_history(self, copy: Path) -> None:
        copy.mkdir()
        with sqlite3.connect(self.home.root / "store.db") as source, sqlite3.connect(copy / "store.db") as target:
            source.backup(target)
        for name in ("artifacts", "trust", "serving"):
            shutil.copytree(self.home.root / name, copy / name)
        with sqlite3.connect(copy / "store.db") as store:
            head = store.execute("SELECT max(position) FROM ion_fact").fetchone()[0]
            where = head // 2
            raw = bytearray(store.execute("SELECT raw FROM ion_fact WHERE position = ?", (where,)).fetchone()[0])
            raw[len(raw) // 2] ^= 1
            store.execute("UPDATE ion_fact SET raw = ? WHERE position = ?", (bytes(raw), where))
        audit = ion("audit", "verify", allowed=(0, 1), environment={"ION_HOME": str(copy)})
        first = audit["problems"][0] if audit["problems"] else {}
        seen = f"fact {first.get('position')} of {head}: {first.get('kind')}"
        found = not audit["ok"] and first.get("position") == where
        self.claims.holds("one flipped byte in a copy of the history is found, and where", seen, when=found)

    @staticmethod
    def _alarms(ion_name: str) -> list[str]:
        events = ion("timeline", ion_name)["events"]
        return [str(event["summary"]) for event in events if "mirror-" in str(event)]

    @staticmethod
    def _serving(node: str) -> str:
        return next((str(each["model"]) for each in ion("models")["models"] if node in each["serving"]), "")

    def _mlflow(self, path: str, body: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - a JSON document
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.mlflow}/api/2.0/mlflow/{path}", data, headers)  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read() or b"{}")


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
        os.fsync(file.fileno())
