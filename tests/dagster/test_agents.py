"""The agents' sensor: each change is shown once, a late agent raises one alert per silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ion.agent.standalone import Standalone
from ion.dagster.agents import ASSET
from ion.facts import AlertRaised
from sensors import agents as sensor

if TYPE_CHECKING:
    import pytest
    from conftest import Scene


def tick(scene: Scene, cursor: str | None = None) -> str | None:
    result = sensor.agents(dg.build_sensor_context(instance=scene.instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result.cursor


def shown(scene: Scene) -> list[tuple[object, object, object]]:
    records = scene.instance.fetch_materializations(ASSET, limit=10).records
    found = [record.asset_materialization for record in records if record.asset_materialization is not None]
    return [tuple(event.metadata[state].value for state in ("alive", "late", "gone")) for event in reversed(found)]  # type: ignore[misc]


def test_agents_are_shown_when_one_comes_is_late_or_goes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = tick(scene)
    assert shown(scene) == []
    agent = Standalone(scene.home, scene.store, "ward")
    agent._beat()
    agent._ship()
    for _ in range(2):
        cursor = tick(scene, cursor)
    assert shown(scene) == [(1, 0, 0)]
    assert [alert for alert in scene.facts(AlertRaised) if alert.alert == "agent-late"] == []
    with monkeypatch.context() as patch:
        patch.setattr(sensor, "LATE_SECONDS", -1.0)
        for _ in range(2):
            cursor = tick(scene, cursor)
    assert shown(scene) == [(1, 0, 0), (0, 1, 0)]
    (late,) = [alert for alert in scene.facts(AlertRaised) if alert.alert == "agent-late"]
    assert "ward" in late.message
    agent.stop()
    agent.run()
    tick(scene, cursor)
    assert shown(scene) == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
