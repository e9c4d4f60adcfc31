"""The way down: what stands for a node is told to its token as soon as it changes, and nothing else is given."""

from __future__ import annotations

import asyncio
import json
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.facts import SignatureRecorded
from ion.home import Home
from ion.server import watch
from ion.server.tokens import issue, revoke
from ion.server.watch import Watch
from ion.serving.erased import erased_path, write_erased
from ion.serving.standing import Standing
from ion.testing import SERVING, Deployment
from resources.flink.elsewhere import read_bins
from tests.server.scene import DAY, Scene, code

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

PLACE = f"/v1/nodes/{SERVING}"
PATIENCE = 60


@pytest.fixture
def deployment(store_url: str, tmp_path: Path) -> Iterator[Deployment]:
    """The deployment that the scene's server serves, one model promoted."""
    made = Deployment.make(tmp_path, store_url)
    made.train()
    made.govern()
    yield made
    made.close()


def stands(scene: Scene, token: str, *, tag: str = "", wait: int = 0) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} | ({"If-None-Match": tag} if tag else {})
    return scene.client.get(f"{PLACE}/pointer", params={"wait": wait}, headers=headers)


def of_node(scene: Scene, node: str = SERVING) -> str:
    return scene.token(nodes=[node])


def test_everything_that_the_pointer_names_can_be_had_and_nothing_else(scene: Scene, deployment: Deployment) -> None:
    token = of_node(scene)
    answer = stands(scene, token)
    said = Standing.parse(answer.content)
    assert (said.node, answer.headers["etag"]) == (SERVING, said.tag)
    assert said.pointer == (deployment.home.root / "serving" / SERVING / "pointer.json").read_bytes()
    trust = scene.ask(token, "/v1/trust")
    assert (trust.content, digest_bytes(trust.content)) == (deployment.home.trust_document.read_bytes(), said.trust)
    model = deployment.store.current(SERVING).model
    entries = deployment.artifacts.get_manifest(model).entries
    for digest in (model, *(entry.sha256 for entry in entries)):
        given = scene.ask(token, f"{PLACE}/artifacts/{digest}")
        assert (given.status_code, digest_bytes(given.content)) == (200, digest)
        assert given.headers["content-length"] == str(len(given.content))
    stored = {f"sha256:{path.name}" for path in deployment.home.artifacts.rglob("*") if path.is_file()}
    answers = {digest: scene.ask(token, f"{PLACE}/artifacts/{digest}") for digest in stored}
    decision, provenance = (digest for digest in stored if answers[digest].content[:12] == b'{"payload":"')
    assert {digest for digest in stored if answers[digest].status_code == 200} == {
        model, decision, provenance, *(entry.sha256 for entry in entries)
    }  # fmt: skip
    kept = [digest for digest in stored if deployment.artifacts.get(digest)[:4] == b"PAR1"]
    assert kept  # rows of people are artifacts, too
    assert {code(answers[digest]) for digest in kept} == {(404, "unknown-artifact")}
    assert code(scene.ask(token, f"{PLACE}/artifacts/..%2F..%2Fkeys"))[0] in {400, 404}


def test_a_token_of_another_node_or_none_is_given_nothing(scene: Scene, deployment: Deployment) -> None:
    model = deployment.store.current(SERVING).model
    other = of_node(scene, "patient_tests/other")
    for path in (f"{PLACE}/pointer", f"{PLACE}/artifacts/{model}"):
        assert code(scene.ask(other, path)) == (403, "not-permitted")
        assert scene.client.get(path).status_code == 401
    assert code(scene.ask(of_node(scene, "patient_tests/*"), "/v1/nodes/patient_tests/..%5C/pointer"))[0] == 400
    reader = scene.token(roles=["reader"])
    assert code(scene.ask(reader, f"{PLACE}/pointer")) == (403, "not-permitted")


def test_nothing_new_is_said_so_and_a_change_ends_the_waiting(scene: Scene, deployment: Deployment) -> None:
    token = of_node(scene)
    tag = stands(scene, token).headers["etag"]
    assert stands(scene, token, tag=tag).status_code == 304
    assert stands(scene, token, tag=tag, wait=1).status_code == 304
    assert code(stands(scene, token, wait=61)) == (400, "bad-request")
    found: list[httpx.Response] = []

    def changed(change: object) -> Standing:
        nonlocal tag
        waiting = Thread(target=lambda: found.append(stands(scene, token, tag=tag, wait=PATIENCE)))
        waiting.start()
        assert callable(change)
        change()
        waiting.join()
        tag = found[-1].headers["etag"]
        assert found[-1].status_code == 200
        return Standing.parse(found[-1].content)

    before = deployment.store.current(SERVING).serial
    changed(lambda: (deployment.train(seed=8), deployment.govern()))
    assert deployment.store.current(SERVING).serial == before + 1
    changed(lambda: deployment.promotions().halt(SERVING, reason="test", by="test"))
    said = changed(lambda: deployment.introduce("anna"))
    assert said.trust == digest_bytes(deployment.home.trust_document.read_bytes())
    said = changed(lambda: write_erased(erased_path(deployment.home), {"key-1"}))
    assert said.erased == digest_bytes(scene.ask(token, "/v1/erased").content)


def test_a_revoked_token_is_told_nothing_more(scene: Scene, deployment: Deployment) -> None:
    identity, token = issue(deployment.store, ["agent"], ["*"], ["*"], until=now_us() + DAY, by="test")
    assert stands(scene, token).status_code == 200
    revoke(deployment.store, identity, reason="lost", by="test")
    assert code(stands(scene, token)) == (401, "token-refused")


def test_a_node_that_was_never_promoted_has_no_pointer(scene: Scene) -> None:
    answer = stands(scene, of_node(scene))
    assert Standing.parse(answer.content).pointer is None
    assert code(scene.ask(of_node(scene), "/v1/trust")) == (404, "unknown-file")


def test_an_artifact_that_governance_lost_is_said_to_be_missing(scene: Scene, deployment: Deployment) -> None:
    model = deployment.store.current(SERVING).model
    (entry,) = deployment.artifacts.get_manifest(model).entries
    deployment.artifacts.path(entry.sha256).unlink()
    token = of_node(scene)
    assert code(scene.ask(token, f"{PLACE}/artifacts/{entry.sha256}")) == (404, "unknown-artifact")
    assert scene.ask(token, f"{PLACE}/artifacts/{model}").status_code == 200


def test_the_bins_of_the_training_are_given_and_taken_as_they_were_told(scene: Scene, deployment: Deployment) -> None:
    current = deployment.store.current(SERVING)
    told = {record.fact.name: record.fact.edges for record in deployment.store.find(SignatureRecorded, current.run)}
    answer = scene.ask(of_node(scene), f"{PLACE}/bins").content
    assert read_bins(answer, current.model) == told
    assert read_bins(answer, "sha256:" + "0" * 64) == {}  # another model's


@pytest.mark.parametrize("edges", [None, [], {"a": []}, {"a": [1]}, {"a": [2, 1]}, {"a": [1, "x"]}, {"a": [0, 1e999]}])
def test_bins_that_are_none_are_not_taken(edges: object) -> None:
    assert read_bins(json.dumps({"model": "m", "edges": edges}).encode(), "m") == {}


def test_one_look_serves_all_that_wait_and_ends_with_them(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    monkeypatch.setattr(watch, "_LOOK_S", 0.01)
    stamps = Watch._stamps

    def counted(self: Watch, nodes: set[str]) -> object:
        looks.append(len(nodes))
        return stamps(self, nodes)

    monkeypatch.setattr(Watch, "_stamps", counted)

    async def wait() -> list[Standing]:
        made = Watch(Home(deployment.home.root))
        tag = (await made.standing(SERVING, "", 0)).tag
        waiting = [asyncio.create_task(made.standing(SERVING, tag, PATIENCE)) for _ in range(200)]
        while len(made._waiting) < 200 or len(looks) < 5:  # noqa: ASYNC110 - nothing there tells it
            await asyncio.sleep(0.001)
        await asyncio.to_thread(deployment.promotions().halt, SERVING, reason="test", by="test")
        found = await asyncio.gather(*waiting)
        assert made._looking is not None
        await made._looking
        return found

    found = asyncio.run(wait())
    assert len({said.tag for said in found}) == 1
    assert set(looks) - {0} == {1}  # one node a look, not one a client
