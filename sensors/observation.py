"""The observation sensor: spools into the store, committed windows and Dagster's events into view."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

import dagster as dg

from ion.agent import open_client, ship_home
from ion.dagster.observation import end_finished_runs, observe_checks, observe_materializations
from ion.dagster.windows import report_windows
from ion.home import Home
from ion.store import open_store

if TYPE_CHECKING:
    from ion.store import GovernanceStore

TICK_SECONDS = 4.8
SHIP_SECONDS = 0.1


@dataclass(slots=True)
class Cursor:
    """How far each kind of looking has come."""

    events: int = 0
    check_events: int = 0
    runs: int = 0
    windows: int = 0
    open_runs: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """Parse what an earlier tick kept, perhaps one of another version."""
        kept = json.loads(text) if text else {}
        return cls(**{item.name: kept[item.name] for item in fields(cls) if item.name in kept})


@dg.sensor(
    name="observation",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ships waiting facts, observes assets that know nothing of ion, reports prediction windows.",
)
def observation(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Look once at Dagster, and ship spools until the tick's time is over."""
    home = Home.find().make()
    cursor = Cursor.read(context.cursor)
    store = open_store(home.store_url)
    try:
        shipped = ship_home(home, store)  # so that facts told before Dagster's event are here before it
        _look(home, store, context.instance, cursor)
        shipped += _ship(home, store)
    finally:
        store.close()
    return dg.SensorResult(cursor=json.dumps(asdict(cursor)), skip_reason=f"shipped {shipped} facts")


def _look(home: Home, store: GovernanceStore, instance: dg.DagsterInstance, cursor: Cursor) -> None:
    open_runs = set(cursor.open_runs)
    client = open_client(home, name="observer", ship=False)
    try:
        cursor.events = observe_materializations(store, client, instance, cursor.events)
        cursor.check_events = observe_checks(store, client, instance, cursor.check_events)
        cursor.runs = end_finished_runs(store, client, instance, open_runs, cursor.runs)
        cursor.windows = report_windows(store, instance, cursor.windows)
    finally:
        client.close()
    cursor.open_runs = sorted(open_runs)


def _ship(home: Home, store: GovernanceStore) -> int:
    deadline = time.monotonic() + TICK_SECONDS
    shipped = 0
    while True:
        shipped += ship_home(home, store)
        if time.monotonic() >= deadline:
            return shipped
        time.sleep(SHIP_SECONDS)
