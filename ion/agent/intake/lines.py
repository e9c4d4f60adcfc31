"""One line of what a program tells: a fact as it is, or a short way to tell one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.agent.intake.bodies import fact_from
from ion.agent.intake.openlineage import read_event
from ion.agent.intake.points import statistics
from ion.agent.intake.telling import TELLABLE, VERSION, WITH_BLOCK, Telling, Told, checked_uuid, read_object
from ion.canonical import digest_json
from ion.clock import now_us
from ion.errors import IonError
from ion.facts import GOVERNANCE_ONLY, KINDS, Fact, NodeRunEnded, NodeRunStarted
from ion.ids import checked_node, new_id, observed_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.agent.intake.addressing import Addressing

STATUSES = ("succeeded", "failed", "stopped", "halted")
_ENVELOPE = frozenset({"ion", "id"})
_HINT = "docs/spec/intake.md shows the forms"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line's fields beside version and id; ``id`` is empty where the sender gave none."""

    id: str
    fields: dict[str, object]
    nodes: Addressing

    def only(self, *names: str) -> None:
        """Raise IonError ``bad-line`` when there is any other field."""
        unknown = sorted(set(self.fields) - set(names) - {"do"})
        if unknown:
            raise IonError("bad-line", f"unknown fields: {', '.join(unknown)}"[:300], _HINT)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text; without a default it must be there."""
        value = self.fields.get(name, default)
        if not isinstance(value, str) or (default is None and not value):
            raise IonError("bad-line", f"{name} is missing, or no text", _HINT)
        return value

    def mapping(self, name: str) -> dict[str, object]:
        """Return a JSON object; empty when left out."""
        value = self.fields.get(name, {})
        if not isinstance(value, dict):
            raise IonError("bad-line", f"{name} is no JSON object", _HINT)
        return value


def read_line(line: bytes, nodes: Addressing) -> Told:
    """Return what a line asks for; nothing is recorded yet.

    Raises:
        IonError: ``bad-line``, ``unknown-version``, ``forbidden-fact``, ``bad-fact``, ``bad-node``, ``bad-event``,
            ``bad-status``, ``not-canonical``.
    """
    value = read_object(line, "bad-line")
    if value.get("ion") != VERSION or isinstance(value["ion"], bool):
        raise IonError("unknown-version", f"a line of version {value.get('ion')!r:.50}", f'begin with "ion": {VERSION}')
    identity = checked_uuid(value["id"], "id", "bad-line") if "id" in value else ""
    told = _Line(identity, {name: part for name, part in value.items() if name not in _ENVELOPE}, nodes)
    content = digest_json(value)  # refuses numbers that are none of JSON's
    tellings, answer = _tellings(told)
    if identity:  # the digest: another thing under the same id by mistake is not lost
        tellings = tuple(
            Telling(telling.fact, telling.fact_id or observed_id("told", identity, content, str(number)), telling.block)
            for number, telling in enumerate(tellings)
        )
    return Told(identity, content, tellings, answer)


def _tellings(line: _Line) -> tuple[tuple[Telling, ...], dict[str, object]]:
    if "do" in line.fields:
        verb = _VERBS.get(str(line.fields["do"]))
        if verb is None:
            raise IonError("bad-line", f"no such thing to do: {line.fields['do']!r:.50}", f"one of {', '.join(_VERBS)}")
        return verb(line)
    line.only("kind", "body")
    return (Telling(fact_from(_kind(line.text("kind")), line.fields.get("body"))),), {}


def _kind(name: str) -> type[Fact]:
    kind = KINDS.get(name)
    if kind is None:
        raise IonError("bad-line", f"there is no fact {name!r:.60}", "docs/reference/facts.md lists them")
    if kind in GOVERNANCE_ONLY:
        raise IonError("forbidden-fact", f"only governance tells a {name}", "it is refused from every agent")
    if kind in WITH_BLOCK:
        hint = 'use {"do": "stat"}' if name == "StatisticsRecorded" else "tell it with the Python client"
        raise IonError("forbidden-fact", f"a {name} names a block, which a line does not carry", hint)
    return TELLABLE[name]


def _start(line: _Line) -> tuple[tuple[Telling, ...], dict[str, object]]:
    line.only("node", "node_kind", "run", "code", "config", "environment", "engine", "engine_run", "submitter")
    run = line.text("run", "") or (observed_id("told run", line.id) if line.id else new_id())
    fact = NodeRunStarted(
        run=run,
        node=checked_node(line.text("node")),
        node_kind=line.text("node_kind", "custom"),
        code=line.mapping("code"),
        config=line.mapping("config"),
        environment=line.mapping("environment"),
        engine=line.text("engine", ""),
        engine_run=line.text("engine_run", ""),
        submitter=line.text("submitter", ""),
    )
    return (Telling(fact, observed_id("node run started", run)),), {"run": run}


def _end(line: _Line) -> tuple[tuple[Telling, ...], dict[str, object]]:
    line.only("run", "status", "error")
    run, status = line.text("run"), line.text("status", "succeeded")
    if status not in STATUSES:
        raise IonError("bad-status", f"unknown run status {status!r:.50}", f"one of {', '.join(STATUSES)}")
    return (Telling(NodeRunEnded(run=run, status=status, error=line.text("error", "")[:2000])),), {}


def _stat(line: _Line) -> tuple[tuple[Telling, ...], dict[str, object]]:
    line.only("run", "series", "value", "values", "times", "epoch")
    if ("value" in line.fields) == ("values" in line.fields):
        raise IonError("bad-line", "give value or values", _HINT)
    values = line.fields.get("values", [line.fields.get("value")])
    if not isinstance(values, list) or not values or not all(type(value) in {int, float} for value in values):
        raise IonError("bad-line", "values are numbers, at least one", _HINT)
    times = line.fields.get("times", [now_us()] if len(values) == 1 else None)
    if not isinstance(times, list) or not all(type(time) is int and 0 <= time < 2**53 for time in times):
        raise IonError("bad-line", "times are microseconds since 1970, as integers; several values need them", _HINT)
    if len(times) != len(values):
        raise IonError("bad-line", f"{len(values)} values and {len(times)} times", "as many of each")
    points = {line.text("series"): (times, [float(value) for value in values])}
    return statistics(line.text("run"), points, epoch=line.text("epoch", "")), {}


def _event(line: _Line) -> tuple[tuple[Telling, ...], dict[str, object]]:
    line.only("event")
    told = read_event(line.mapping("event"), line.nodes)
    return told.tellings, dict(told.answer)


_VERBS: dict[str, Callable[[_Line], tuple[tuple[Telling, ...], dict[str, object]]]] = {
    "node_run.start": _start,
    "node_run.end": _end,
    "stat": _stat,
    "openlineage": _event,
}
