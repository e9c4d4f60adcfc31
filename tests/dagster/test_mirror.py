"""The mirror: MLflow's alias follows the promotion, later if need be, and decides nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from ion.facts import MirrorUpdated, Promoted
from sensors.mirror import ALIAS, mlflow_mirror

if TYPE_CHECKING:
    from conftest import Scene

UNROUTABLE = "http://127.0.0.1:9"
"""The discard port: nobody listens there."""


def mirror(scene: Scene, cursor: str | None = None) -> dg.SensorResult:
    result = mlflow_mirror(dg.build_sensor_context(instance=scene.instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result


def register(versions: int) -> None:
    """Register ``versions`` versions of the model ``ward`` in the default registry, as training would."""
    import mlflow

    from ion.home import Home

    client = mlflow.MlflowClient(tracking_uri=Home.find().mlflow_url, registry_uri=Home.find().mlflow_url)
    client.create_registered_model("ward")
    for number in range(versions):
        client.create_model_version("ward", f"file:///nowhere/{number}", await_creation_for=0)


def alias() -> str | None:
    from resources.mlflow import alias_version

    return alias_version("ward", ALIAS)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_alias_follows_promotions_also_after_mlflow_was_down(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    register(3)
    ion = scene.ion()
    scene.train(ion, weight=1.0, registered_as="1")
    scene.decided(1)
    cursor = mirror(scene).cursor
    assert alias() == "1"

    with monkeypatch.context() as down:
        down.setenv("MLFLOW_TRACKING_URI", UNROUTABLE)
        scene.train(ion, weight=2.0, registered_as="2")
        began = time.monotonic()
        _, second = scene.decided(2)
        assert time.monotonic() - began < 10.0, "a dead mirror held up a decision"
        assert second.verdict == "approve"
        behind = mirror(scene, cursor)
        assert behind.cursor == cursor
        assert "try again" in str(behind.skip_reason)
        assert UNROUTABLE in str(behind.skip_reason)
        assert len(scene.facts(MirrorUpdated)) == 1
    assert alias() == "1"

    cursor = mirror(scene, cursor).cursor
    assert alias() == "2"
    scene.train(ion, weight=-1.0, registered_as="3")
    scene.decided(3)
    mirror(scene, cursor)
    mirror(scene, None)
    assert alias() == "2", "a rejected model got the alias"
    promoted = scene.facts(Promoted)
    assert [(fact.cause, fact.version, fact.alias) for fact in scene.facts(MirrorUpdated)] == [
        (promoted[0].cause, "1", ALIAS),
        (promoted[1].cause, "2", ALIAS),
    ]


def test_a_model_that_is_in_no_registry_is_passed_over(scene: Scene) -> None:
    scene.train(scene.ion())
    scene.decided(1)
    result = mirror(scene)
    assert scene.facts(MirrorUpdated) == []
    (promoted,) = scene.store.find(Promoted)
    assert result.cursor == str(promoted.position)
