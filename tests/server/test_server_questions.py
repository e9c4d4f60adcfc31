"""What the server answers, to whom, a page at a time; and its own description and counters."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING

import numpy as np

from ion.agent.statistics import statistics_fact
from ion.facts import CheckpointSigned, GapNoted, IonDefined, NodeRunStarted
from ion.home import Home
from ion.ledger import GENESIS, link
from ion.points import Points
from ion.server.app import ROUTES, server_app
from ion.server.openapi import document
from ion.testing import ION, SERVING, TRAINER, Deployment, written
from tests.server.scene import code, param, started

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.server.scene import Scene


def pages(scene: Scene, token: str, path: str, what: str, **query: object) -> list[list[dict[str, object]]]:
    found, after = [], {}
    while True:
        answer = scene.ask(token, path, **query, **after).json()
        found.append(answer[what])
        if answer["next"] is None:
            return found
        after = {"after": answer["next"]}


def test_facts_come_page_by_page_each_once_in_order(scene: Scene) -> None:
    scene.send(scene.token(), [started("r", "i/n"), *(param("r", number) for number in range(1, 10))])
    token = scene.token(roles=["reader"])
    everything = pages(scene, token, "/v1/facts", "facts", limit=4)
    assert [len(page) for page in everything] == [4, 4, 4, 0]  # two tokens were facts, too
    positions = [fact["position"] for page in everything for fact in page]
    assert positions == list(range(1, 13))
    told = scene.ask(token, "/v1/facts", run="r", kind="ParamRecorded", limit=2).json()
    assert [fact["seq"] for fact in told["facts"]] == [1, 2]
    assert told["facts"][0]["body"] == {"run": "r", "name": "p", "value": 1, "component": ""}
    assert (told["complete"], told["gaps"]) == (True, [])


def test_facts_are_found_by_what_they_speak_of(scene: Scene) -> None:
    token = scene.token()
    scene.send(token, [started("r", "i/n", 0), started("s", "i/m", 1), param("s", 2), param("r", 3)])
    with scene.store.command() as command:
        definition = {"ion": "i", "nodes": [{"name": "n"}, {"name": "m"}]}
        command.record(IonDefined(ion="i", version="v", definition=definition))
    reader = scene.token(roles=["reader"])

    def found(**query: object) -> list[int]:
        answer = scene.ask(reader, "/v1/facts", agent="agent-1", **query).json()
        return [fact["seq"] for fact in answer["facts"]]

    assert found() == [0, 1, 2, 3]
    assert found(node="i/n") == [0]
    assert found(ion="i") == [0, 1]
    assert found(run="s") == [1, 2]
    assert found(run="s", node="i/m") == [1]
    assert found(run="s", node="i/n") == []
    assert found(kind="ParamRecorded,NodeRunStarted", subject="r") == [0, 3]
    assert found(since=1, until=2) == [0, 1, 2, 3]  # the tests' agents told all at 1 µs
    assert found(since=2) == []
    assert found(ion="other") == []


def test_an_answer_names_the_gaps_of_what_it_touches(scene: Scene) -> None:
    token = scene.token()
    gap = GapNoted(scope="r", what="statistics", count=7, reason="the spool was full", first=3, last=9)
    lost = GapNoted(scope="agent-1", what="facts", count=2, reason="torn")
    scene.send(token, [started("r", "i/n"), written(gap, 1), started("s", "i/n", 2)])
    reader = scene.token(roles=["reader"])
    told = scene.ask(reader, "/v1/facts", run="r", kind="NodeRunStarted").json()
    assert not told["complete"]
    assert [(each["what"], each["count"], each["first"], each["last"]) for each in told["gaps"]] == [
        ("statistics", 7, 3, 9)
    ]
    assert scene.ask(reader, "/v1/facts", run="s").json()["complete"]
    scene.send(token, [written(lost, 3)])
    assert not scene.ask(reader, "/v1/facts", run="s").json()["complete"]  # its author lost something


def test_points_of_a_series_come_page_by_page(scene: Scene) -> None:
    times = np.array([10, 20, 20, 20, 30, 40])
    fact, block = statistics_fact("r", "", {"auc": Points(times, np.arange(6) / 8)})
    scene.send(scene.token(), [started("r", "i/n"), written(fact, 1)], {fact.digest: block})
    reader = scene.token(roles=["reader"])
    listed = scene.ask(reader, "/v1/statistics", run="r").json()
    assert listed["series"] == [{"name": "auc", "epoch": "", "n": 6, "first": 10, "last": 40}]
    assert (listed["complete"], listed["next"]) == (True, None)
    found: list[tuple[int, float]] = []
    since = 0
    while since is not None:
        page = scene.ask(reader, "/v1/statistics", run="r", series="auc", since=since, limit=2).json()
        found += zip(page["times"], page["values"], strict=True)
        since = page["next"]
    assert found == list(zip(times.tolist(), (np.arange(6) / 8).tolist(), strict=True))
    part = scene.ask(reader, "/v1/statistics", run="r", series="auc", since=20, until=40).json()
    assert part["times"] == [20, 20, 20, 30]
    assert scene.ask(reader, "/v1/statistics", run="r", series="none").json()["times"] == []
    assert code(scene.ask(reader, "/v1/statistics")) == (400, "bad-request")


def test_agents_and_how_far_they_are(scene: Scene) -> None:
    token = scene.token()
    for name in ("agent-1", "agent-2", "agent-3"):
        scene.send(token, [started(name, "i/n", agent=name), param(name, 1, agent=name)])
    reader = scene.token(roles=["reader"])
    listed = [each for page in pages(scene, reader, "/v1/agents", "agents", limit=2) for each in page]
    assert [(e["agent"], e["acknowledged"]) for e in listed if e["agent"].startswith("agent")] == [
        ("agent-1", 1), ("agent-2", 1), ("agent-3", 1)
    ]  # fmt: skip


def test_models_the_current_one_and_why_of_a_prediction(
    store_url: str, tmp_path: Path, served: Callable[..., Scene]
) -> None:
    deployment = Deployment.make(tmp_path, store_url)
    trained = deployment.train()
    deployment.govern()
    served_rows = deployment.serve(rows=3)
    scene = served()
    reader = scene.token(roles=["reader"])
    (entry,) = scene.ask(reader, "/v1/models", ion=ION).json()["models"]
    assert (entry["model"], entry["serving"]) == (trained.model, [SERVING])
    assert scene.ask(reader, "/v1/models", ion="other").json() == {"models": [], "next": None}
    now = scene.ask(reader, f"/v1/nodes/{SERVING}/current").json()
    assert (now["model"], now["serial"], now["halted"]) == (trained.model, 1, False)
    why = scene.ask(reader, f"/v1/predictions/{served_rows.predictions[1]}/why").json()
    assert str(served_rows.predictions[1]) == why["prediction"]
    assert trained.model in str(why)
    assert scene.ask(reader, "/v1/facts", model=trained.model, kind="ModelRecorded").json()["facts"]
    assert scene.ask(reader, "/v1/facts", node=TRAINER, kind=NodeRunStarted.__name__).json()["facts"]
    deployment.close()


def test_an_auditor_walks_the_chain_from_outside(scene: Scene) -> None:
    scene.send(scene.token(), [started("r", "i/n"), param("r", 1)])
    auditor = scene.token(roles=["auditor"])
    chain = GENESIS
    for page in pages(scene, auditor, "/v1/ledger/entries", "entries", limit=2):
        for entry in page:
            chain = link(chain, b64decode(str(entry["record"])))
            assert chain.hex() == entry["link"]
    assert scene.ask(auditor, "/v1/head").json() == {"position": scene.store.head().position, "link": chain.hex()}
    assert code(scene.ask(auditor, "/v1/ledger/checkpoint")) == (404, "unknown-checkpoint")
    with scene.store.command() as command:
        command.record(CheckpointSigned(size=2, root="r", note="signed"))
    assert scene.ask(auditor, "/v1/ledger/checkpoint").json()["note"] == "signed"


def test_each_role_asks_what_it_may_and_nothing_else(scene: Scene) -> None:
    allowed = {"agent": {"agent"}, "reader": {"reader"}, "auditor": {"reader", "auditor"}}
    allowed["admin"] = {"agent", "reader", "auditor"}
    tokens = {role: scene.token(agents=["*"], roles=[role]) for role in allowed}
    guarded = [route for route in ROUTES if route.role and route.method == "GET"]
    assert len(guarded) >= 9
    for route in guarded:
        path = re.sub(r"{\w+}", "x", route.path)
        assert code(scene.client.get(path)) == (401, "no-token")
        for role, may in allowed.items():
            response = scene.ask(tokens[role], path)
            assert (response.status_code == 403) is (route.role not in may), (role, path, response.text)


WRONG = {
    "/v1/facts?limit=1001": (400, "bad-request"),
    "/v1/facts?limit=-1": (400, "bad-request"),
    "/v1/facts?limit=x": (400, "bad-request"),
    "/v1/facts?after=99999999999999999999": (400, "bad-request"),
    "/v1/facts?after=1&after=2": (400, "bad-request"),
    "/v1/facts?subject=%00": (400, "bad-request"),
    "/v1/facts?kind=Nonsense": (400, "bad-request"),
    "/v1/facts?sort=x": (400, "bad-request"),
    "/v1/agents/%00": (400, "bad-request"),
    "/v1/predictions/nonsense/why": (400, "bad-prediction-id"),
    "/v1/predictions/018f0000-0000-7000-8000-000000000000:1/why": (404, "unknown-prediction"),
    "/v1/nodes/A/b/current": (400, "bad-node"),
    "/v2/facts": (404, "not-found"),
}


def test_a_wrong_question_is_told_what_is_wrong(scene: Scene) -> None:
    token = scene.token(agents=["*"], roles=["admin"])
    for path, expected in WRONG.items():
        assert code(scene.client.get(path, headers={"Authorization": f"Bearer {token}"})) == expected, path


def test_the_description_names_every_route_parameter_and_role(tmp_path: Path) -> None:
    app = server_app(Home(tmp_path))
    described = document(ROUTES)["paths"]
    assert isinstance(described, dict)
    there = {
        (method, route.path)
        for route in app.routes
        if route.path != "/{rest:path}"
        for method in route.methods - {"HEAD"}
    }
    assert {(method.upper(), path) for path, methods in described.items() for method in methods} == there
    assert len(there) >= 14
    for route in ROUTES:
        operation = described[route.path][route.method.lower()]
        named = {(each["in"], each["name"]) for each in operation["parameters"]}
        assert named == {("query", each.name) for each in route.query} | {
            ("path", name) for name in re.findall(r"{(\w+)", route.path)
        }
        assert bool(operation["security"]) is (route.role is not None)
        assert ("requestBody" in operation) is bool(route.body)
    names = [operation["operationId"] for methods in described.values() for operation in methods.values()]
    assert len(names) == len(set(names))


def test_health_readiness_and_counters_need_no_token(scene: Scene) -> None:
    scene.send(scene.token(), [started("r", "i/n"), param("r", 1)])
    assert scene.client.get("/health").json() == {"status": "ok"}
    head = scene.store.head().position
    assert scene.client.get("/ready").json() == {"status": "ready", "head": head}
    assert scene.client.get("/openapi.json").json()["openapi"] == "3.1.0"
    text = scene.client.get("/metrics").text
    from prometheus_client.parser import text_string_to_metric_families

    read = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert read["ion_server_facts_total", "accepted"] == 2
    assert read["ion_store_head",] == head
    assert read["ion_server_requests_total", "/v1/agents/{agent}/facts", "200", "POST"] == 1
    assert read["ion_server_in_flight", "question"] == 1
    assert read["ion_server_body_bytes_total", "content"] > read["ion_server_body_bytes_total", "sent"] > 0
    assert "agent-1" not in text
