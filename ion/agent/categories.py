"""Counts by category: the histogram of a feature that is no number; mergeable by adding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Categories:
    """``counts[i]`` values equal to ``categories[i]``, plus all ``other`` ones and the ``missing``."""

    categories: tuple[str, ...]
    counts: tuple[int, ...]
    other: int = 0
    missing: int = 0

    @classmethod
    def of(cls, values: Iterable[object], categories: Sequence[str]) -> Categories:
        """Count ``values``, as texts, into declared ``categories``; None and NaN are missing.

        Raises:
            IonError: ``bad-histogram`` when no category is given, or one twice.
        """
        if not categories or len(set(categories)) != len(categories):
            raise IonError("bad-histogram", "name at least one category, and each once")
        found, missing = _counted(values)
        inside = tuple(found.get(category, 0) for category in categories)
        return cls(tuple(categories), inside, sum(found.values()) - sum(inside), missing)

    @classmethod
    def spanning(cls, values: Iterable[object], most: int = 20, *, at_least: int = 5) -> Categories:
        """Count ``values`` into the ``most`` frequent of them, in alphabetical order; the others are ``other``.

        A category that occurs fewer than ``at_least`` times is not named: it may name a person.

        Raises:
            IonError: ``bad-histogram`` when none is frequent enough.
        """
        found, missing = _counted(values)
        often = sorted((text for text, count in found.items() if count >= at_least), key=lambda t: (-found[t], t))
        if not often:
            hint = "declare the categories, or lower at_least where they name nobody"
            raise IonError("bad-histogram", f"no category occurs {at_least} times", hint)
        named = sorted(often[:most])
        inside = tuple(found[category] for category in named)
        return cls(tuple(named), inside, sum(found.values()) - sum(inside), missing)

    @property
    def total(self) -> int:
        """How many values were counted, other and missing ones included."""
        return sum(self.counts) + self.other + self.missing

    def merged(self, other: Categories) -> Categories:
        """Return the sum of two counts over the same categories.

        Raises:
            IonError: ``bad-histogram`` when the categories differ.
        """
        if self.categories != other.categories:
            raise IonError("bad-histogram", "only counts over the same categories can be merged")
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Categories(self.categories, counts, self.other + other.other, self.missing + other.missing)


def _counted(values: Iterable[object]) -> tuple[dict[str, int], int]:
    found: dict[str, int] = {}
    missing = 0
    for value in values:
        if value is None or value != value:  # noqa: PLR0124 - NaN, also where numpy is not asked
            missing += 1
        else:
            text = str(value)
            found[text] = found.get(text, 0) + 1
    return found, missing
