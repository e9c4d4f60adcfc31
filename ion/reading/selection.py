"""Which facts are meant: by ION, node, run, model and time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TypedDict, TypeVar

from ion.errors import IonError
from ion.facts import EpochOpened, Fact, IonDefined, ModelRecorded, NodeRunStarted
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.records import Recorded

F = TypeVar("F", bound=Fact)
Moment = datetime | int | None
"""An aware time, microseconds UTC, or nothing."""
_START = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_LOOKED_UP = 500
"""More subjects than this are not looked up one by one: all facts of the kind are read instead."""
_ALSO = ("node", "sender", "receiver", "run", "epoch", "scope")
"""Fields that tie a fact to what is asked for, also where it is not found by them."""


class Where(TypedDict, total=False):
    """What the questions can be narrowed to; everything given must hold.

    ``ion``: of this ION. ``node``: of this node, written ``ion/node``. ``run``: of this node run. ``model``: about
    this model digest, the runs that made it and the epochs in which it served. ``since`` and ``until``: from the
    one moment on, before the other: aware ``datetime``s, or microseconds UTC.
    """

    ion: str
    node: str
    run: str
    model: str
    since: Moment
    until: Moment


class Source(Protocol):
    """What answers: the governance store, or something that asks it."""

    def find(self, kind: type[F], subject: str | None = None) -> list[Recorded[F]]:
        """Return the facts of a kind, about ``subject`` if given, in store order."""
        ...


@dataclass(frozen=True, slots=True)
class Reach:
    """A run's node, and which of its epochs are meant; None: all of the run."""

    node: str
    epochs: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Everything given must hold; nothing given means all. ``since`` is inclusive, ``until`` is not (µs UTC)."""

    ion: str = ""
    node: str = ""
    run: str = ""
    model: str = ""
    since: int = 0
    until: int = 2**62

    @classmethod
    def of(
        cls,
        *,
        ion: str = "",
        node: str = "",
        run: str = "",
        model: str = "",
        since: Moment = None,
        until: Moment = None,
    ) -> Selection:
        """Return the selection that a `Where` means.

        Raises:
            IonError: ``bad-time`` for a time without a zone.
        """
        return cls(ion, node, run, model, _us(since, 0), _us(until, 2**62))

    def facts(self, source: Source, kind: type[F]) -> list[Recorded[F]]:
        """Return the selected facts of a kind, in store order."""
        wanted = [found for found in self._wanted(source) if found is not None]
        if not wanted or min(map(len, wanted)) > _MOST_LOOKED_UP:
            candidates = source.find(kind)
        else:
            by_position = {r.position: r for each in min(wanted, key=len) for r in source.find(kind, each)}
            candidates = [by_position[position] for position in sorted(by_position)]
        return [
            record
            for record in candidates
            if self.since <= record.us < self.until and all(ids & _ids(record.fact) for ids in wanted)
        ]

    def reach(self, source: Source) -> dict[str, Reach]:
        """Return the selected runs; of those that only served the selected model, the epochs in which they did."""
        others = Selection(self.ion, self.node, self.run)
        if not self.model:
            return {r.fact.run: Reach(r.fact.node, None) for r in others.facts(source, NodeRunStarted)}
        served: dict[str, set[str]] = {}
        for opened in source.find(EpochOpened, self.model):
            served.setdefault(opened.fact.run, set()).add(opened.fact.epoch)
        epochs: dict[str, set[str] | None] = {**served}
        epochs |= dict.fromkeys(record.fact.run for record in source.find(ModelRecorded, self.model))
        wanted = [found for found in others._wanted(source) if found is not None]
        return {
            run: Reach(record.fact.node, None if only is None else frozenset(only))
            for run, only in epochs.items()
            for record in source.find(NodeRunStarted, run)
            if all(ids & _ids(record.fact) for ids in wanted)
        }

    @property
    def narrow(self) -> bool:
        """Whether it means less than everything, times aside."""
        return bool(self.ion or self.node or self.run or self.model)

    def _wanted(self, source: Source) -> list[set[str] | None]:
        """Return, for every filter, the ids of which a fact has to name one."""
        return [
            {self.run, *_epochs(source, self.run)} if self.run else None,
            _of_model(source, self.model) if self.model else None,
            _of_node(source, self.node) if self.node else None,
            _of_ion(source, self.ion) if self.ion else None,
        ]


def _epochs(source: Source, subject: str) -> set[str]:
    return {record.fact.epoch for record in source.find(EpochOpened, subject)}


def _of_model(source: Source, model: str) -> set[str]:
    """Return the model, the runs that made it, and the epochs in which it served."""
    return {model, *(record.fact.run for record in source.find(ModelRecorded, model)), *_epochs(source, model)}


def _of_node(source: Source, node: str) -> set[str]:
    runs = {record.fact.run for record in source.find(NodeRunStarted, node)}
    return {node, *runs, *_epochs(source, node)}


def _of_ion(source: Source, ion: str) -> set[str]:
    mine = f"{ion}/"
    found = {ion}
    for defined in source.find(IonDefined, ion):
        nodes = defined.fact.definition.get("nodes", ())
        found.update(mine + str(node["name"]) for node in nodes if isinstance(node, dict))  # type: ignore[attr-defined]
    for started in source.find(NodeRunStarted):
        if started.fact.node.startswith(mine):
            found.update({started.fact.node, started.fact.run})
    found.update(r.fact.epoch for r in source.find(EpochOpened) if r.fact.node.startswith(mine))
    return found


def _ids(fact: Fact) -> set[str]:
    return fact.subjects() | {str(getattr(fact, name)) for name in _ALSO if hasattr(fact, name)}


def _us(moment: Moment, otherwise: int) -> int:
    if moment is None:
        return otherwise
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise IonError(
                "bad-time", f"{moment} has no time zone", "give datetime(…, tzinfo=UTC), or microseconds UTC"
            )
        return round((moment - _START) / timedelta(microseconds=1))
    return moment
