from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.errors import IonError
from ion.evidence import Manifest
from ion.serving import LinearScorer, load_scorer, model_format
from tests.unit.test_gate_scene import linear_model

floats = st.floats(-1e6, 1e6)
MODEL = {
    "format": "ion-linear/1",
    "features": ["a", "b"],
    "mean": [1.0, 2.0],
    "scale": [2.0, 4.0],
    "coefficients": [0.5, -1.0],
    "intercept": 0.25,
    "threshold": 0.5,
    "classes": ["benign", "malignant"],
}


def as_bytes(**changes: object) -> bytes:
    return json.dumps({**MODEL, **changes}).encode()


def bits(values: object) -> list[bytes]:
    return [struct.pack("<d", value) for value in values]  # type: ignore[attr-defined]


def test_a_score_is_what_the_formula_says() -> None:
    scorer = LinearScorer.from_bytes(as_bytes())
    z = 0.25 + (3.0 - 1.0) / 2.0 * 0.5 + (6.0 - 2.0) / 4.0 * -1.0
    assert z == -0.25
    assert scorer.score_row([3.0, 6.0]) == math.exp(z) / (1 + math.exp(z))
    assert scorer.score_row([1.0, 2.0]) == 1 / (1 + math.exp(-0.25))
    assert scorer.label(0.5) == "malignant"
    assert scorer.label(math.nextafter(0.5, 0)) == "benign"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_rows_and_batches_give_the_same_bits(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 8))
    column = st.lists(floats, min_size=k, max_size=k)
    scorer = LinearScorer.create(
        features=[f"f{number}" for number in range(k)],
        mean=data.draw(column),
        scale=data.draw(st.lists(st.floats(1e-6, 1e6), min_size=k, max_size=k)),
        coefficients=data.draw(column),
        intercept=data.draw(floats),
    )
    wild = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=k, max_size=k)
    rows = data.draw(st.lists(column | wild, min_size=1, max_size=9))
    by_row = [scorer.score_row(row) for row in rows]
    assert bits(scorer.score(np.array(rows))) == bits(by_row)
    assert bits(scorer.score(np.asfortranarray(rows))) == bits(by_row)
    assert all(math.isnan(score) or 0.0 <= score <= 1.0 for score in by_row)


def test_ordinary_rows_and_batches_give_the_same_bits_in_any_slice() -> None:
    scorer = LinearScorer.from_bytes(linear_model())
    rows = np.random.default_rng(7).normal(scorer.mean, 0.4, (2000, 30))
    batch = scorer.score(rows)
    assert bits(batch) == bits(scorer.score_row(row) for row in rows.tolist())
    assert bits(batch[700:911]) == bits(scorer.score(rows[700:911]))
    assert 100 < int((batch > 0.5).sum()) < 1900


@pytest.mark.parametrize("value", [1e308, -1e308, 1e3, -1e3])
def test_far_away_rows_do_not_overflow(value: float) -> None:
    scorer = LinearScorer.from_bytes(as_bytes(coefficients=[100.0, 0.0]))
    assert scorer.score_row([value, 2.0]) == (1.0 if value > 0 else 0.0)
    assert list(scorer.score(np.array([[value, 2.0]]))) == [1.0 if value > 0 else 0.0]


def test_a_score_that_is_no_number_has_no_label() -> None:
    scorer = LinearScorer.from_bytes(as_bytes())
    assert math.isnan(scorer.score_row([math.nan, 1.0]))
    with pytest.raises(IonError) as error:
        scorer.label(math.nan)
    assert error.value.code == "bad-score"


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1), (1, 2, 2), ()])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(IonError) as error:
        LinearScorer.from_bytes(as_bytes()).score(np.zeros(shape))
    assert error.value.code == "bad-row"


@pytest.mark.parametrize("row", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_row_of_another_length_is_refused(row: list[float]) -> None:
    with pytest.raises(IonError) as error:
        LinearScorer.from_bytes(as_bytes()).score_row(row)
    assert error.value.code == "bad-row"


def test_no_rows_give_no_scores() -> None:
    assert LinearScorer.from_bytes(as_bytes()).score(np.zeros((0, 2))).shape == (0,)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"\xff", b"[" * 100_000, as_bytes(format="ion-linear/2"), as_bytes(extra=1),
        as_bytes(features=[]), as_bytes(features=["a", "a"]), as_bytes(features=["a", ""]), as_bytes(features=["a", 1]),
        as_bytes(features=["a"]), as_bytes(mean=[1.0]), as_bytes(mean=[1.0, "2"]), as_bytes(mean=[1.0, True]),
        as_bytes(mean=[1.0, math.nan]), as_bytes(mean=[1.0, math.inf]), as_bytes(mean=[1.0, 10**400]),
        as_bytes(scale=[1.0, 0.0]), as_bytes(scale=[1.0, -1.0]), as_bytes(scale=[1.0, 5e-324]),
        as_bytes(coefficients=None), as_bytes(intercept=None), as_bytes(intercept="0"), as_bytes(threshold=1.1),
        as_bytes(classes=["a"]), as_bytes(classes=["a", "a"]), as_bytes(classes=["a", "b", "c"]),
        as_bytes(classes=[True, False]), as_bytes(classes=[["a"], "b"]), as_bytes(classes="ab"),
        as_bytes()[:-1] + b',"intercept":1}', as_bytes().replace(b"0.25", b"1e999"),
    ],
)  # fmt: skip
def test_anything_but_the_format_is_refused(data: bytes) -> None:
    with pytest.raises(IonError) as error:
        LinearScorer.from_bytes(data)
    assert error.value.code == "bad-model"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), floats)
def test_the_model_file_keeps_every_bit(coefficients: list[float], intercept: float) -> None:
    made = LinearScorer.create(
        features=["a", "b"], mean=[0.1, 1 / 3], scale=[1e-3, 7.7], coefficients=coefficients, intercept=intercept
    )
    read = LinearScorer.from_bytes(made.to_bytes())
    assert read == made
    assert list(read.coefficients) == coefficients


def test_the_digest_is_the_model_version() -> None:
    data = as_bytes()
    assert LinearScorer.from_bytes(data).digest == Manifest.from_files({"model.json": data}).digest


def test_a_scorer_is_loaded_by_format() -> None:
    files = {"model.json": as_bytes()}
    assert model_format(files) == "ion-linear/1"
    assert load_scorer("ion-linear/1", files) == LinearScorer.from_bytes(as_bytes())
    for name, bad in [("pickle", files), ("ion-linear/1", {}), ("ion-linear/1", {**files, "x": b""})]:
        with pytest.raises(IonError) as error:
            load_scorer(name, bad)
        assert error.value.code == "model-format"
