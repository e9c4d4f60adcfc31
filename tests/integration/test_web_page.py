"""The governance page over a real history: what it says, what it never says, and what no name can do to it."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
import warnings
from html import unescape

import pytest
import uvicorn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a successor of httpx that is not in use here
    from starlette.testclient import TestClient

from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.facts import AlertRaised, CheckEvaluated, ModelRecorded, PredictionsCommitted
from ion.graph import Definition
from ion.home import Home
from ion.testing import ION, SERVING, TRAINER, Deployment, History, make_history, trust_another
from ion.web import Links, standalone_app
from ion.web.network import draw
from ion.web.tally import Tally
from policies.catalog import clinical_high_risk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = "<script>document.title='owned'</script>"
IMAGE = '"><img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    made = make_history(tmp_path_factory.mktemp("history"))
    yield made
    made.deployment.close()


@pytest.fixture
def page(history: History) -> TestClient:
    links = Links("http://127.0.0.1:3000", "http://127.0.0.1:5000")
    return TestClient(standalone_app(history.deployment.home, links), base_url="http://127.0.0.1")


def text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def pages_reached(page: TestClient, start: str = "/ion/") -> dict[str, str]:
    """Follow every link of our own from the first page."""
    found: dict[str, str] = {}
    waiting = [start]
    while waiting:
        here = waiting.pop()
        if here in found or "/static/" in here:
            continue
        answer = page.get(here)
        assert answer.status_code == 200, f"{here}: {answer.status_code}"
        found[here] = answer.text
        waiting += [unescape(link) for link in re.findall(r'href="(/ion[^"#]*)"', answer.text)]
    return found


def test_the_catalogue_tells_verdict_serving_and_predictions(history: History, page: TestClient) -> None:
    html = page.get("/ion/").text
    rows = [text(row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)[1:]]
    assert len(rows) == 2
    bad, good = rows
    assert history.bad.model[7:19] in bad
    assert "Rejected no 0" in bad
    assert history.trained.model[7:19] in good
    assert f"Approved predictions {len(history.served.predictions)}" in good


def test_a_model_page_tells_reasons_lineage_signature_and_use(history: History, page: TestClient) -> None:
    told = text(page.get(f"/ion/models/{history.trained.model}").text)
    for reason in history.approved.reasons:
        assert reason.message in told
    for version in (history.trained.patients, history.trained.features, history.trained.heldout):
        assert f"{version.name} {version.digest[7:19]} {version.rows}" in told
    assert "expectations passed" in told
    assert "Signature Holds" in told
    assert history.served.epoch[:12] in told

    rejected = text(page.get(f"/ion/models/{history.bad.model}").text)
    assert "Rejected for patient_tests/predictions" in rejected
    assert "the SLA asks for at least" in rejected
    assert "It has never predicted" in rejected


def test_a_decision_whose_signature_does_not_hold_is_shown_so(tmp_path: Path, history: History) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(history.deployment.home.root, copy)
    trust_another(Home(copy), Home(tmp_path / "other"))
    page = TestClient(standalone_app(Home(copy)), base_url="http://127.0.0.1")
    assert "Signature Does not hold" in text(page.get(f"/ion/models/{history.trained.model}").text)


def test_every_page_is_reached_by_links_and_tells_no_secret_and_no_row(history: History, page: TestClient) -> None:
    found = pages_reached(page)
    kinds = {address.split("/")[2] for address in found}
    assert {"", "models", "datasets", "ions", "predictions"} <= kinds
    everything = "\n".join(found.values())
    home = history.deployment.home
    key = history.deployment.store.capture_key(history.served.capture_key)
    assert key
    secrets = [(home.keys / "decision.pem").read_text().splitlines()[1], key.secret.hex(), str(home.root)]
    values = [repr(value) for row in history.served.inputs for value in row if len(repr(value)) > 6]
    assert values
    for secret in (*secrets, *values):
        assert secret not in everything


def test_a_prediction_is_explained(history: History, page: TestClient) -> None:
    told = text(page.get(f"/ion/predictions/{history.served.predictions[0]}").text)
    assert "Was it allowed" in told
    assert "signature verified" in told
    assert history.trained.features.digest[7:19] in told


@pytest.mark.parametrize("length", [6, 12, 64])
def test_search_goes_to_the_one_thing_that_fits(history: History, page: TestClient, length: int) -> None:
    answer = page.get("/ion/search", params={"q": history.trained.model[7 : 7 + length]}, follow_redirects=False)
    assert answer.headers["location"] == f"/ion/models/{history.trained.model}"


def test_search_knows_predictions_datasets_and_ions_and_says_when_nothing_fits(
    history: History, page: TestClient
) -> None:
    for asked, place in (
        (str(history.served.predictions[1]), f"/ion/predictions/{history.served.predictions[1]}"),
        (history.trained.patients.digest, f"/ion/datasets/{history.trained.patients.digest}"),
        (ION, f"/ion/ions/{ION}"),
    ):
        assert page.get("/ion/search", params={"q": asked}, follow_redirects=False).headers["location"] == place
    nothing = page.get("/ion/search", params={"q": SCRIPT})
    assert "Nothing fits" in text(nothing.text)
    assert "<script" not in nothing.text


@pytest.mark.parametrize("place", ["models/sha256:00", "datasets/x", "ions/none", "predictions/no", "no/such/page"])
def test_what_is_not_known_is_a_404_with_a_way_out(page: TestClient, place: str) -> None:
    answer = page.get(f"/ion/{place}")
    assert answer.status_code == 404
    assert "This cannot be shown" in answer.text


def test_a_foreign_host_name_is_refused_and_every_answer_is_guarded(history: History, page: TestClient) -> None:
    assert page.get("/ion/", headers={"Host": "attacker.example"}).status_code == 400
    for place in ("/ion/", f"/ion/models/{history.trained.model}", "/ion/nothing", "/ion/static/ion.css"):
        headers = page.get(place).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_a_foreign_store_is_said_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database at all" * 100)
    page = TestClient(standalone_app(Home(tmp_path)), base_url="http://127.0.0.1")
    answer = page.get("/ion/")
    assert answer.status_code == 503
    assert "cannot open the governance store" in text(answer.text)
    assert (tmp_path / "store.db").read_bytes().startswith(b"not a database")


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    page = TestClient(standalone_app(Home(tmp_path)), base_url="http://127.0.0.1")
    assert "No ION is defined yet" in text(page.get("/ion/").text)


def test_predictions_told_twice_count_once_and_new_ones_are_seen(tmp_path: Path) -> None:
    made = make_history(tmp_path / "history")
    tally = Tally(made.deployment.store)
    many = len(made.served.predictions)
    assert tally.total(made.trained.model, made.trained.run) == many
    (committed,) = made.deployment.store.find(PredictionsCommitted)
    made.deployment.client.emit(committed.fact)
    made.deployment.client.ship()
    assert tally.total(made.trained.model, made.trained.run) == many
    made.deployment.serve(rows=3)
    assert tally.total(made.trained.model, made.trained.run) == many + 3
    assert tally.total(made.trained.model, "another run that made the same bytes") == 0
    made.deployment.close()


def hostile_history(root: Path) -> tuple[History, str]:
    """Record a model whose every free text attacks the page; returns its digest."""
    made = make_history(root)
    model = digest_bytes(b"hostile")
    dataset = digest_bytes(b"hostile rows")
    client = made.deployment.client
    with client.node_run(
        TRAINER, kind="training", code={"commit": SCRIPT, "dirty": IMAGE}, config={SCRIPT: IMAGE}
    ) as run:
        run.param(SCRIPT, IMAGE, component=IMAGE)
        run.trial({SCRIPT: IMAGE}, {IMAGE: 0.5}, selected=True)
        run.component(SCRIPT, IMAGE, {SCRIPT: [IMAGE, {IMAGE: SCRIPT}]})
        run.emit(
            ModelRecorded(
                run=run.id,
                node=TRAINER,
                model=model,
                name=SCRIPT,
                format=IMAGE,
                size=1,
                features=[SCRIPT],
                label=IMAGE,
                input_schema=[{SCRIPT: IMAGE}],
                output_schema=[],
                metrics={SCRIPT: IMAGE},
                datasets={SCRIPT: dataset},
                links={"mlflow_run": "r", "mlflow_url": "javascript:document.title='owned'"},
            )
        )
        run.emit(CheckEvaluated(run=run.id, asset=SCRIPT, name=IMAGE, dataset=dataset, passed=False, severity=SCRIPT))
        run.emit(AlertRaised(scope=run.id, alert=SCRIPT, message=IMAGE))
    client.ship()
    return made, model


def test_what_waits_for_people_is_shown_with_what_to_sign_and_who_signed(tmp_path: Path) -> None:
    deployment = Deployment.make(tmp_path / "home")
    anna, ben = deployment.introduce("anna"), deployment.introduce("ben")
    page = TestClient(standalone_app(deployment.home), base_url="http://127.0.0.1")
    assert "Nothing waits for people" in text(page.get("/ion/pending").text)
    model = deployment.train(submitter="carol").model
    deployment.govern(lambda _: clinical_high_risk)
    deployment.speak(anna, model, reason=SCRIPT)
    deployment.govern(lambda _: clinical_high_risk)
    for place in ("/ion/pending", f"/ion/models/{model}"):
        shown = page.get(place).text
        assert SCRIPT not in shown
        assert f'ion approve {model} --node {SERVING} --reason "…"' in text(shown)
        assert "signed: anna; may still sign: ben" in text(shown)
        assert "rejected if not approved before" in text(shown)
    deployment.speak(ben, model, reason="it was tried")
    deployment.govern(lambda _: clinical_high_risk)
    assert "Nothing waits for people" in text(page.get("/ion/pending").text)
    shown = text(page.get(f"/ion/models/{model}").text)
    assert "2 of 2 in the role approver signed" in shown
    assert f"Anna approve {shown.partition('Anna approve ')[2][:19]} {SCRIPT} Holds" in shown
    deployment.close()


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    made, model = hostile_history(tmp_path / "history")
    page = TestClient(standalone_app(made.deployment.home), base_url="http://127.0.0.1")
    for place in ("/ion/", f"/ion/models/{model}", f"/ion/ions/{ION}"):
        html = page.get(place).text
        assert "<script" not in html
        assert "<img src=x" not in html
        assert 'href="javascript' not in html
        assert "&lt;" in html
    assert "<script>document" in unescape(page.get(f"/ion/models/{model}").text)
    made.deployment.close()


def test_links_of_other_systems_are_made_only_where_they_lead_somewhere() -> None:
    assert Links().dagster_run("r") == ""
    assert Links("/").dagster_run("a/b") == "/runs/a%2Fb"
    assert Links("http://d").dagster_asset("i/model") == "http://d/assets/i/model"
    assert (
        Links(mlflow="http://m").mlflow_run({"mlflow_run": "r", "mlflow_experiment": "1"})
        == "http://m/#/experiments/1/runs/r"
    )
    assert Links().mlflow_run({"mlflow_url": "javascript:x"}) == ""
    assert Links().mlflow_run({"mlflow_url": "https://m/x"}) == "https://m/x"


def test_a_graph_with_a_cycle_is_drawn_inside_its_frame() -> None:
    names = ["a", "b", "c"]
    nodes = [{"name": name, "kind": "custom"} for name in names]
    pairs = [("a", "b"), ("b", "c"), ("c", "a"), ("b", "b")]
    edges = [{"from": sender, "to": receiver, "message": "event"} for sender, receiver in pairs]
    drawing = draw(Definition.from_json({"ion": "round", "nodes": nodes, "edges": edges}))
    assert [node.x for node in drawing.nodes] == sorted({node.x for node in drawing.nodes})
    numbers = [int(number) for edge in drawing.edges for number in re.findall(r"\d+", edge.path)]
    assert len(drawing.edges) == len(pairs)
    assert max(numbers) <= max(drawing.width, drawing.height)
    assert all(
        node.x + node.width <= drawing.width and node.y + node.height <= drawing.height for node in drawing.nodes
    )


# --- in a real browser


@pytest.fixture
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("needs Chromium")
    return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, History, str]]:
    made, hostile = hostile_history(tmp_path / "history")
    server = uvicorn.Server(uvicorn.Config(standalone_app(made.deployment.home), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 10
    while not server.started and time.monotonic() < end:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/ion", made, hostile
    server.should_exit = True
    thread.join(5)
    made.deployment.close()


def browse(chromium: str, profile: Path, *arguments: str) -> str:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--hide-scrollbars"]
    ran = subprocess.run([chromium, *options, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.integration
def test_a_browser_shows_the_model_and_runs_nothing(
    chromium: str, served: tuple[str, History, str], tmp_path: Path
) -> None:
    base, made, hostile = served
    good = browse(chromium, tmp_path / "profile", "--dump-dom", f"{base}/models/{made.trained.model}")
    assert "recommender" in good
    assert "Signature" in good
    dom = browse(chromium, tmp_path / "profile", "--dump-dom", f"{base}/models/{hostile}")
    assert "<title>owned" not in dom
    assert "<title>1" not in dom
    assert "<script" not in dom
    assert "onerror=" not in re.sub(r">[^<]*<", "><", dom).replace("title=", "")


@pytest.mark.integration
def test_a_browser_draws_the_graph_with_its_style(
    chromium: str, served: tuple[str, History, str], tmp_path: Path
) -> None:
    base, _, _ = served
    picture = tmp_path / "ion.png"
    browse(chromium, tmp_path / "profile", f"--screenshot={picture}", "--window-size=1000,700", f"{base}/ions/{ION}")
    import matplotlib.image

    pixels = matplotlib.image.imread(picture)[..., :3]
    # The training node's border is #1f5f8b: the drawing is there, and the style sheet was allowed in.
    near = abs(pixels * 255 - (0x1F, 0x5F, 0x8B)).sum(axis=-1) < 30
    assert near.sum() > 100
