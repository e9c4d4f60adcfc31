"""The timeline merges all nodes of one ION; the catalogue and the list of predictions fold out of the same facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ion.clock import Stamp
from ion.errors import IonError
from ion.facts import AlertRaised, EpochOpened, GapNoted, IonDefined, NodeRunEnded, NodeRunStarted
from ion.graph import catalogue, find_model, find_prediction, predictions, timeline
from ion.ids import PredictionId, new_id
from ion.records import write_record
from ion.testing import POLICY, SERVING, TRAINER, History
from tests.store.complete_history import complete_history

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def history(tmp_path: Path) -> History:
    return complete_history(tmp_path / "home")


def test_all_nodes_in_one_line_of_time(tmp_path: Path, store_url: str) -> None:
    history = complete_history(tmp_path / "home", store_url)
    events = timeline(history.deployment.store, "patient_tests")
    assert [(e.us, e.position) for e in events] == sorted((e.us, e.position) for e in events)
    assert {e.node for e in events} == {"", TRAINER, POLICY, SERVING}
    story = ["IonDefined", "ModelRecorded", "DecisionMade", "Promoted", "EpochOpened", "PredictionsCommitted"]
    first = [next(i for i, event in enumerate(events) if event.kind == kind) for kind in story]
    assert first == sorted(first)
    by_kind = {event.kind: event for event in events}
    assert by_kind["DecisionMade"].node == POLICY
    assert by_kind["Promoted"].node == SERVING
    assert "reject" in by_kind["DecisionMade"].summary
    assert "roc_auc is" in by_kind["DecisionMade"].summary


def test_events_of_slow_agents_are_sorted_in_by_their_time(history: History) -> None:
    store = history.deployment.store
    opened = store.latest(EpochOpened, history.served.epoch)
    assert opened
    earlier = [
        write_record(fact, fact_id=new_id(), agent="slow", seq=seq, stamp=Stamp(opened.us - 1))
        for seq, fact in enumerate(
            [
                NodeRunStarted(run="r", node=f"{SERVING}", node_kind="inference"),
                NodeRunEnded(run="r", status="failed", error="it was slow"),
            ]
        )
    ]
    store.append(earlier)
    events = timeline(store, "patient_tests")
    late = next(i for i, e in enumerate(events) if e.summary == "run failed: it was slow")
    assert events[late].node == SERVING
    assert events[late + 1].kind == "EpochOpened"


def test_another_ions_events_are_left_out(history: History) -> None:
    client = history.deployment.client
    with client.node_run("readmission/score", kind="custom") as run:
        run.alert("drift", "elsewhere")
        client.emit(GapNoted(scope=run.id, what="x", count=1, reason="elsewhere"))
    client.ship()
    mine = timeline(history.deployment.store, "patient_tests")
    assert not [event for event in mine if "readmission" in event.node or "elsewhere" in event.summary]
    theirs = timeline(history.deployment.store, "readmission")
    assert [event.kind for event in theirs] == ["NodeRunStarted", "AlertRaised", "GapNoted", "NodeRunEnded"]


def test_gaps_and_alerts_stand_at_the_node_they_are_about(history: History) -> None:
    client = history.deployment.client
    client.emit(GapNoted(scope=history.served.epoch, what="predictions", count=2, reason="lost"))
    client.emit(AlertRaised(scope=history.trained.run, alert="odd", message="look"))
    client.ship()
    newest = timeline(history.deployment.store, "patient_tests", limit=2)
    assert [(event.node, event.summary) for event in newest] == [
        (SERVING, "gap: 2 predictions: lost"),
        (TRAINER, "alert odd: look"),
    ]


def test_an_unknown_ion_is_an_error_that_names_the_known(history: History) -> None:
    with pytest.raises(IonError) as raised:
        timeline(history.deployment.store, "nothing")
    assert (raised.value.code, raised.value.hint) == ("unknown-ion", "known: patient_tests")


def test_the_catalogue_tells_verdict_place_and_use(tmp_path: Path, store_url: str) -> None:
    history = complete_history(tmp_path / "home", store_url)
    history.deployment.serve(rows=3)
    bad, good = catalogue(history.deployment.store)
    assert (bad.model, bad.verdict, bad.serving, bad.predictions) == (history.bad.model, "reject", (), 0)
    assert any("roc_auc" in str(reason["message"]) for reason in bad.reasons if reason["verdict"] == "reject")
    assert (good.model, good.verdict, good.serving) == (history.trained.model, "approve", (SERVING,))
    assert [use.predictions for use in good.used] == [5, 3]
    assert good.predictions == 8
    assert good.as_dict()["predictions"] == 8
    history.deployment.promotions().halt(SERVING, reason="test", by="tester")
    assert catalogue(history.deployment.store)[1].serving == ()


def test_an_undecided_candidate_is_in_the_catalogue(history: History) -> None:
    history.deployment.train(seed=8)
    newest = catalogue(history.deployment.store)[0]
    assert (newest.verdict, newest.decision) == ("", "")
    assert newest.as_dict()["verdict"] is None


def test_the_same_bytes_of_two_runs_are_two_candidates_and_only_one_is_used(history: History) -> None:
    again = history.deployment.train(seed=8)
    assert again.model == history.trained.model
    used = {entry.run: entry.predictions for entry in catalogue(history.deployment.store)}
    assert used == {history.trained.run: 5, again.run: 0, history.bad.run: 0}
    history.deployment.govern()
    history.deployment.serve(rows=2)
    used = {entry.run: entry.predictions for entry in catalogue(history.deployment.store)}
    assert used == {history.trained.run: 5, again.run: 2, history.bad.run: 0}


def test_predictions_are_listed_newest_first(history: History) -> None:
    later = history.deployment.serve(rows=3, capture=False)
    found = predictions(history.deployment.store, "patient_tests", 5)
    expected = [*reversed(later.predictions), history.served.predictions[4], history.served.predictions[3]]
    assert [entry.prediction for entry in found] == expected
    assert [entry.captured for entry in found] == [False, False, False, True, True]
    assert {entry.model for entry in found} == {history.trained.model}
    with pytest.raises(IonError, match="unknown-ion"):
        predictions(history.deployment.store, "nothing", 5)


def test_a_defined_ion_without_predictions_has_none(history: History) -> None:
    with history.deployment.store.command() as command:
        command.record(IonDefined(ion="empty", version="v", definition={}))
    assert predictions(history.deployment.store, "empty", 5) == []


def test_the_beginning_of_a_name_is_enough_when_it_is_unique(history: History) -> None:
    store, model = history.deployment.store, history.trained.model
    assert find_model(store, model) == model
    assert find_model(store, model[7:15]) == model
    for text, code in (("abc", "bad-prefix"), ("0" * 12, "unknown-model")):
        with pytest.raises(IonError) as raised:
            find_model(store, text)
        assert raised.value.code == code
    prediction = history.served.predictions[1]
    assert find_prediction(store, f"{prediction.epoch[:-4]}:1") == prediction
    assert find_prediction(store, f" {prediction} ") == prediction
    later = history.deployment.serve()
    shared = "".join(a for a, b in zip(prediction.epoch[:9], later.epoch[:9], strict=True) if a == b)
    with pytest.raises(IonError) as raised:
        find_prediction(store, f"{shared[:3]}:1")
    assert raised.value.code == "ambiguous"
    for text, code in (("zzz:1", "unknown-prediction"), ("abc", "bad-prediction-id"), ("abc:x", "bad-prediction-id")):
        with pytest.raises(IonError) as raised:
            find_prediction(store, text)
        assert raised.value.code == code
    unknown = PredictionId(new_id(), 3)
    assert find_prediction(store, str(unknown)) == unknown
