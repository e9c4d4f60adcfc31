"""What a store answers, its server answers just the same to a program on another machine."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import uvicorn

from ion.agent.remote import RemoteReceiver
from ion.agent.remote_store import RemoteStore
from ion.agent.statistics import statistics_fact
from ion.clock import now_us
from ion.errors import IonError
from ion.facts import KINDS, Fact, GapNoted, ModelRecorded, NodeRunStarted, ParamRecorded
from ion.home import Home
from ion.points import Points
from ion.server import server_app
from ion.server.tokens import issue
from ion.store import open_store
from ion.testing import SERVING, make_history, written
from tests.server.scene import DAY, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.store import GovernanceStore


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GovernanceStore, RemoteStore]]:
    """A store with a whole history, and the same store through a server."""
    folder = tmp_path_factory.mktemp("history")
    history = make_history(folder)
    home = history.deployment.home
    store = open_store(f"sqlite:///{home.root / 'store.db'}")
    told = [started("long", "i/n", agent="agent-long")]
    for number in range(3):
        times = 1_000_000 + np.arange(70_000) // 3 + number * 30_000
        columns = {"loss": Points(times, np.random.default_rng(number).random(70_000))}
        fact, block = statistics_fact("long", "e" if number == 1 else "", columns)
        store.append([*told, written(fact, number + 1, agent="agent-long")], {fact.digest: block})
        told = []
    gaps = [GapNoted(scope="many", what="x", count=n, reason="") for n in range(2_100)]
    store.append([written(gap, n, agent="agent-many") for n, gap in enumerate(gaps)])
    secret = issue(store, ["reader"], [], [], until=now_us() + DAY, by="test")[1]
    app = server_app(Home(home.root))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    remote = RemoteStore(RemoteReceiver(f"http://127.0.0.1:{port}", secret))
    yield store, remote
    remote.close()
    server.should_exit = True
    thread.join()
    store.close()
    history.deployment.close()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_facts_of_every_kind_come_back_the_same(pair: tuple[GovernanceStore, RemoteStore], kind: type[Fact]) -> None:
    store, remote = pair
    assert remote.find(kind) == store.find(kind)


def test_facts_about_a_subject_come_back_the_same_beyond_one_page(
    pair: tuple[GovernanceStore, RemoteStore],
) -> None:
    store, remote = pair
    assert len(remote.find(GapNoted, "many")) == 2_100
    assert remote.find(GapNoted, "many", limit=1500) == store.find(GapNoted, "many", limit=1500)
    run = store.find(ModelRecorded)[0].fact.run
    assert remote.find(ParamRecorded, run) == store.find(ParamRecorded, run)
    assert remote.find(NodeRunStarted, SERVING, limit=1) == store.find(NodeRunStarted, SERVING, limit=1) != []
    assert remote.find(NodeRunStarted, "") == []


def test_points_come_back_bit_for_bit(pair: tuple[GovernanceStore, RemoteStore]) -> None:
    store, remote = pair
    assert [repr(each) for each in remote.series("long")] == [repr(each) for each in store.statistics.series("long")]
    for first, last, epoch in (
        (None, None, None), (1_010_000, 1_040_001, None), (None, 1_000_500, None), (1_060_000, None, ""),
        (None, None, "e"), (None, None, ""),
    ):  # fmt: skip
        here, there = (each.points("long", "loss", first, last, epoch=epoch) for each in (store, remote))
        assert (here.times.tobytes(), here.values.tobytes()) == (there.times.tobytes(), there.values.tobytes())
        assert len(here) > 1000


def test_candidates_and_what_serves_come_back_the_same(pair: tuple[GovernanceStore, RemoteStore]) -> None:
    store, remote = pair
    assert [repr(each) for each in remote.candidates()] == [repr(each) for each in store.candidates()] != []
    assert repr(remote.current(SERVING)) == repr(store.current(SERVING))


def test_an_answer_of_another_form_is_told(
    pair: tuple[GovernanceStore, RemoteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, remote = pair
    for strange in ({}, {"facts": 3}, {"facts": [3]}, {"times": "x", "values": [], "next": None}, {"node": 1}):
        monkeypatch.setattr(RemoteReceiver, "get", lambda *_, strange=strange, **__: strange)
        for ask in (
            lambda: remote.find(GapNoted),
            lambda: remote.series("r"),
            lambda: remote.points("r", "s"),
            remote.candidates,
            lambda: remote.current("i/n"),
        ):
            with pytest.raises(IonError) as caught:
                ask()
            assert caught.value.code in {"receiver-refused", "bad-fact"}
