"""The watch over the mirror: what was changed in MLflow behind our back is alerted, and changes nothing that serves.

It looks every few seconds, and at once when MLflow's webhook says that something changed. It never puts anything
back: whoever moved an alias may have had a reason, and what serves does not depend on it.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

import dagster as dg

from ion.clock import now_us
from ion.decision.mirror import Expectations, Expected, SeenModel, compare
from ion.decision.mirror_alerts import SERVER, tell
from ion.decision.mirror_mark import mark
from ion.errors import IonError
from ion.evidence import ArtifactStore
from ion.evidence.shared_secret import MLFLOW_WEBHOOK, shared_secret
from ion.home import Home, web_url
from ion.store import open_store
from resources.mlflow import look_at
from resources.mlflow.artifacts import ArtifactWatch
from resources.mlflow.webhook import ensure_webhook, reachable

if TYPE_CHECKING:
    from ion.store import GovernanceStore

TICK_SECONDS = 4.0
EVERY_SECONDS = 2.4
"""How often it looks within a tick; a tick has time for two looks."""
MARK_SECONDS = 0.2
"""How often the mark of the webhook is looked for, and how soon after one look the next may be."""
OUTAGE_US = 30_000_000
"""An MLflow that does not answer for so long is told: restarting it takes less."""
LATE_SECONDS = 300.0
"""A look that takes longer counts as one that failed."""
WEBHOOK_SECONDS = 600.0
"""How often the webhook is registered again, should somebody have deleted it."""
NEWEST_READ = 20
"""Of so many newest versions, and of every promoted one, the bytes are compared."""


@dataclass(slots=True)
class Cursor:
    """What is open, and since when MLflow has not answered (µs; 0: it does); ``opened`` None: not known."""

    opened: list[str] | None = None
    failing_since: int = 0

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """Parse what an earlier tick kept."""
        kept = json.loads(text) if text else {}
        return cls(**{item.name: kept[item.name] for item in fields(cls) if item.name in kept})


@dataclass(slots=True)
class Look:
    """One look at MLflow, in a thread of its own: a server that does not answer holds up no tick."""

    expected: Expected
    seen: dict[str, SeenModel | None] = field(default_factory=dict)
    problem: str = ""
    failed: bool = False


class Watch:
    """The watch of one home: what it has read of facts and files, and the look under way."""

    def __init__(self, home: Home, uri: str) -> None:
        self.home, self.uri = home, uri
        self._expectations = Expectations()
        self._files = ArtifactWatch(uri)
        self._artifacts = ArtifactStore(home.artifacts)
        self._webhook_at = -WEBHOOK_SECONDS
        self._thread: threading.Thread | None = None
        self._look: Look | None = None
        self._began = 0.0
        self._mark: int | None = None

    def wanted(self) -> tuple[bool, bool]:
        """Return whether the webhook came since this was asked last, and whether it was asked before."""
        before, self._mark = self._mark, mark(self.home)
        return self._mark != before, before is not None

    def look(self, store: GovernanceStore, seconds: float, *, thorough: bool) -> Look | None:
        """Wait up to ``seconds`` for a look: one that is finished, or late; None: it goes on, or nothing is there."""
        if self._thread is None:
            expected = self._expectations.catch_up(store)
            if not expected.names:
                return None
            look = self._look = Look(expected)
            self._began = time.monotonic()
            self._thread = threading.Thread(target=self._run, args=(look, thorough), daemon=True)
            self._thread.start()
        self._thread.join(max(seconds, 0.0))
        if self._thread.is_alive():
            late = time.monotonic() - self._began > LATE_SECONDS
            return Look(Expected({}, {}), problem="MLflow takes too long", failed=True) if late else None
        self._thread = None
        return self._look

    def settle(self, store: GovernanceStore, look: Look, cursor: Cursor) -> int:
        """Tell what a look found; returns how many alerts that made. Keeps in ``cursor`` what is open."""
        if look.failed:
            cursor.failing_since = cursor.failing_since or now_us()
            out = now_us() - cursor.failing_since >= OUTAGE_US
            opened, told = tell(store, [SERVER] if out else [], (), cursor.opened or ())
        else:
            cursor.failing_since = 0
            # A change of our own between facts and look, or look and facts, is no difference.
            before, fine_before = compare(look.expected, look.seen)
            after, fine = compare(self._expectations.catch_up(store), look.seen)
            doubted = {difference.about for difference in before}
            differences = [difference for difference in after if difference.about in doubted]
            opened, told = tell(store, differences, fine | fine_before | {SERVER.about}, cursor.opened)
        if cursor.opened is not None or not look.failed:
            cursor.opened = sorted(opened)
        return told

    def _run(self, look: Look, thorough: bool) -> None:  # noqa: FBT001 - handed over by Thread
        try:
            for name in look.expected.names:
                self._look_at(look, name, thorough=thorough)
        except Exception as error:  # noqa: BLE001 - a look that failed says so, and the next one tries again
            look.failed, look.problem = True, str(error)
            return
        if time.monotonic() - self._webhook_at > WEBHOOK_SECONDS:
            self._webhook_at = time.monotonic()
            look.problem = look.problem or self._have_webhook()

    def _look_at(self, look: Look, name: str, *, thorough: bool) -> None:
        promoted = look.expected.promoted()
        versions = {place[1]: each for place, each in look.expected.versions.items() if place[0] == name}
        wanted = {version for at, version in promoted if at == name}
        read = wanted | set(sorted(versions, key=int)[-NEWEST_READ:])

        def bytes_problem(version: str, source: str) -> str | None:
            if version not in versions or version not in read:
                return None
            manifest = self._artifacts.get_manifest(versions[version].model)
            return self._files.problem(source, manifest, again=thorough)

        try:
            look.seen[name] = look_at(name, wanted, bytes_problem, tracking_uri=self.uri)
        except IonError as error:
            if error.code != "mlflow-refused":
                raise
            look.problem = error.message  # of one model: the others are watched all the same

    def _have_webhook(self) -> str:
        if not reachable(self.uri, web_url()):
            return ""
        try:
            ensure_webhook(self.uri, web_url(), shared_secret(self.home, MLFLOW_WEBHOOK))
        except IonError as error:
            return f"without MLflow's webhook: {error.message}"
        return ""


_watches: dict[tuple[Home, str], Watch] = {}
"""Kept between ticks, so that facts and files are read once."""


@dg.sensor(
    name="mlflow_watch",
    minimum_interval_seconds=1,  # with 5, the daemon, which loops every 5 seconds, would now and then skip a loop
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Raises an alert when MLflow's registry was changed behind our back; what serves does not change.",
)
def mlflow_watch(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Look every few seconds, and whenever MLflow says so, until the tick's time is over."""
    home = Home.find().make()
    cursor = Cursor.read(context.cursor)
    watch = _watches.setdefault((home, home.mlflow_url), Watch(home, home.mlflow_url))
    store = open_store(home.store_url)
    try:
        said = watch_for(watch, store, cursor, TICK_SECONDS)
    finally:
        store.close()
    return dg.SensorResult(cursor=json.dumps(asdict(cursor)), skip_reason=said)


def watch_for(watch: Watch, store: GovernanceStore, cursor: Cursor, seconds: float) -> str:
    """Watch for ``seconds``; returns what there is to say of it."""
    deadline = time.monotonic() + seconds
    told, said = 0, "nothing to compare yet"
    due = 0.0
    while True:
        called, known = watch.wanted()
        if called or time.monotonic() >= due:
            due = time.monotonic() + EVERY_SECONDS
            look = watch.look(store, deadline - time.monotonic(), thorough=called and known)
            if look is not None:
                told += watch.settle(store, look, cursor)
                said = _said(cursor, told, look.problem)
        if time.monotonic() >= deadline:
            return said
        time.sleep(MARK_SECONDS)


def _said(cursor: Cursor, told: int, problem: str) -> str:
    found = f"{len(cursor.opened or ())} differences, {told} alerts raised"
    return f"{found}; {problem}"[:500] if problem else found
