"""Reading OpenLineage's objects: what has a wrong type is refused, what is not known is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Text:
    """A value that should be a text; anything else counts as none."""

    value: object

    def cut(self, most: int) -> str:
        """Return at most so many characters."""
        return self.value[:most] if isinstance(self.value, str) else ""

    def first_line(self, most: int) -> str:
        """Return its first line that is not empty, at most so many characters."""
        return next((line.strip()[:most] for line in self.cut(100_000).splitlines() if line.strip()), "")


@dataclass(frozen=True, slots=True)
class Facets:
    """An object of an event (run, job, dataset, or one facet) with the facets that stand in it."""

    name: str
    fields: Mapping[str, object]
    facets: Mapping[str, object]

    @classmethod
    def of(cls, owner: Mapping[str, object], name: str) -> Self:
        """Return the object ``name`` of another; an empty one when it is left out.

        Raises:
            IonError: ``bad-event`` when it is something else.
        """
        return cls._read(owner.get(name), name)

    @classmethod
    def each(cls, owner: Mapping[str, object], name: str) -> Iterator[Self]:
        """Yield the objects of a list; none when it is left out.

        Raises:
            IonError: ``bad-event``.
        """
        members = owner.get(name)
        if members is not None and not isinstance(members, list):
            raise _wrong(name)
        for member in members or ():
            yield cls._read(member, name)

    @classmethod
    def _read(cls, value: object, name: str) -> Self:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise _wrong(name)
        found: dict[str, object] = {}
        for part in ("facets", "inputFacets", "outputFacets"):
            inner = value.get(part)
            if inner is not None and not isinstance(inner, dict):
                raise _wrong(f"{name}.{part}")
            found |= inner or {}
        return cls(name, value, found)

    def facet(self, name: str) -> Facets:
        """Return one facet; an empty one when it is not there, or marked as deleted.

        Raises:
            IonError: ``bad-event``.
        """
        facet = Facets.of(self.facets, name)
        return Facets(name, {}, {}) if facet.fields.get("_deleted") else facet

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text of at most 300 characters; without a default it must be there.

        Raises:
            IonError: ``bad-event``.
        """
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or "\0" in value or (default is None and not value):
            raise _wrong(f"{self.name}.{name}")
        return value[:_LONGEST]

    def texts(self, *names: str) -> dict[str, object]:
        """Return the texts that are there, by name."""
        found = {name: self.text(name, "") for name in names}
        return {name: text for name, text in found.items() if text}


def untaken(facets: Mapping[str, object], taken: frozenset[str]) -> list[str]:
    """Return the names of the facets that nothing is made of."""
    return [name[:100] for name in facets if name not in taken]


def number(value: object) -> float | None:
    """Return a finite number of JSON, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _wrong(name: str) -> IonError:
    return IonError("bad-event", f"{name} is missing or of a wrong type"[:200], "openlineage.io/spec tells the form")
