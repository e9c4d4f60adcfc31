"""What a model registry should show, by our facts, and how what it shows differs. MLflow is the one we know.

The registry is a mirror: nothing that is served follows from it. `Expectations` folds the facts into what
should be there, `compare` finds what is otherwise, `ion.decision.mirror_alerts` tells it.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from ion.facts import MirrorUpdated, ModelRecorded, ModelRevoked, Promoted, RolledBack
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ion.store import Current, GovernanceStore

ALIAS = "champion"
"""What names, in the registry, the version that is served."""

_CLOCKS_US = 60_000_000
"""How far the registry's clock may be ahead of that of a training."""

_MOST = 200
"""Registered models without a promoted version that are watched: whoever trains may claim any number of them."""

Change = Promoted | RolledBack | ModelRevoked
_CHANGES: tuple[type[Promoted], type[RolledBack], type[ModelRevoked]] = (Promoted, RolledBack, ModelRevoked)
Place = tuple[str, str]
"""The name of a registered model, and a version of it (or an alias)."""


@dataclass(frozen=True, slots=True)
class ExpectedVersion:
    """A version that a training registered; empty fields are not known."""

    name: str
    version: str
    model: str
    recorded_us: int
    registry_run: str = ""
    created_us: int = 0
    tags: Mapping[str, object] = field(default_factory=dict)
    rejected: bool = False

    @property
    def place(self) -> Place:
        """Where it is in the registry."""
        return self.name, self.version


@dataclass(frozen=True, slots=True)
class ExpectedAlias:
    """The versions an alias may name (``""``: none at all), and the node whose serving it mirrors."""

    name: str
    alias: str
    allowed: frozenset[str]
    node: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What should be in the registry at one moment; ``versions`` are in the order they were recorded."""

    aliases: Mapping[Place, ExpectedAlias]
    versions: Mapping[Place, ExpectedVersion]

    @property
    def names(self) -> list[str]:
        """The registered models to look at: all with a promoted version, and the newest others."""
        served = sorted({name for name, _ in self.promoted()})
        others = [name for name, _ in self.aliases if name not in set(served)]
        return [*served, *others[-_MOST:]]

    def promoted(self) -> set[Place]:
        """Return the versions that an alias may name."""
        return {(each.name, version) for each in self.aliases.values() for version in each.allowed if version}


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """A version as the registry shows it. ``bytes_problem`` says how its files differ; None: not looked at."""

    version: str
    registry_run: str
    created_us: int
    tags: Mapping[str, str]
    bytes_problem: str | None = None


@dataclass(frozen=True, slots=True)
class SeenModel:
    """A registered model as the registry shows it; ``asked`` versions are not there unless in ``versions``."""

    aliases: Mapping[str, str]
    versions: Mapping[str, SeenVersion]
    asked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something is otherwise than it should be; ``about`` stays the same as long as it concerns the same thing."""

    about: str
    alert: str
    scope: str
    message: str


class Expectations:
    """The fold of the facts; reads only what is new to it."""

    def __init__(self) -> None:
        self._position = 0
        self._versions: dict[Place, ExpectedVersion] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._mirrored: dict[Place, MirrorUpdated] = {}
        self._aliases: dict[Place, tuple[str, str]] = {}
        self._trainers: dict[str, str] = {}
        self._nodes: set[str] = set()

    def catch_up(self, store: GovernanceStore) -> Expected:
        """Return what should be in the registry by the facts up to now."""
        head = store.head().position
        for recorded in store.find(ModelRecorded, after=self._position):
            self._record(recorded.fact, recorded.us)
        self._nodes.update(change.node for _, change in changes(store, self._position))
        for mirrored in store.find(MirrorUpdated, after=self._position):
            fact = mirrored.fact
            if fact.version:
                self._mirrored[fact.name, fact.version] = fact
            self._aliases[fact.name, fact.alias] = (fact.version, _node_of(store, fact.cause))
        self._position = head
        rejected = {(row.model, row.run) for row in store.candidates() if row.verdict == "reject"}
        return self._expected([store.current(node) for node in sorted(self._nodes)], rejected)

    def _record(self, fact: ModelRecorded, us: int) -> None:
        place = registered(fact)
        if place is not None and (fact.model, fact.run) not in self._places:
            made = ExpectedVersion(*place, fact.model, us, str(fact.links.get("mlflow_run", "")))
            self._versions.setdefault(place, made)
            self._places[fact.model, fact.run] = place
            self._trainers[place[0]] = fact.node

    def _expected(self, serving: Collection[Current], rejected: set[tuple[str, str]]) -> Expected:
        now: dict[str, set[str]] = {}
        for current in serving:
            place = self._places.get((current.model, current.run))
            if place is not None and not current.halted:
                now.setdefault(place[0], set()).add(place[1])
        aliases: dict[Place, ExpectedAlias] = {}
        for name, trainer in self._trainers.items():
            version, node = self._aliases.get((name, ALIAS), ("", trainer))
            allowed = frozenset({version, *now.get(name, set())})
            aliases[name, ALIAS] = ExpectedAlias(name, ALIAS, allowed, node)
        out = {self._places[candidate] for candidate in rejected if candidate in self._places}
        versions = {
            place: ExpectedVersion(
                made.name,
                made.version,
                made.model,
                made.recorded_us,
                made.registry_run,
                self._mirrored[place].created if place in self._mirrored else 0,
                self._mirrored[place].tags if place in self._mirrored else {},
                rejected=place in out and place not in self._mirrored,
            )
            for place, made in self._versions.items()
        }
        return Expected(aliases, versions)


def registered(fact: ModelRecorded) -> Place | None:
    """Return where a training registered its model; None when it did not, or says it in a form nobody can look up."""
    name, version = str(fact.links.get("mlflow_model", "")), str(fact.links.get("mlflow_version", ""))
    plain = 0 < len(name) <= 250 and name.isprintable() and not set("'\"`/:") & set(name)  # noqa: PLR2004 - MLflow's
    return (name, version) if plain and version.isascii() and version.isdecimal() else None


def _node_of(store: GovernanceStore, cause: str) -> str:
    found: list[Change] = [record.fact for kind in _CHANGES for record in store.find(kind, cause)]
    return found[0].node if found else ""


def compare(expected: Expected, seen: Mapping[str, SeenModel | None]) -> tuple[list[Difference], set[str]]:
    """Return what differs, and the ``about`` of everything that was looked at and found in order.

    A registered model that is missing from ``seen`` was not looked at; None: the registry has none of that name.
    """
    differences: list[Difference] = []
    fine: set[str] = set()

    def note(about: str, alert: str, scope: str, problem: str) -> None:
        if problem:
            differences.append(Difference(about, alert, scope, problem))
        else:
            fine.add(about)

    for alias in expected.aliases.values():
        if alias.name in seen:
            problem = _alias_problem(alias, seen[alias.name])
            note(f"mlflow:{alias.name}@{alias.alias}", "mirror-alias-moved", alias.node, problem)
    promoted = expected.promoted()
    for version in expected.versions.values():
        model = seen.get(version.name)
        if version.name not in seen or (version.rejected and version.place not in promoted):
            continue
        about, label = f"mlflow:{version.name}/{version.version}", f"MLflow's {version.name} version {version.version}"
        shown = model.versions.get(version.version) if model else None
        if shown is None:
            if model is None or version.version in model.asked:
                note(about, "mirror-version-missing", version.model, f"{label} is gone")
            continue
        remade = _remade(version, shown)
        note(about, "mirror-version-recreated", version.model, remade and f"{label} is another one: {remade}")
        tags = _tag_problem(version, shown)
        note(f"{about} tags", "mirror-tag-changed", version.model, tags and f"{label}: {tags}")
        if shown.bytes_problem is not None:
            found = shown.bytes_problem and f"{label} holds other bytes than were recorded: {shown.bytes_problem}"
            note(f"{about} bytes", "mirror-bytes-differ", version.model, found)
    return differences, fine


def _alias_problem(alias: ExpectedAlias, model: SeenModel | None) -> str:
    shown = model.aliases.get(alias.alias, "") if model else ""
    if shown in alias.allowed:
        return ""
    wanted = " or ".join(_named(version) for version in sorted(alias.allowed))
    return (
        f"MLflow's alias {alias.alias} of {alias.name} names {_named(shown)}, not {wanted}: what is served is the same"
    )


def _named(version: str) -> str:
    return f"version {version}" if version else "no version"


def _remade(version: ExpectedVersion, shown: SeenVersion) -> str:
    if version.registry_run and shown.registry_run != version.registry_run:
        return f"it belongs to run {shown.registry_run[:64] or '(none)'}, not {version.registry_run}"
    latest = version.created_us or version.recorded_us + _CLOCKS_US
    if (version.created_us and shown.created_us != version.created_us) or shown.created_us > latest:
        return "it was made after the training had registered it"
    return ""


def _tag_problem(version: ExpectedVersion, shown: SeenVersion) -> str:
    other = sorted(name for name, value in version.tags.items() if shown.tags.get(name) != value)
    return f"the tag {', '.join(other)} is not as it was set" if other else ""


def changes(store: GovernanceStore, after: int) -> list[tuple[int, Change]]:
    """Return what changed what nodes serve, with positions, oldest first."""
    found: list[tuple[int, Change]] = [
        (record.position, record.fact) for kind in _CHANGES for record in store.find(kind, after=after)
    ]
    return sorted(found, key=lambda item: item[0])
