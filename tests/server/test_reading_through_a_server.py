"""`ion.stats` and the like answer on another machine what they answer beside the store."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import uvicorn

import ion
from ion.agent import opening
from ion.clock import now_us
from ion.facts import EpochOpened, GapNoted, ModelRecorded
from ion.home import Home
from ion.server import server_app
from ion.server.tokens import issue
from ion.store import open_store
from ion.testing import SERVING, TRAINER, make_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAY = 86_400_000_000


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a store with a history, and how to go to another machine, which has only a token."""
    history = make_history(tmp_path / "there")
    home = history.deployment.home
    url = f"sqlite:///{home.root / 'store.db'}"
    monkeypatch.setenv("ION_HOME", str(home.root))
    with ion.node_run("wines/taste") as run:
        for number in range(20):
            run.stat("score", number / 7)
        run.event("opened", bottle=3)
        run.emit(GapNoted(scope=run.id, what="statistics", count=2, reason="told"))
    store = open_store(url)
    secret = issue(store, ["agent", "reader"], ["*"], ["*"], until=now_us() + DAY, by="test")[1]
    server = uvicorn.Server(uvicorn.Config(server_app(Home(home.root)), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    def go() -> None:
        monkeypatch.setenv("ION_HOME", str(tmp_path / "here"))
        monkeypatch.setenv("ION_STORE_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("ION_AGENT_TOKEN", secret)

    yield url, go
    for client in opening._shared.values():
        client.close()
    opening._shared.clear()
    server.should_exit = True
    thread.join()
    store.close()
    history.deployment.close()


def answers(model: str) -> list[object]:
    filters: list[dict[str, str]] = [{}, {"ion": "wines"}, {"node": SERVING}, {"node": TRAINER}, {"model": model}]
    found: list[object] = []
    for where in filters:
        found += [
            ion.stats(as_="rows", **where),
            ion.models(as_="rows", **where),
            ion.events(as_="rows", **where),
            ion.gaps(as_="rows", **where),
            ion.facts(ModelRecorded, as_="rows", **where),
            ion.facts(EpochOpened, as_="rows", limit=1, **where),
        ]
    return found


def test_every_question_is_answered_as_beside_the_store(elsewhere: tuple[str, Callable[[], None]]) -> None:
    url, go = elsewhere
    store = open_store(url)
    model = store.find(ModelRecorded)[0].fact.model
    store.close()
    beside = answers(model)
    go()
    assert answers(model) == beside
    assert len(ion.stats("score", node="wines/taste")) == 20
    assert sum(bool(each) for each in beside) > 12


def test_a_running_pipeline_reads_from_the_server_what_it_just_told(
    elsewhere: tuple[str, Callable[[], None]],
) -> None:
    _, go = elsewhere
    go()
    with ion.node_run("wines/growers") as run:
        run.event("picked", rows=7)
        assert [row["name"] for row in ion.events(ion="wines", as_="rows")] == ["opened", "picked"]


PROGRAM = """
import sys
for name in ("sqlalchemy", "pandas", "polars", "pyarrow", "dagster", "httpx", "starlette"):
    sys.modules[name] = None
import ion
print([row["name"] for row in ion.events(ion="wines", as_="rows")], len(ion.stats("score", as_="rows")))
"""


def test_a_program_with_the_core_alone_reads_through_a_server(elsewhere: tuple[str, Callable[[], None]]) -> None:
    _, go = elsewhere
    go()
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['opened'] 20\n", "")
