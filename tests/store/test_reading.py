"""What runs recorded is read back: exactly what was meant, with its holes, in the form that was asked for."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import ion
from ion.agent import opening
from ion.errors import IonError
from ion.facts import GapNoted, ParamRecorded
from ion.testing import SERVING, TRAINER, History, make_history

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3_600_000_000
START = 1_800_000_000_000_000


@pytest.fixture
def home(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ION_HOME", str(tmp_path))
    monkeypatch.setenv("ION_STORE_URL", store_url)
    yield tmp_path
    for client in opening._shared.values():
        client.close()
    opening._shared.clear()


@pytest.fixture
def history(home: Path, store_url: str) -> Iterator[History]:
    made = make_history(home, store_url)
    yield made
    made.deployment.close()


@pytest.mark.usefixtures("home")
def test_a_running_pipeline_reads_what_it_and_others_told() -> None:
    other = ion.open_client(name="other")
    with other.node_run("wines/taste", kind="custom") as told:
        told.event("opened", bottle=3)
    with ion.node_run("wines/growers") as run:
        run.event("picked", rows=7, by="Ann")
        run.stat("rows", 7)  # in memory for up to a second
        assert ion.stats("rows", run=run.id)["value"].tolist() == [7.0]
        frame = ion.events(ion="wines")
        assert list(frame["name"]) == ["opened", "picked"]
        assert list(frame["node"]) == ["wines/taste", "wines/growers"]
        assert list(frame["attributes"]) == [{"bottle": 3}, {"rows": 7, "by": "Ann"}]
        assert frame["time"].is_monotonic_increasing
        assert frame.attrs["gaps"] == []
    other.close()


@pytest.mark.usefixtures("home")
def test_everything_given_must_hold() -> None:
    runs = []
    for node in ("wines/a", "wines/b", "beers/a"):
        with ion.node_run(node) as run:
            run.event("e", at=node)
            run.event("f", at=node)
            runs.append(run.id)

    def nodes(**where: object) -> list[str]:
        return [row["node"] for row in ion.events(as_="rows", **where)]

    assert nodes() == [node for node in ("wines/a", "wines/b", "beers/a") for _ in "ef"]
    assert nodes(ion="wines") == ["wines/a"] * 2 + ["wines/b"] * 2
    assert nodes(name="e", ion="wines") == ["wines/a", "wines/b"]
    assert nodes(node="wines/b", ion="wines") == ["wines/b"] * 2
    assert nodes(node="beers/a", ion="wines") == []
    assert nodes(run=runs[0]) == ["wines/a"] * 2
    assert nodes(run=runs[0], node="wines/b") == []
    assert nodes(limit=1) == ["beers/a"]
    assert nodes(limit=0) == []
    assert nodes(ion="win") == []


@pytest.mark.usefixtures("home")
def test_times_bound_an_answer_from_inclusive_to_exclusive() -> None:
    with ion.node_run("wines/a") as run:
        for number in range(4):
            run.event("e", number=number)
    rows = ion.events(as_="rows")
    first, last = rows[1]["time"], rows[3]["time"]
    assert [row["attributes"]["number"] for row in ion.events(since=first, until=last, as_="rows")] == [1, 2]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert ion.events(since=later, as_="rows") == []
    assert len(ion.events(since=0, until=int(later.timestamp() * 1e6), as_="rows")) == 4
    with pytest.raises(IonError) as caught:
        ion.events(since=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
    assert caught.value.code == "bad-time"


@pytest.mark.usefixtures("home")
def test_an_answer_is_the_same_in_every_form() -> None:
    with ion.node_run("wines/a") as run:
        run.param("depth", 5)
        run.param("names", ["a", "é"], component="c")
        run.gap("rows", 3, "lost")
    rows = ion.facts("ParamRecorded", as_="rows")
    pandas, polars, arrow = (ion.facts(ParamRecorded, as_=form) for form in ("pandas", "polars", "arrow"))
    assert [row["value"] for row in rows] == [5, ["a", "é"]]
    assert isinstance(pandas, pd.DataFrame)
    assert pandas["value"].tolist() == [5, ["a", "é"]]
    assert isinstance(polars, pl.DataFrame)
    assert polars["value"].to_list() == ["5", '["a", "é"]']
    assert isinstance(arrow, pa.Table)
    assert arrow["value"].to_pylist() == ["5", '["a", "é"]']
    for column in ("position", "run", "name", "component", "time"):
        told = [row[column] for row in rows]
        assert arrow[column].to_pylist() == told
        assert polars[column].to_list() == told
        assert [each.to_pydatetime() if column == "time" else each for each in pandas[column]] == told
    assert pandas.attrs["gaps"][0]["count"] == 3
    assert b'"count": 3' in arrow.schema.metadata[b"ion:gaps"]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("form", ["pandas", "polars", "arrow", "rows"])
def test_nothing_is_an_answer_too(form: str) -> None:
    with ion.node_run("wines/a"):
        pass
    for asked in (ion.events, ion.models, ion.stats, ion.gaps):
        assert len(asked(as_=form)) == 0
    assert len(ion.facts("GapNoted", as_=form)) == 0


def test_models_tell_their_verdict_and_where_they_serve(history: History) -> None:
    frame = ion.models()
    assert frame["model"].tolist() == [history.trained.model, history.bad.model]
    assert frame["verdict"].tolist() == ["approve", "reject"]
    assert frame["serving"].tolist() == [[SERVING], []]
    assert frame["metrics"][0]["roc_auc"] > 0.9
    (row,) = ion.models(model=history.bad.model, as_="rows")
    assert (row["run"], row["node"]) == (history.bad.run, TRAINER)
    assert len(ion.models(node=TRAINER, limit=1)) == 1
    assert ion.models(ion="elsewhere", as_="rows") == []


def test_a_model_reaches_what_made_it_and_where_it_served(history: History) -> None:
    by_model = ion.stats(model=history.trained.model, as_="rows")
    assert [(row["series"], row["node"], row["epoch"]) for row in by_model] == [
        ("loss", TRAINER, ""),
        ("predictions", SERVING, history.served.epoch),
    ]
    bad = ion.stats(model=history.bad.model, as_="rows")
    assert [(row["series"], row["run"]) for row in bad] == [("loss", history.bad.run)]
    assert ion.stats("loss", model=history.trained.model, node=SERVING, as_="rows") == []
    kinds = {
        kind: len(ion.facts(kind, model=history.trained.model, as_="rows"))
        for kind in ("ModelRecorded", "NodeRunEnded", "DecisionMade", "EpochOpened", "PredictionsCommitted")
    }
    assert kinds == {
        "ModelRecorded": 1,
        "NodeRunEnded": 1,
        "DecisionMade": 1,
        "EpochOpened": 1,
        "PredictionsCommitted": 1,
    }


@pytest.mark.usefixtures("home")
def test_points_come_back_bit_by_bit_in_the_order_of_their_times() -> None:
    values = np.random.default_rng(3).normal(size=1000)
    times = START + np.arange(1000) * HOUR // 100
    with ion.node_run("wines/a") as run:
        run.stats_many("acid", values[500:], times[500:])
        run.stats_many("acid", values[:500], times[:500], epoch="first")
        run.stats_many("sugar", [1.0, 2.0], times[:2])
    frame = ion.stats("acid", run=run.id)
    assert frame["value"].to_numpy().tobytes() == values.tobytes()
    assert (frame["time"].astype("int64").to_numpy() == times).all()
    assert frame["epoch"].tolist() == ["first"] * 500 + [""] * 500
    within = ion.stats("acid", since=int(times[100]), until=int(times[200]))
    assert within["value"].tolist() == values[100:200].tolist()
    assert ion.stats(limit=2, as_="rows") == ion.stats(as_="rows")[-2:]
    both = ion.stats(["acid", "sugar"], as_="arrow")
    assert both.num_rows == 1002
    assert set(both["series"].to_pylist()) == {"acid", "sugar"}
    assert ion.stats("salt", as_="rows") == []


@pytest.mark.usefixtures("home")
def test_an_answer_names_the_holes_it_has() -> None:
    with ion.node_run("wines/a") as run:
        run.stat("acid", 1.0)
        run.stat("acid", float("nan"))
    with ion.node_run("wines/b") as other:
        other.gap("rows", 9, "elsewhere")
    (hole,) = ion.stats("acid", node="wines/a").attrs["gaps"]
    assert (hole["scope"], hole["count"]) == (run.id, 1)
    assert ion.gaps(node="wines/a")["count"].tolist() == [1]
    assert ion.gaps()["count"].tolist() == [1, 9]


@pytest.mark.usefixtures("home")
def test_a_hole_of_the_agent_belongs_to_what_it_told() -> None:
    client = ion.open_client(name="other")
    with client.node_run("wines/a", kind="custom") as run:
        run.event("e")
    client.emit(GapNoted(scope=client.agent, what="facts", count=2, reason="the disk was full"))
    client.close()
    assert [hole["count"] for hole in ion.events(run=run.id).attrs["gaps"]] == [2]
    assert ion.gaps(run=run.id, as_="rows")[0]["scope"] == client.agent


def test_a_store_that_is_away_or_was_never_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ION_HOME", str(tmp_path / "none"))
    for asked in (ion.events, ion.models, ion.stats, ion.gaps):
        with pytest.raises(IonError) as caught:
            asked()
        assert caught.value.code == "no-home"
    assert not (tmp_path / "none").exists()
    monkeypatch.setenv("ION_STORE_URL", "spool:hand")
    with pytest.raises(IonError) as caught:
        ion.events()
    assert caught.value.code == "store-elsewhere"


@pytest.mark.usefixtures("home")
def test_what_cannot_be_asked_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with ion.node_run("wines/a"):
        pass
    with pytest.raises(IonError) as caught:
        ion.facts("ModelEaten")
    assert caught.value.code == "unknown-kind"
    with pytest.raises(IonError) as caught:
        ion.events(as_="excel")
    assert caught.value.code == "bad-form"
    with pytest.raises(TypeError):
        ion.events(nodes="wines/a")
    for form in ("pandas", "polars", "pyarrow"):
        monkeypatch.setitem(sys.modules, form, None)
        with pytest.raises(IonError) as caught:
            ion.events(as_="arrow" if form == "pyarrow" else form)
        assert caught.value.code == "extra-missing"
    assert ion.events(as_="rows") == []


def test_the_module_of_the_facts_is_still_a_module() -> None:
    from ion import facts

    assert facts.KINDS["GapNoted"] is GapNoted
    assert callable(facts)
