"""Quantile sketches of several workers, recorded as facts, answer like one sketch of everything."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ion
from ion.errors import IonError
from ion.facts import SketchRecorded
from ion.home import Home
from ion.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

RANK_ERROR = 0.0133
"""Of KLL with k = 200 at 99 %, as DataSketches states it; twice that is asked here."""


def test_what_workers_recorded_merges_into_the_quantiles_of_everything(store_url: str, tmp_path: Path) -> None:
    values = np.random.default_rng(7).lognormal(size=30_000)
    with_missing = np.concatenate([values, [np.nan] * 5])
    client = ion.open_client(Home(tmp_path), ship=False)
    run = client.node_run("wines/growers", kind="training")
    for part in np.array_split(with_missing, 4):
        run.sketch("alcohol", part, role="training")
    run.end()
    client.close()
    store = open_store(store_url)
    from ion.agent import ship_home

    ship_home(Home(tmp_path), store, wait=True)
    facts = [recorded.fact for recorded in store.find(SketchRecorded, run.id)]
    store.close()
    assert len(facts) == 4
    merged = ion.Sketch.merged_from(facts)
    assert (merged.n, merged.missing, merged.k) == (30_000, 5, 200)
    for fraction in (0.01, 0.25, 0.5, 0.9, 0.99):
        rank = float((values <= merged.quantile(fraction)).mean())
        assert abs(rank - fraction) < 2 * RANK_ERROR
    assert (merged.quantile(0), merged.quantile(1)) == (values.min(), values.max())
    assert all(len(fact.sketch) < 8_000 for fact in facts)


def test_merging_leaves_the_parts_as_they_were() -> None:
    one, two = ion.Sketch.of([1, 2, 3]), ion.Sketch.of([4, 5])
    assert one.merged(two).n == 5
    assert (one.n, two.n) == (3, 2)
    assert ion.Sketch.from_bytes(one.to_bytes()).quantile(0.5) == one.quantile(0.5)


def test_a_damaged_sketch_is_refused() -> None:
    fact = ion.Sketch.of(np.arange(1000)).recorded("r", "x", role="training")
    short = base64.b64encode(base64.b64decode(fact.sketch)[:100]).decode()
    for wrong in (
        [],
        [replace(fact, algorithm="t-digest")],
        [replace(fact, sketch="%%%")],
        [replace(fact, sketch=short)],
        [replace(fact, sketch="")],
        [replace(fact, n=999)],
    ):
        with pytest.raises(IonError) as caught:
            ion.Sketch.merged_from(wrong)
        assert caught.value.code == "bad-sketch"


def test_an_infinity_is_refused_and_nothing_is_told_of_nothing() -> None:
    with pytest.raises(IonError):
        ion.Sketch.of([1.0, np.inf])
    with pytest.raises(IonError):
        ion.Sketch.of([np.nan]).quantile(0.5)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasketches", None)
    with pytest.raises(IonError) as caught:
        ion.Sketch.of([1.0])
    assert caught.value.code == "extra-missing"
    assert "sketch" in caught.value.hint
