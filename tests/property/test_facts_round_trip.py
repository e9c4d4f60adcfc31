"""Every kind of fact, with any values of its types, is read back exactly as it was written."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.clock import Stamp
from ion.errors import IonError
from ion.facts import KINDS, Fact
from ion.records import read_record, write_record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SUBJECT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
INTEGER = st.integers(-(2**53) + 1, 2**53 - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGER | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def values(kind: type[Fact], name: str, hint: object) -> st.SearchStrategy[object]:
    origin, members = typing.get_origin(hint) or hint, typing.get_args(hint)
    subject = name in kind.SUBJECTS
    if type(None) in members:
        return st.none() | values(kind, name, next(member for member in members if member is not type(None)))
    if origin is Sequence:
        return st.lists(SUBJECT if subject else values(kind, "", members[0]), max_size=4)
    if origin is Mapping:
        return st.dictionaries(TEXT, SUBJECT if subject else JSON, max_size=3)
    if origin is str:
        return SUBJECT if subject else TEXT
    plain: dict[object, st.SearchStrategy[object]] = {int: INTEGER, bool: st.booleans(), float: FLOAT}
    return plain.get(origin, JSON)


def facts(kind: type[Fact]) -> st.SearchStrategy[Fact]:
    hints = typing.get_type_hints(kind)
    fields = {item.name: values(kind, item.name, hints[item.name]) for item in dataclasses.fields(kind)}
    return st.builds(kind, **fields)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_fact_is_read_back_as_it_was_written(kind: type[Fact], data: st.DataObject) -> None:
    fact = data.draw(facts(kind))
    stamp = Stamp(data.draw(st.integers(0, 2**53 - 1)), data.draw(st.integers(0, 9)))
    record = write_record(fact, fact_id="id", agent="agent", seq=data.draw(st.integers(0, 2**53 - 1)), stamp=stamp)
    read = read_record(record.raw)
    assert read.fact == fact
    assert (read.stamp, read.seq, read.raw) == (stamp, record.seq, record.raw)
    again = write_record(read.fact, fact_id="id", agent="agent", seq=read.seq, stamp=read.stamp)
    assert again.raw == record.raw
    assert read.fact.subjects() == fact.subjects()


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=200) | JSON.map(lambda value: repr(value).encode()))
def test_any_other_bytes_are_a_bad_fact(raw: bytes) -> None:
    with pytest.raises(IonError) as caught:
        read_record(raw)
    assert caught.value.code == "bad-fact"
