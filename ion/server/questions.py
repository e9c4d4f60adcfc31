"""What programs ask: facts page by page, models, a prediction's reasons, agents, what a node serves, the ledger."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import asdict
from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.errors import IonError
from ion.facts import KINDS, CheckpointSigned, GapNoted, IonDefined
from ion.graph import catalogue, explain
from ion.ids import checked_node
from ion.server.endpoint import Asked, Endpoint, Parameter
from ion.store import Search

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ion.server.endpoint import Answer
    from ion.store import GovernanceStore

_LIMIT = Parameter("limit", "How many at most.", "integer", 100, 1000)
_AFTER = Parameter("after", "`next` of the page before.", "integer", 0)
_SCOPES = 500
"""Of so many things, at most, gaps are looked up for one page."""


def facts(asked: Asked) -> Answer:
    """Return a page of facts in store order, and the gaps of what was asked about and of who told it."""
    kinds = [kind for kind in asked.text("kind").split(",") if kind]
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise IonError("bad-request", f"there is no kind of fact {unknown[0]!r}"[:200], "docs/reference/facts.md")
    subjects = [[text] for name in ("subject", "node", "run", "model") if (text := asked.text(name))]
    if ion := asked.text("ion"):
        subjects.append(_of_ion(asked.store, ion))
    after, limit = asked.number("after"), max(asked.number("limit"), 1)
    since, until = asked.number("since"), asked.number("until")
    search = Search(kinds, subjects, asked.text("agent"), since, until, after, limit)
    found = asked.store.index.search(search)
    told = [{"position": listed.position, **listed.record} for listed in found]
    authors = sorted({str(listed.record["agent"]) for listed in found})
    gaps = _gaps(asked.store, [*(subject for group in subjects for subject in group), asked.text("agent"), *authors])
    return {
        "facts": told,
        "next": found[-1].position if len(found) == limit else None,
        "complete": not gaps,
        "gaps": gaps,
    }


def models(asked: Asked) -> Answer:
    """Return the candidates, newest first."""
    entries = catalogue(asked.store)
    ion, node = asked.text("ion"), asked.text("node")
    if ion:
        entries = [entry for entry in entries if entry.node.partition("/")[0] == ion]
    if node:
        entries = [entry for entry in entries if entry.node == node or node in entry.serving]
    first, limit = asked.number("after"), max(asked.number("limit"), 1)
    page = entries[first : first + limit]
    following = first + limit
    return {
        "models": [entry.as_dict() for entry in page],
        "next": following if following < len(entries) else None,
    }


def candidates(asked: Asked) -> Answer:
    """Return every candidate with its standing, oldest first."""
    after, limit = asked.number("after"), max(asked.number("limit"), 1)
    found = [each for each in asked.store.candidates() if each.position > after][: limit + 1]
    page = found[:limit]
    return {
        "candidates": [asdict(each) for each in page],
        "next": page[-1].position if len(found) > limit else None,
    }


def why(asked: Asked) -> Answer:
    """Return who, where, what, when and how of a prediction; ``complete`` is false where something is missing."""
    return explain(asked.store, asked.path["prediction"], asked.deployment.home).as_dict()


def statistics(asked: Asked) -> Answer:
    """Return the time series of a run; with ``series`` the points of that one, by time.

    A page ends between points of different times, so that ``next`` loses and doubles none.
    """
    run, series = asked.text("run"), asked.text("series")
    if not run:
        raise IonError("bad-request", "the parameter run is missing")
    told = [
        {"name": each.name, "epoch": each.epoch, "n": each.count, "first": each.first, "last": each.last}
        for each in asked.store.statistics.series(run)
    ]
    gaps = _gaps(asked.store, [run])
    answer: dict[str, object] = {"run": run, "series": told, "complete": not gaps, "gaps": gaps, "next": None}
    if series:
        answer |= _points(asked, run, series)
    return answer


def _points(asked: Asked, run: str, series: str) -> dict[str, object]:
    since, until, limit = asked.number("since"), asked.number("until"), max(asked.number("limit"), 1)
    epoch = asked.text("epoch") if asked.given("epoch") else None
    points = asked.store.points(run, series, since or None, until - 1 if until else None, epoch=epoch)
    times, values = points.times.tolist(), points.values.tolist()
    end = limit
    while 0 < end < len(times) and times[end] == times[end - 1]:
        end += 1  # these have one time: they come together
    following = times[end] if end < len(times) else None
    return {"times": times[:end], "values": values[:end], "next": following}


def agents(asked: Asked) -> Answer:
    """Return the agents by name, and how far each was acknowledged."""
    limit = max(asked.number("limit"), 1)
    found = asked.store.index.agents(asked.text("after"), limit)
    return {
        "agents": [{"agent": agent, "acknowledged": seq, "at": rfc3339(us)} for agent, seq, us in found],
        "next": found[-1][0] if len(found) == limit else None,
    }


def current(asked: Asked) -> Answer:
    """Return what a node should serve now."""
    node = checked_node(f"{asked.path['ion']}/{asked.path['node']}")
    return asdict(asked.store.current(node))


def head(asked: Asked) -> Answer:
    """Return the newest position and its link."""
    now = asked.store.head()
    return {"position": now.position, "link": now.link.hex()}


def entries(asked: Asked) -> Answer:
    """Return records as they were hashed, with their links: what a verifier walks."""
    limit = max(asked.number("limit"), 1)
    found = asked.store.index.entries(asked.number("after") + 1, limit)
    return {
        "entries": [
            {"position": position, "record": b64encode(raw).decode(), "link": link.hex()}
            for position, raw, link in found
        ],
        "next": found[-1][0] if len(found) == limit else None,
    }


def checkpoint(asked: Asked) -> Answer:
    """Return the newest signed checkpoint.

    Raises:
        IonError: ``unknown-checkpoint``.
    """
    found = asked.store.latest(CheckpointSigned)
    if found is None:
        raise IonError("unknown-checkpoint", "no checkpoint was signed yet", "the sensor `checkpoint` does, hourly")
    return {"size": found.fact.size, "root": found.fact.root, "note": found.fact.note, "position": found.position}


def _of_ion(store: GovernanceStore, ion: str) -> list[str]:
    """Return the ION and its nodes, of all its versions: what facts about it name."""
    named = {ion}
    for record in store.find(IonDefined, ion):
        nodes = record.fact.definition.get("nodes", ())
        members = nodes if isinstance(nodes, list | tuple) else ()
        named |= {f"{ion}/{node['name']}" for node in members if isinstance(node, dict) and "name" in node}
    return sorted(named)


def _gaps(store: GovernanceStore, scopes: Iterable[str]) -> list[Answer]:
    wanted = sorted({scope for scope in scopes if scope})
    found = store.index.search(Search([GapNoted.__name__], [wanted[:_SCOPES]], limit=1000)) if wanted else []
    return [{"position": listed.position, **_body(listed.record)} for listed in found]


def _body(record: object) -> dict[str, object]:
    body = record.get("body") if isinstance(record, dict) else None
    return dict(body) if isinstance(body, dict) else {}


ROUTES = (
    Endpoint(
        "GET",
        "/v1/facts",
        facts,
        "Facts in store order.",
        "reader",
        (
            Parameter("kind", "Kinds of fact, separated by commas.", several=True),
            Parameter("subject", "What the fact speaks of: any value of its subjects."),
            Parameter("ion", "An ION: facts that name it or one of its nodes."),
            Parameter("node", "A node, ion/node: facts that name it."),
            Parameter("run", "A node run: facts that name it."),
            Parameter("model", "A model digest: facts that name it."),
            Parameter("agent", "Who told it."),
            Parameter("since", "Told at or after this time, microseconds UTC.", "integer", 0),
            Parameter("until", "Told before this time, microseconds UTC.", "integer", 0),
            _AFTER,
            _LIMIT,
        ),
    ),
    Endpoint(
        "GET",
        "/v1/models",
        models,
        "Candidates, newest first.",
        "reader",
        (
            Parameter("ion", "Made in this ION."),
            Parameter("node", "Made by this node, or serving at it."),
            _AFTER,
            _LIMIT,
        ),
    ),
    Endpoint("GET", "/v1/candidates", candidates, "Candidates and their verdicts.", "reader", (_AFTER, _LIMIT)),
    Endpoint("GET", "/v1/predictions/{prediction}/why", why, "Everything that had a part in a prediction.", "reader"),
    Endpoint(
        "GET",
        "/v1/agents",
        agents,
        "Agents, and how far each was acknowledged.",
        "reader",
        (Parameter("after", "`next` of the page before."), _LIMIT),
    ),
    Endpoint(
        "GET",
        "/v1/statistics",
        statistics,
        "The time series of a run, and the points of one.",
        "reader",
        (
            Parameter("run", "The node run; it must be given."),
            Parameter("series", "Return the points of this series."),
            Parameter("epoch", "Of this epoch only; given but empty: told outside of any."),
            Parameter("since", "At or after this time, microseconds UTC; `next` of the page before.", "integer", 0),
            Parameter("until", "Before this time, microseconds UTC.", "integer", 0),
            Parameter("limit", "How many points at most, but for points of one time.", "integer", 10_000, 100_000),
        ),
    ),
    Endpoint("GET", "/v1/nodes/{ion}/{node}/current", current, "What a node should serve now.", "reader"),
    Endpoint("GET", "/v1/head", head, "The newest position and link.", "reader"),
    Endpoint("GET", "/v1/ledger/entries", entries, "Records as hashed, with links.", "auditor", (_AFTER, _LIMIT)),
    Endpoint("GET", "/v1/ledger/checkpoint", checkpoint, "The newest signed checkpoint.", "auditor"),
)
