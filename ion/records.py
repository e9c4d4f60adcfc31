"""Records: facts as their authors wrote them, with identity, author, order and time; the bytes that are hashed."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from ion.canonical import canonical_bytes, digest_bytes
from ion.clock import Stamp
from ion.earlier import in_todays_form
from ion.errors import IonError
from ion.facts import KINDS, Fact
from ion.values import dataclass

F_co = TypeVar("F_co", bound=Fact, covariant=True)


@dataclass(frozen=True, slots=True)
class Record:
    """A fact as its author wrote it: identity, author, order, time. ``raw`` is what is hashed."""

    id: str
    agent: str
    seq: int
    stamp: Stamp
    fact: Fact
    raw: bytes

    @property
    def digest(self) -> str:
        """The digest of the record's canonical bytes."""
        return digest_bytes(self.raw)


@dataclass(frozen=True, slots=True)
class Recorded(Generic[F_co]):
    """A fact in the store: ``position`` in store order (from 1), author, time (µs)."""

    position: int
    id: str
    agent: str
    us: int
    fact: F_co


def write_record(fact: Fact, *, fact_id: str, agent: str, seq: int, stamp: Stamp) -> Record:
    """Return the record of a fact, ready to spool or append; `read_record` takes whatever this returns.

    Raises:
        IonError: ``not-canonical`` when a field holds what JSON cannot (NaN, foreign types),
            ``bad-fact`` when a field, the id or the agent is not of its type and form.
    """
    body = {item.name: getattr(fact, item.name) for item in dataclasses.fields(fact)}
    record = Record(fact_id, agent, seq, stamp, fact, b"")
    try:
        _check_record(record)
        _check_body(type(fact), body)
    except (TypeError, ValueError) as error:
        raise IonError(
            "bad-fact", f"not a fact: {error}"[:300], "the program told something of a wrong form"
        ) from error
    value = {
        "agent": agent,
        "body": body,
        "counter": stamp.counter,
        "id": fact_id,
        "kind": type(fact).__name__,
        "seq": seq,
        "us": stamp.us,
    }
    return dataclasses.replace(record, raw=canonical_bytes(value))


def read_record(raw: bytes) -> Record:
    """Parse a record and check that it is canonical, of a known kind and well typed.

    Raises:
        IonError: ``bad-fact``.
    """
    try:
        value = json.loads(raw, parse_int=_integer)
        kind = KINDS[value["kind"]]
        body = in_todays_form(value["kind"], value["body"])
        fact = kind(**body)
        _check_body(kind, body)
        record = Record(value["id"], value["agent"], value["seq"], Stamp(value["us"], value["counter"]), fact, raw)
        _check_record(record)
        canonical = len(value) == 7 and canonical_bytes(value) == raw  # noqa: PLR2004 - the seven fields above
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IonError) as error:
        raise IonError("bad-fact", f"not a fact: {error!r}"[:300]) from error
    if not canonical:
        raise IonError("bad-fact", f"{value['kind']} is not in canonical form")
    return record


def _integer(text: str) -> int | float:
    """Read an integer literal; RFC 8785 also writes the floats from 2^53 to 1e21 as such."""
    number = int(text)
    return number if abs(number) < 2**53 else float(text)


_ACCEPTED: dict[object, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    bool: (bool,),
    float: (int, float),
    Sequence: (list, tuple),
    Mapping: (dict,),
}
_NAME = re.compile(r"[!-~]{1,200}\Z")
_LONGEST_SUBJECT = 300
"""Characters. A subject is part of a database index, whose rows are limited."""


def _check_record(record: Record) -> None:
    """Raise TypeError or ValueError when identity, author, order or time are not of their form."""
    texts: tuple[tuple[str, object], ...] = (("id", record.id), ("agent", record.agent))
    for name, text in texts:
        if not isinstance(text, str) or not _NAME.match(text):
            message = f"its {name} is {text!r}"
            raise ValueError(message)
    for name, number in (("seq", record.seq), ("us", record.stamp.us), ("counter", record.stamp.counter)):
        if type(number) is not int or number < 0:
            message = f"its {name} is {number!r}"
            raise ValueError(message)


def _check_body(kind: type[Fact], body: Mapping[str, object]) -> None:
    """Raise TypeError when a field's outer JSON type is not the annotated one, ValueError for a bad subject."""
    for name, hint in _hints(kind).items():
        if hint is None or name not in body:
            continue
        value = body[name]
        if not isinstance(value, hint) or (isinstance(value, bool) and bool not in hint):
            message = f"{kind.__name__}.{name} holds a {type(value).__name__}"
            raise TypeError(message)
    for name in kind.SUBJECTS:
        value = body.get(name, "")
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        for member in members:
            if not isinstance(member, str) or len(member) > _LONGEST_SUBJECT or "\0" in member:
                message = f"{kind.__name__}.{name} names {member!r:.50}: give a text of at most {_LONGEST_SUBJECT}"
                raise ValueError(message)


_HINTS: dict[type[Fact], dict[str, tuple[type, ...] | None]] = {}


def _hints(kind: type[Fact]) -> dict[str, tuple[type, ...] | None]:
    """Return, per field, the accepted JSON types; None for a field that takes any JSON value."""
    if kind not in _HINTS:
        known: dict[str, tuple[type, ...] | None] = {}
        resolved = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            members = typing.get_args(resolved[item.name]) if _is_union(resolved[item.name]) else ()
            accepted: tuple[type, ...] = ()
            for member in members or (resolved[item.name],):
                if member is type(None):
                    accepted += (type(None),)
                else:
                    accepted += _ACCEPTED.get(typing.get_origin(member) or member, ())
            known[item.name] = accepted or None
        _HINTS[kind] = known
    return _HINTS[kind]


def _is_union(hint: object) -> bool:
    return typing.get_origin(hint) is not None and type(None) in typing.get_args(hint)
