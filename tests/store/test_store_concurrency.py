"""Several processes at once: one chain, nothing lost, one promotion."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ion.facts import GapNoted, Promoted
from ion.ledger import verify_chain
from ion.store import open_store
from ion.testing import SERVING, Deployment, written

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys
from ion.facts import GapNoted
from ion.store import open_store
from ion.testing import written
url, agent = sys.argv[1:]
store = open_store(url)
for number in range(0, 40, 4):
    gaps = [GapNoted(scope=agent, what="x", count=n, reason="") for n in range(number, number + 4)]
    store.append([written(gap, gap.count, agent=agent) for gap in gaps])
    with store.command() as command:
        command.record(GapNoted(scope="own", what=agent, count=number, reason=""))
store.close()
"""

GOVERNOR = """
import sys, pathlib
from ion.evidence import ArtifactStore, load_signer
from ion.agent import Client
from ion.home import Home
from ion.store import open_store
from ion.testing import Deployment
root, url, model, run = sys.argv[1:]
home = Home(pathlib.Path(root))
store = open_store(url)
deployment = Deployment(home, store, Client(home, "governor", store), load_signer(home.decision_key_uri),
                        ArtifactStore(home.artifacts), {(model, run): 1})
candidates = store.candidates()
print("ready", flush=True)
sys.stdin.readline()
governor = deployment.governor()
print(sum(outcome.promoted for candidate in candidates for outcome in governor.consider(candidate)), flush=True)
deployment.close()
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], **pipes)  # type: ignore[call-overload,no-any-return]


def test_processes_that_open_a_new_store_together_write_one_chain(store_url: str) -> None:
    writers = [start(WRITER, store_url, f"agent-{number}") for number in range(4)]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    store = open_store(store_url)
    head = store.head()
    assert head.position == 4 * (40 + 10)
    assert verify_chain(store.entries(), head.position, head.link) == []
    for number in range(4):
        assert [r.fact.count for r in store.find(GapNoted, f"agent-{number}")] == list(range(40))
    before = store.projections()
    store.rebuild()
    assert store.projections() == before
    store.close()


def test_governors_in_several_processes_promote_once(store_url: str, tmp_path: Path) -> None:
    deployment = Deployment.make(tmp_path, store_url)
    trained = deployment.train()
    governors = [start(GOVERNOR, str(tmp_path), store_url, trained.model, trained.run) for _ in range(3)]
    for governor in governors:
        assert governor.stdout is not None
        assert governor.stdout.readline() == "ready\n"
    promoted = [int(governor.communicate("go\n", timeout=120)[0]) for governor in governors]
    assert sorted(promoted) == [0, 0, 1]
    assert len(deployment.store.find(Promoted, SERVING)) == 1
    assert deployment.store.current(SERVING).serial == 1
    deployment.close()


def test_governors_in_several_threads_promote_once(store_url: str, tmp_path: Path) -> None:
    deployment = Deployment.make(tmp_path, store_url)
    trained = deployment.train()
    candidate = deployment.candidate(trained)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: deployment.governor().consider(candidate), range(4)))
    assert sorted(len(each) for each in outcomes) == [0, 0, 0, 1]
    assert deployment.store.current(SERVING).serial == 1
    deployment.close()


def test_a_forked_child_uses_connections_of_its_own(store_url: str) -> None:
    store = open_store(store_url)
    store.append([written(GapNoted(scope="s", what="x", count=0, reason=""), 0, agent="parent")])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for number in range(20):
                fact = GapNoted(scope="s", what="x", count=number, reason="")
                store.append([written(fact, number, agent="child")])
            status = 0
        finally:
            os._exit(status)
    for number in range(1, 20):
        store.append([written(GapNoted(scope="s", what="x", count=number, reason=""), number, agent="parent")])
    _, status = os.waitpid(pid, 0)
    assert status == 0
    head = store.head()
    assert head.position == 40
    assert verify_chain(store.entries(), head.position, head.link) == []
    store.close()
