"""A program that reports to a server reads back from it what it would read from the store."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import uvicorn

import ion
from ion.agent import opening
from ion.clock import now_us
from ion.errors import IonError
from ion.home import Home
from ion.server import server_app
from ion.server.tokens import issue
from ion.testing import TRAINER, History, make_history
from tests.server.scene import DAY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = make_history(tmp_path / "governance")
    yield made
    made.deployment.close()


@pytest.fixture
def address(history: History) -> Iterator[str]:
    app = server_app(Home(history.deployment.home.root))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def elsewhere(address: str, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    secret = issue(history.deployment.store, ["agent", "reader"], ["*"], ["*"], until=now_us() + DAY, by="test")[1]
    monkeypatch.setenv("ION_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ION_STORE_URL", address)
    monkeypatch.setenv("ION_AGENT_TOKEN", secret)
    yield
    for client in opening._shared.values():
        client.close()
    opening._shared.clear()


@pytest.mark.usefixtures("elsewhere")
def test_what_is_read_through_a_server_is_what_is_read_from_the_store(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(1).normal(size=500)
    with ion.node_run("wines/taste") as run:
        run.stats_many("acid", values, 1_000_000 * np.arange(500))
        run.event("opened", bottle=3)
        run.gap("rows", 2, "lost")
        assert ion.stats("acid", run=run.id)["value"].tolist() == values.tolist()

    def answers() -> list[object]:
        model = history.trained.model
        return [
            ion.stats(as_="rows"),
            ion.stats(model=model, since=1, as_="rows"),
            ion.models(as_="rows"),
            ion.models(node=TRAINER, as_="rows"),
            ion.events(ion="wines", as_="rows"),
            ion.events(ion="wines").attrs["gaps"],
            ion.facts("ParamRecorded", ion="patient_tests", as_="rows"),
            ion.facts("DecisionMade", model=model, as_="rows"),
            ion.gaps(node="wines/taste", as_="rows"),
        ]

    through = answers()
    assert all(through)
    monkeypatch.delenv("ION_STORE_URL")
    monkeypatch.setenv("ION_HOME", str(history.deployment.home.root))
    assert answers() == through


@pytest.mark.usefixtures("elsewhere")
def test_a_token_that_may_not_read_reads_nothing(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = issue(history.deployment.store, ["agent"], ["*"], ["*"], until=now_us() + DAY, by="test")[1]
    monkeypatch.setenv("ION_AGENT_TOKEN", secret)
    with pytest.raises(IonError) as caught:
        ion.models()
    assert caught.value.code == "receiver-refused"
