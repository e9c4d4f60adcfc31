"""Figures are told as they are, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import ion
from ion.agent import Client
from ion.errors import IonError
from ion.facts import CategoriesRecorded, EventRecorded, FigureRecorded
from ion.home import Home
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def receiver() -> MemoryReceiver:
    return MemoryReceiver()


@pytest.fixture
def run(tmp_path: Path, receiver: MemoryReceiver) -> Iterator[ion.NodeRun]:
    client = Client(Home(tmp_path), "test", receiver)
    yield client.node_run("patient_tests/model", kind="training")
    client.close()


def figures(run: ion.NodeRun, receiver: MemoryReceiver) -> list[FigureRecorded]:
    run.client.ship()
    return receiver.facts(FigureRecorded)


class FakeFrame:
    """What of a data frame is used."""

    columns = ("city", "count")

    def __getitem__(self, name: object) -> np.ndarray:
        return {"city": np.array(["Bern", "Basel"]), "count": np.array([3, 4])}[str(name)]


def test_each_shape_arrives_as_plain_json(run: ion.NodeRun, receiver: MemoryReceiver) -> None:
    run.vector("importance", np.array([0.5, 0.25], dtype=np.float32))
    run.table("by city", FakeFrame())
    run.table("worst", {"row": (1, 2), "why": ["blank", None], "seen": [True, False], "share": [0.5, None]})
    run.matrix("confusion", np.array([[5, 1], [0, 7]]), rows=["no", "yes"], columns=["no", "yes"], epoch="e1")
    run.lines("roc", {"benign": ([0, 0.5, 1], [0, 0.9, 1]), "malign": (np.linspace(0, 1, 2), [0, 1])})
    told = figures(run, receiver)
    assert [(fact.name, fact.shape) for fact in told] == [
        ("importance", "vector"),
        ("by city", "table"),
        ("worst", "table"),
        ("confusion", "matrix"),
        ("roc", "lines"),
    ]
    assert told[0].figure == {"values": [0.5, 0.25]}
    assert told[1].figure == {
        "columns": [{"name": "city", "values": ["Bern", "Basel"]}, {"name": "count", "values": [3, 4]}]
    }
    assert told[2].figure["columns"][1:3] == [  # type: ignore[index]
        {"name": "why", "values": ["blank", None]},
        {"name": "seen", "values": [True, False]},
    ]
    assert told[3].figure == {"rows": ["no", "yes"], "columns": ["no", "yes"], "values": [[5, 1], [0, 7]]}
    assert (told[3].epoch, told[3].run) == ("e1", run.id)
    assert told[4].figure == {
        "lines": [
            {"label": "benign", "x": [0, 0.5, 1], "y": [0, 0.9, 1]},
            {"label": "malign", "x": [0, 1], "y": [0, 1]},
        ]
    }


WRONG: dict[str, Callable[[ion.NodeRun], None]] = {
    "nan": lambda run: run.vector("f", [1.0, float("nan")]),
    "infinity": lambda run: run.vector("f", np.array([np.inf])),
    "a text as vector": lambda run: run.vector("f", "abc"),
    "a number as vector": lambda run: run.vector("f", 5.0),
    "texts in a vector": lambda run: run.vector("f", ["a"]),
    "truths in a vector": lambda run: run.vector("f", [True]),
    "two dimensions": lambda run: run.vector("f", np.zeros((2, 2))),
    "uneven columns": lambda run: run.table("f", {"a": [1], "b": [1, 2]}),
    "nan in a table": lambda run: run.table("f", {"a": [float("nan")]}),
    "bytes in a table": lambda run: run.table("f", {"a": [b"1"]}),
    "a long text": lambda run: run.table("f", {"a": ["x" * 201]}),
    "too few labels": lambda run: run.matrix("f", [[1, 2]], rows=["a"], columns=["b"]),
    "a vector as matrix": lambda run: run.matrix("f", [1, 2], rows=["a", "b"], columns=["c"]),
    "a ragged matrix": lambda run: run.matrix("f", [[1, 2], [1]], rows=["a", "b"], columns=["c", "d"]),
    "an uneven line": lambda run: run.lines("f", {"a": ([1, 2], [1])}),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_figure_of_a_wrong_form_is_refused_whole(
    wrong: Callable[[ion.NodeRun], None], run: ion.NodeRun, receiver: MemoryReceiver
) -> None:
    with pytest.raises(IonError) as caught:
        wrong(run)
    assert caught.value.code == "bad-figure"
    assert figures(run, receiver) == []


def test_a_figure_has_at_most_ten_thousand_cells(run: ion.NodeRun, receiver: MemoryReceiver) -> None:
    run.vector("most", np.zeros(10_000))
    with pytest.raises(IonError) as caught:
        run.vector("too many", np.zeros(10_001))
    assert caught.value.code == "figure-too-large"
    with pytest.raises(IonError):
        run.lines("too many", {str(n): (range(100), range(100)) for n in range(50)})  # the labels count, too
    assert [fact.name for fact in figures(run, receiver)] == ["most"]


def test_an_event_holds_its_attributes(run: ion.NodeRun, receiver: MemoryReceiver) -> None:
    run.event("cache flushed", entries=12, by="operator")
    run.client.ship()
    assert receiver.facts(EventRecorded) == [
        EventRecorded(run=run.id, name="cache flushed", attributes={"entries": 12, "by": "operator"})
    ]


def test_categories_count_every_value_once() -> None:
    counted = ion.Categories.of(["a", "b", "a", None, float("nan"), "z", 3], ["b", "a"])
    assert counted == ion.Categories(("b", "a"), (1, 2), other=2, missing=2)
    assert counted.total == 7


def test_parts_of_categories_add_up_to_the_whole() -> None:
    values = list("abcabbczzz")
    whole = ion.Categories.of(values, ["a", "b", "q"])
    assert (
        ion.Categories.of(values[:3], ["a", "b", "q"]).merged(ion.Categories.of(values[3:], ["a", "b", "q"])) == whole
    )
    with pytest.raises(IonError):
        whole.merged(ion.Categories.of(values, ["b", "a", "q"]))


def test_a_rare_category_is_not_named() -> None:
    """It may be a person's name."""
    values = ["ward"] * 5 + ["theatre"] * 9 + ["Mrs Miller"] * 4
    assert ion.Categories.spanning(values) == ion.Categories(("theatre", "ward"), (9, 5), other=4)
    assert ion.Categories.spanning(values, most=1) == ion.Categories(("theatre",), (9,), other=9)
    with pytest.raises(IonError) as caught:
        ion.Categories.spanning(["Mrs Miller"])
    assert caught.value.code == "bad-histogram"


@pytest.mark.parametrize("categories", [[], ["a", "a"]])
def test_categories_are_named_once_each(categories: list[str]) -> None:
    with pytest.raises(IonError):
        ion.Categories.of(["a"], categories)


def test_a_signature_may_be_counted_by_category(run: ion.NodeRun, receiver: MemoryReceiver) -> None:
    run.signature("ward", ion.Categories.of(["a", "b", None], ["a"]), role="inference", epoch="e")
    run.client.ship()
    assert receiver.facts(CategoriesRecorded) == [
        CategoriesRecorded(
            run=run.id, name="ward", role="inference", epoch="e", categories=["a"], counts=[1], other=1, missing=1
        )
    ]
