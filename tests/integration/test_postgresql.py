"""The three nodes of the reference ION with Dagster and the governance store in one PostgreSQL database."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from rich.console import Console

from gov_assets.patient_tests.demo import story
from ion.cli.demonstration import play as performing
from ion.cli.demonstration.claims import Claims
from ion.cli.demonstration.commands import DagsterRuns, ion
from ion.cli.demonstration.play import Play
from ion.cli.deployment import Deployment
from ion.errors import IonError
from ion.home import Home
from tests.integration.test_up_down import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(postgres: Callable[[], str]) -> str:
    return postgres()


@pytest.fixture
def deployment(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    home = Home(tmp_path / "home")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ION_HOME", str(home.root))
    monkeypatch.setenv("ION_STORE_URL", database)
    monkeypatch.setenv("ION_DAGSTER_STORAGE_URL", database.replace("postgresql://", "postgresql+psycopg2://", 1))
    monkeypatch.setattr(performing, "_DECISION_SECONDS", 300)
    monkeypatch.setattr(performing, "_SERVING_SECONDS", 300)
    found = Deployment(home, ROOT, free_port(), free_port())
    yield found
    found.stop()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_trained_decided_served_and_explained_on_one_postgresql(deployment: Deployment, database: str) -> None:
    deployment.start()
    claims = Claims(Console(file=sys.stderr, highlight=False))
    play = Play(story, claims, DagsterRuns("127.0.0.1", deployment.port), None, None)  # type: ignore[arg-type] # no tampering, no review
    ion("define", story.ion, "--record")
    with play._stream():
        served = play._train(story.trainings[0], "approve", "")
        prediction = play._newest(served)
    play._ask(prediction, served)  # why, replay and audit, each checked

    with psycopg.connect(database) as connection:
        tables = {row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        facts = connection.execute("SELECT count(*) FROM ion_fact WHERE kind = 'Promoted'").fetchone()
        events = connection.execute("SELECT count(*) FROM event_logs").fetchone()
    assert {"ion_fact", "ion_revision", "runs", "event_logs", "job_ticks", "alembic_version"} <= tables
    assert facts == (1,)
    assert events
    assert events[0] > 0
    left = [path.name for path in deployment.home.root.rglob("*.db")]
    assert [name for name in left if name != "mlflow.db"] == []
    assert ion("store", "migrate")["changed"] is False  # Dagster's own version table is not taken for ours


def test_the_address_stays_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ion.cli.deployment.services import Plan

    monkeypatch.setenv("ION_DAGSTER_STORAGE_URL", "postgresql+psycopg2://user:hidden@db/dagster")
    home = Home(tmp_path / "home").make()
    Plan(home, ROOT, 1, 2, tmp_path)._configure_dagster()
    written = (home.root / "dagster" / "dagster.yaml").read_text()
    assert "hidden" not in written
    settings = json.loads(written)
    assert settings["storage"] == {"postgres": {"postgres_url": {"env": "ION_DAGSTER_STORAGE_URL"}}}
    assert settings["compute_logs"]["config"]["base_dir"] == str(home.root / "dagster" / "storage")
    assert settings["sensors"]["use_threads"] is True


@pytest.mark.parametrize("url", ["postgresql://db/dagster", "postgresql+psycopg://db/x", "sqlite:///x", "db"])
def test_an_address_that_dagster_fails_on_is_refused_before_anything_starts(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ion.cli.deployment.services import Plan

    monkeypatch.setenv("ION_DAGSTER_STORAGE_URL", url)
    with pytest.raises(IonError) as caught:
        Plan(Home(tmp_path / "home").make(), ROOT, 1, 2, tmp_path)._configure_dagster()
    assert caught.value.code == "bad-dagster-storage"
    assert os.environ["ION_DAGSTER_STORAGE_URL"] == url
