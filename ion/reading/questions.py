"""The questions about what was recorded, each answered in columns."""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from ion.errors import IonError
from ion.facts import KINDS, EventRecorded, Fact, GapNoted, ModelRecorded, Promoted
from ion.reading.asking import asking
from ion.reading.columns import INTEGER, JSON, NUMBER, TEXT, TIME, TRUTH, Answer
from ion.reading.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.agent.remote_store import RemoteStore
    from ion.reading.selection import Where
    from ion.records import Recorded
    from ion.store import GovernanceStore

F = TypeVar("F", bound=Fact)
_TYPES: Mapping[object, str] = {str: TEXT, int: INTEGER, float: NUMBER, bool: TRUTH}


def stats(
    series: str | Sequence[str] = (),
    *,
    limit: int | None = None,
    as_: str = "pandas",
    **where: Unpack[Where],
) -> Any:  # noqa: ANN401 - what ``as_`` says
    """Return points of statistics in the order of their times: time, value, series, run, node, epoch.

    Args:
        series: a name, or several; all when none is given.
        limit: the newest so many.
        as_: ``pandas``, ``polars``, ``arrow``, or ``rows`` (a list of mappings; needs no library).
        where: see `Where`. A model means the runs that made it, and the epochs in which it served.

    Raises:
        IonError: ``points-differ`` when stored points are not those that were told; as `models`.
    """
    import numpy as np

    names = {series} if isinstance(series, str) else set(series)
    with asking() as asked:
        selection = Selection.of(**where)
        reach = selection.reach(asked.store)
        first, last = selection.since, selection.until - 1
        found = [
            (each, place, reached.node, asked.store.points(each, place.name, first, last, epoch=place.epoch))
            for each, reached in reach.items()
            for place in asked.store.statistics.series(each)
            if (not names or place.name in names)
            and (reached.epochs is None or place.epoch in reached.epochs)
            and place.first < selection.until
            and place.last >= selection.since
        ]
        scopes = {each for each, *_ in found} | {place.epoch for _, place, *_ in found}
        holes = asked.gaps_of(scopes | asked.agents(reach))
    times = np.concatenate([np.empty(0, np.int64), *(points.times for *_, points in found)])
    values = np.concatenate([np.empty(0), *(points.values for *_, points in found)])
    which = np.repeat(np.arange(len(found)), [len(points) for *_, points in found])
    order = np.argsort(times, kind="stable")
    order = order if limit is None else order[max(0, len(order) - limit) :]
    labels = {
        "series": [place.name for _, place, *_ in found],
        "run": [each for each, *_ in found],
        "node": [at for *_, at, _ in found],
        "epoch": [place.epoch for _, place, *_ in found],
    }
    columns = {"time": times[order], "value": values[order]}
    columns |= {name: np.array(texts, dtype=object)[which[order]] for name, texts in labels.items()}
    return Answer({"time": TIME, "value": NUMBER, **dict.fromkeys(labels, TEXT)}, columns, holes).as_(as_)


def models(
    *,
    limit: int | None = None,
    as_: str = "pandas",
    **where: Unpack[Where],
) -> Any:  # noqa: ANN401 - what ``as_`` says
    """Return the candidates, oldest first: who made which model when, its metrics, its verdict, where it serves now.

    Args:
        limit: the newest so many.
        as_: ``pandas``, ``polars``, ``arrow``, or ``rows`` (a list of mappings; needs no library).
        where: see `Where`.

    Raises:
        IonError: ``bad-form``, ``bad-time``, ``extra-missing``, ``no-home``, and as `ion.store.open_store`.
    """
    with asking() as asked:
        found = _newest(Selection.of(**where).facts(asked.store, ModelRecorded), limit)
        verdicts = {(each.model, each.run): each.verdict for each in asked.store.candidates()}
        rows = [
            {
                "time": record.us,
                "model": record.fact.model,
                "run": record.fact.run,
                "node": record.fact.node,
                "name": record.fact.name,
                "format": record.fact.format,
                "size": record.fact.size,
                "label": record.fact.label,
                "features": record.fact.features,
                "metrics": record.fact.metrics,
                "datasets": record.fact.datasets,
                "verdict": verdicts.get((record.fact.model, record.fact.run), ""),
                "serving": _serving(asked.store, record.fact.model),
            }
            for record in found
        ]
        types = {
            **dict.fromkeys(("model", "run", "node", "name", "format"), TEXT),
            "size": INTEGER,
            "label": TEXT,
            "features": JSON,
            "metrics": JSON,
            "datasets": JSON,
            "verdict": TEXT,
            "serving": JSON,
        }
        return _answer({"time": TIME, **types}, rows, asked.gaps(found)).as_(as_)


def events(
    name: str = "",
    *,
    limit: int | None = None,
    as_: str = "pandas",
    **where: Unpack[Where],
) -> Any:  # noqa: ANN401 - what ``as_`` says
    """Return what ``run.event`` told, oldest first; ``name`` keeps the events of that name. The rest as `models`."""
    with asking() as asked:
        selection = Selection.of(**where)
        found = [r for r in selection.facts(asked.store, EventRecorded) if not name or r.fact.name == name]
        nodes = {run: asked.node(run) for run in {record.fact.run for record in found}}
        rows = [
            {
                "time": record.us,
                "run": record.fact.run,
                "node": nodes[record.fact.run],
                "name": record.fact.name,
                "attributes": record.fact.attributes,
            }
            for record in _newest(found, limit)
        ]
        types = {"time": TIME, "run": TEXT, "node": TEXT, "name": TEXT, "attributes": JSON}
        return _answer(types, rows, asked.gaps(found)).as_(as_)


def facts(
    kind: str | type[Fact],
    *,
    limit: int | None = None,
    as_: str = "pandas",
    **where: Unpack[Where],
) -> Any:  # noqa: ANN401 - what ``as_`` says
    """Return the facts of a kind (docs/reference/facts.md), oldest first: position, id, agent, time, and their fields.

    The rest as `models`.

    Raises:
        IonError: ``unknown-kind``, and as `models`.
    """
    named = kind if isinstance(kind, str) else kind.__name__
    wanted = KINDS.get(named)
    if wanted is None:
        raise IonError("unknown-kind", f"there is no fact {named!r}", "docs/reference/facts.md lists all of them")
    with asking() as asked:
        found = _newest(Selection.of(**where).facts(asked.store, wanted), limit)
        return _facts_answer(wanted, found, asked.gaps(found)).as_(as_)


def gaps(
    *,
    as_: str = "pandas",
    **where: Unpack[Where],
) -> Any:  # noqa: ANN401 - what ``as_`` says
    """Return the counted holes in what is asked for, those of the agents that told of it included; as `facts`."""
    with asking() as asked:
        selection = Selection.of(**where)
        found = {record.position: record for record in selection.facts(asked.store, GapNoted)}
        for agent in asked.agents(selection.reach(asked.store)) if selection.narrow else ():
            holes = asked.store.find(GapNoted, agent)
            found |= {hole.position: hole for hole in holes if selection.since <= hole.us < selection.until}
        return _facts_answer(GapNoted, [found[position] for position in sorted(found)], asked.gaps(())).as_(as_)


def _serving(store: GovernanceStore | RemoteStore, model: str) -> list[str]:
    nodes = sorted({record.fact.node for record in store.find(Promoted, model)})
    now = [store.current(node) for node in nodes]
    return [current.node for current in now if current.model == model and not current.halted]


def _facts_answer(kind: type[Fact], found: Sequence[Recorded[F]], holes: Sequence[Mapping[str, object]]) -> Answer:
    hints = typing.get_type_hints(kind)
    fields = [item.name for item in dataclasses.fields(kind)]
    types = {"position": INTEGER, "id": TEXT, "agent": TEXT, "time": TIME}
    names = {name: f"{name}_" if name in types else name for name in fields}
    types |= {names[name]: _type_of(hints[name]) for name in fields}
    rows = [
        {"position": record.position, "id": record.id, "agent": record.agent, "time": record.us}
        | {names[name]: getattr(record.fact, name) for name in fields}
        for record in found
    ]
    return _answer(types, rows, holes)


def _type_of(hint: object) -> str:
    if hint in _TYPES:
        return _TYPES[hint]
    inner = [member for member in typing.get_args(hint) if member is not type(None)]
    return _TYPES.get(inner[0], JSON) if len(inner) == 1 and type(None) in typing.get_args(hint) else JSON


def _answer(
    types: Mapping[str, str], rows: Sequence[Mapping[str, object]], holes: Sequence[Mapping[str, object]]
) -> Answer:
    return Answer(types, {name: [row[name] for row in rows] for name in types}, holes)


def _newest(found: Sequence[Recorded[F]], limit: int | None) -> Sequence[Recorded[F]]:
    return found if limit is None else found[max(0, len(found) - limit) :]
