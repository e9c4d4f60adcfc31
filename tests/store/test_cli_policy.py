"""`ion policy`: sets listed and shown, a draft tried on the past, one published."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ion import __version__
from ion.cli import run
from ion.decision import load_policy_set
from ion.facts import PolicySetPublished
from ion.testing import SERVING, make_history
from policies.metrics import metric_at_least

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.testing import History

IN_FORCE = load_policy_set("policies.catalog:clinical_low_risk")


@pytest.fixture
def history(isolated: Path) -> Iterator[History]:
    made = make_history(isolated / ".ion")
    yield made
    made.deployment.close()


@pytest.fixture(autouse=True)
def drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts in a module of their own: one stricter than what is in force, one that is no policy set."""
    module = ModuleType("drafts")
    strict = [metric_at_least("roc_auc", 0.9999), *IN_FORCE.policies[1:]]
    module.strict = replace(IN_FORCE, name="strict", module="drafts", policies=strict)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "drafts", module)


def ion(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def text(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert run(arguments) == code
    return capsys.readouterr().out


def test_sets_are_listed_with_what_they_decide_and_whether_they_are_as_published(
    history: History, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history
    listed = {each["reference"]: each for each in ion(capsys, "policy", "list")["policy_sets"]}
    assert {"policies.catalog:standard", "policies.catalog:fast_track"} <= set(listed)
    mine = listed[IN_FORCE.reference]
    assert (mine["nodes"], mine["state"], mine["published"]) == (["patient_tests/approval"], "not published", None)
    assert mine["digest"] == IN_FORCE.digest(__version__)
    ion(capsys, "policy", "publish", "clinical_low_risk")
    assert "as published" in text(capsys, "policy", "show", "clinical_low_risk")
    from policies import catalog

    monkeypatch.setattr(catalog, "clinical_low_risk", replace(IN_FORCE, valid_days=1))
    assert ion(capsys, "policy", "show", "clinical_low_risk")["state"] == "changed since it was published"
    monkeypatch.delattr(catalog, "clinical_low_risk")
    gone = {each["reference"]: each for each in ion(capsys, "policy", "list")["policy_sets"]}[IN_FORCE.reference]
    assert (gone["state"], gone["digest"]) == ("not in the code", None)
    assert "not in the code" in text(capsys, "policy", "list")


def test_a_set_is_shown_with_all_that_its_digest_covers(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    assert history
    shown = ion(capsys, "policy", "show", "fast_track")
    assert shown["content"]["automatic_review_share"] == 0.1
    assert {"name": "same_inputs_as_current", "parameters": {}} in shown["content"]["policies"]
    assert "fast_track.py" in shown["content"]["sources"]
    assert "10% of its automatic approvals" in text(capsys, "policy", "show", "fast_track")
    assert ion(capsys, "policy", "show", "nothing", code=2)["error"]["code"] == "unknown-policy-set"


def test_a_draft_that_differs_is_told_with_both_reasons(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    same = ion(capsys, "policy", "test", "clinical_low_risk")
    assert (same["tried"], same["differing"]) == (2, 0)
    told = ion(capsys, "policy", "test", "drafts:strict", code=1)
    assert (told["tried"], told["differing"]) == (2, 1)
    (differing,) = [trial for trial in told["trials"] if trial["differs"]]
    assert (differing["model"], differing["then"]["verdict"], differing["draft"]["verdict"]) == (
        history.trained.model, "approve", "reject",
    )  # fmt: skip
    assert differing["unlike_then"] == []
    shown = text(capsys, "policy", "test", "drafts:strict", code=1)
    assert "approve → reject" in shown
    assert "the SLA asks for at least 0.9999" in shown
    assert "2 candidates judged, 1 would have been decided otherwise" in shown
    assert ion(capsys, "policy", "test", "drafts:strict", "--since", "2200-01-01")["tried"] == 0
    assert ion(capsys, "policy", "test", "drafts:strict", "--ion", "wines")["tried"] == 0


def test_publishing_says_what_serves_and_would_not_be_approved(
    history: History, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ion(capsys, "policy", "publish", "clinical_low_risk")
    assert (done["new"], [each["verdict"] for each in done["serving"]]) == (True, ["approve"])
    assert "is published already" in text(capsys, "policy", "publish", "clinical_low_risk")
    from policies import catalog

    drafts = sys.modules["drafts"]
    strict = replace(drafts.strict, name="clinical_low_risk", module="policies.catalog")
    monkeypatch.setattr(catalog, "clinical_low_risk", strict)
    done = ion(capsys, "policy", "publish", "clinical_low_risk", code=1)
    (serving,) = done["serving"]
    assert (serving["node"], serving["verdict"]) == (SERVING, "reject")
    facts = [record.fact for record in history.deployment.store.find(PolicySetPublished)]
    assert len(facts) == 2
    assert all(fact.by for fact in facts)
    assert history.deployment.store.current(SERVING).model == history.trained.model


def test_an_ion_of_another_time_is_no_error(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    """The ION was redefined since: the checks of then are asked for."""
    from ion.graph.definition import Definition, define
    from ion.testing import DEFINITION

    without: dict[str, Any] = json.loads(json.dumps(dict(DEFINITION)))
    without["datasets"] = []
    define(history.deployment.store, Definition.from_json(without))
    told = ion(capsys, "policy", "test", "clinical_low_risk")
    assert (told["differing"], [trial["unlike_then"] for trial in told["trials"]]) == (0, [[], []])
