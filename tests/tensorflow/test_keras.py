"""Keras really trains; what it is, what it does and what it saves becomes facts. Run by `make test-tensorflow`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
import pytest

from ion.agent import Client
from ion.errors import IonError
from ion.facts import ComponentRan, ParamRecorded, StatisticsRecorded
from ion.home import Home
from ion.points import read_block, read_column
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.agent import NodeRun


@pytest.fixture
def receiver() -> MemoryReceiver:
    return MemoryReceiver()


@pytest.fixture
def run(tmp_path: Path, receiver: MemoryReceiver) -> Iterator[NodeRun]:
    client = Client(Home(tmp_path / "home"), "test", receiver)
    yield client.node_run("wards/model", kind="training")
    client.close()


def network() -> keras.Model:
    inner = keras.Sequential([keras.layers.Dense(4, activation="relu", name="hidden")], name="inner")
    layers = [keras.Input((3,), name="patient"), inner, keras.layers.Dense(1, activation="sigmoid", name="risk")]
    made = keras.Sequential(layers, name="ward")
    made.compile(optimizer=keras.optimizers.Adam(0.01), loss="binary_crossentropy", metrics=["accuracy"])
    return made


def points(receiver: MemoryReceiver) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for fact in receiver.facts(StatisticsRecorded):
        for row, column in zip(fact.series, read_block(receiver.blocks[fact.digest]), strict=True):
            found.setdefault(str(row["name"]), []).extend(read_column(column).values.tolist())
    return found


def test_a_training_tells_its_layers_and_every_epoch(run: NodeRun, receiver: MemoryReceiver) -> None:
    from resources.keras import recording

    random = np.random.default_rng(0)
    data = random.normal(size=(120, 3))
    truth = (data[:, 0] > 0).astype("float32")
    history = network().fit(
        data, truth, epochs=4, verbose=0, validation_split=0.25, shuffle=False, callbacks=[recording(run)]
    )
    run.end()
    told = {fact.component: fact for fact in receiver.facts(ComponentRan)}
    assert list(told) == ["ward", "ward.inner", "ward.inner.hidden", "ward.risk"]
    assert told["ward"].details["params"]["loss"] == "binary_crossentropy"  # type: ignore[index]
    assert told["ward"].details["params"]["optimizer"]["class"] == "Adam"  # type: ignore[index]
    assert told["ward"].details["params"]["optimizer"]["learning_rate"] == pytest.approx(0.01)  # type: ignore[index]
    assert told["ward.risk"].details["params"]["units"] == 1  # type: ignore[index]
    assert told["ward.risk"].details["params"]["kernel_initializer"] == "GlorotUniform"  # type: ignore[index]
    assert told["ward.inner.hidden"].details["metrics"] == {"weights": 16}
    assert {fact.name: fact.value for fact in receiver.facts(ParamRecorded)}["fit.epochs"] == 4
    assert points(receiver) == {name: pytest.approx(values) for name, values in history.history.items()}
    assert set(history.history) == {"accuracy", "loss", "val_accuracy", "val_loss"}


def test_the_signature_of_a_saved_model_is_read_without_running_it(tmp_path: Path) -> None:
    from resources.keras import saved_model_signature

    network().export(str(tmp_path / "saved"), verbose=False)
    inputs, outputs = saved_model_signature(tmp_path / "saved")
    assert [row["type"] for row in inputs] == ["float32[?, 3]"]
    assert inputs[0]["name"] == "patient"
    assert [row["type"] for row in outputs] == ["float32[?, 1]"]
    for folder, name in ((tmp_path / "saved", "other"), (tmp_path, "serving_default")):
        with pytest.raises(IonError) as caught:
            saved_model_signature(folder, name)
        assert caught.value.code == "no-signature"
