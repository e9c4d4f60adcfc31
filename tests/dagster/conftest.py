"""A governed project and a real Dagster instance on disk, for tests of what runs in Dagster."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import dagster as dg
import pytest

from ion.agent import open_client
from ion.agent.opening import _shared
from ion.dagster.declaration import declarations, definitions_of
from ion.dagster.io import ParquetIOManager
from ion.facts import DecisionMade, Fact
from ion.graph import define
from ion.home import Home
from ion.ids import new_id
from ion.store import open_store
from sensors import observation, promotion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from ion.agent import Client
    from ion.store import GovernanceStore

F = TypeVar("F", bound=Fact)
PROJECT = Path(__file__).parent / "project"


@dataclass(frozen=True)
class Scene:
    """One deployment: state root, store, Dagster instance, and the project's modules."""

    home: Home
    store: GovernanceStore
    instance: dg.DagsterInstance
    assets: ModuleType
    policy_sets: ModuleType

    def ion(self, name: str = "ward", policy: str = "careful", **details: int) -> list[dg.AssetsDefinition]:
        """Make and define an ION; returns patients, recommender, scores."""
        made: list[dg.AssetsDefinition] = self.assets.ion_of(name, getattr(self.policy_sets, policy), **details).all
        self.define(made)
        return made

    def define(self, assets: Sequence[dg.AssetsDefinition]) -> None:
        for definition in definitions_of(declarations(assets)):
            define(self.store, definition)

    def run(
        self,
        assets: Sequence[dg.AssetsDefinition],
        *selected: str,
        ops: dict[str, object] | None = None,
        **options: object,
    ) -> dg.ExecuteInProcessResult:
        """Materialize ``selected`` of ``assets`` (all by default) in one Dagster run; failures do not raise."""
        config = {"ops": {name: {"config": value} for name, value in (ops or {}).items()}}
        resources = {"io_manager": ParquetIOManager(), **options.pop("resources", {})}  # type: ignore[dict-item]
        return dg.materialize(
            assets,
            instance=self.instance,
            selection=[asset for asset in assets if asset.key.path[-1] in selected] if selected else None,
            resources=resources,
            run_config=config,
            raise_on_error=False,
            **options,  # type: ignore[arg-type]
        )

    def train(
        self, ion: Sequence[dg.AssetsDefinition], weight: float = 1.0, seed: int = 7, registered_as: str = ""
    ) -> str:
        """Materialize patients and recommender; returns the Dagster run."""
        name = ion[0].key.path[0]
        training = {"weight": weight, "registered_as": registered_as}
        ops = {f"{name}__patients": {"seed": seed}, f"{name}__recommender": training}
        done = self.run(ion, "patients", "recommender", ops=ops)
        assert done.success
        return done.run_id

    def served(self, ion: Sequence[dg.AssetsDefinition]) -> dg.ExecuteInProcessResult:
        """Materialize the scores of an ION whose model is promoted."""
        return self.run(ion, "scores")

    def tick(self, cursor: str | None = None) -> dg.SensorResult:
        """Let the promotion sensor tick once."""
        context = dg.build_sensor_context(instance=self.instance, cursor=cursor)
        result = promotion.promotion(context)
        assert isinstance(result, dg.SensorResult)
        return result

    def decided(self, count: int, seconds: float = 15.0) -> list[DecisionMade]:
        """Tick until there are ``count`` decisions and Dagster shows them; returns them, oldest first."""
        deadline, cursor = time.monotonic() + seconds, None
        while len(self.facts(DecisionMade)) < count and time.monotonic() < deadline:
            cursor = self.tick(cursor).cursor
        self.tick(cursor)
        decisions = self.facts(DecisionMade)
        assert len(decisions) == count
        return decisions

    def observe(self, cursor: str | None = None) -> str:
        """Let the observation sensor tick once; returns its cursor."""
        result = observation.observation(dg.build_sensor_context(instance=self.instance, cursor=cursor))
        assert isinstance(result, dg.SensorResult)
        assert result.cursor is not None
        return result.cursor

    def client(self) -> Client:
        """Return another agent, that ships by itself."""
        return open_client(self.home, name=f"test-{new_id()}")

    def facts(self, kind: type[F], subject: str | None = None) -> list[F]:
        return [record.fact for record in self.store.find(kind, subject)]

    def events(self, asset: str, *, observed: bool = False) -> list[dg.EventLogRecord]:
        """Return what Dagster's log holds of an asset, newest first."""
        key = dg.AssetKey(asset.split("/"))
        fetch = self.instance.fetch_observations if observed else self.instance.fetch_materializations
        return list(fetch(key, limit=100).records)

    def tags(self, asset: str, *, observed: bool = False) -> list[dict[str, str]]:
        found = [
            record.asset_observation if observed else record.asset_materialization
            for record in self.events(asset, observed=observed)
        ]
        return [dict(event.tags or {}) for event in found if event is not None]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copy the project to where no git is: the state of this checkout must not decide."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def empty_dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make Dagster's databases once; copying them is ten times quicker."""
    folder = tmp_path_factory.mktemp("dagster")
    with dg.instance_for_test(temp_dir=str(folder)) as instance:
        instance.get_runs(limit=1)
        instance.fetch_materializations(dg.AssetKey("none"), limit=1)
    return folder


@pytest.fixture
def scene(
    project: Path,  # noqa: ARG001 - it is on the path from here on
    isolated: Path,
    empty_dagster_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    """Make a deployment with short ticks."""
    monkeypatch.setattr(promotion, "TICK_SECONDS", 0.4)
    monkeypatch.setattr(promotion, "_evaluations", promotion.Evaluations())
    monkeypatch.setattr(observation, "TICK_SECONDS", 0.0)
    monkeypatch.chdir(isolated)
    home = Home.find().make()
    store = open_store(home.store_url)
    dagster_home = isolated / "dagster"
    shutil.copytree(empty_dagster_home, dagster_home)
    with dg.instance_for_test(temp_dir=str(dagster_home)) as instance:
        yield Scene(home, store, instance, import_module("ward.assets"), import_module("ward.policy_sets"))
    store.close()
    for place in [place for place in _shared if place[0] == home]:
        _shared.pop(place).close()
