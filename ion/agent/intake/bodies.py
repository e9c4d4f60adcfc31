"""Facts from JSON: every field, and what is in its lists, of the type that `ion.facts` gives it.

`ion.records` looks at the outside of a field alone, which suffices for who wrote the fact in Python. What other
programs send is checked to the members.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.facts import KINDS

if TYPE_CHECKING:
    from ion.facts import Fact

_PLAIN: dict[object, tuple[type, ...]] = {str: (str,), int: (int,), bool: (bool,), float: (int, float)}


def fact_from(kind: type[Fact], body: object) -> Fact:
    """Return the fact of a kind with the fields in ``body``.

    Raises:
        IonError: ``bad-fact``.
    """
    name = kind.__name__
    if not isinstance(body, dict):
        raise IonError("bad-fact", f"the body of a {name} is a JSON object", "docs/reference/facts.md names its fields")
    hints = _hints(name)
    unknown, missing = sorted(set(body) - set(hints)), sorted(_required(name) - set(body))
    if unknown or missing:
        told = [f"has no field {field!r:.60}" for field in unknown] + [f"needs {field}" for field in missing]
        raise IonError("bad-fact", f"a {name} {', '.join(told)}"[:300], "docs/reference/facts.md names its fields")
    for field, value in body.items():
        if not _fits(value, hints[field]):
            raise IonError("bad-fact", f"{name}.{field} is of a wrong type", "docs/reference/facts.md tells which")
    return kind(**body)


@functools.cache
def _hints(name: str) -> dict[str, object]:
    kind = KINDS[name]
    resolved = typing.get_type_hints(kind)
    return {item.name: resolved[item.name] for item in dataclasses.fields(kind)}


@functools.cache
def _required(name: str) -> frozenset[str]:
    missing = dataclasses.MISSING
    items = dataclasses.fields(KINDS[name])
    return frozenset(item.name for item in items if item.default is missing and item.default_factory is missing)


def _fits(value: object, hint: object) -> bool:
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is Sequence:
        return isinstance(value, list) and all(_fits(member, members[0]) for member in value)
    if origin is Mapping:
        return isinstance(value, dict)
    if type(None) in members:
        return any(value is None if member is type(None) else _fits(value, member) for member in members)
    accepted = _PLAIN.get(hint)
    if accepted is None:
        return True  # any JSON value
    return isinstance(value, accepted) and (bool in accepted or not isinstance(value, bool))
