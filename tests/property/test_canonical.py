"""The quick writer of hashed JSON writes and refuses exactly what the RFC 8785 package does."""

from __future__ import annotations

import enum
import math
import struct

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from ion.canonical import canonical_bytes
from ion.errors import IonError

BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0])
NUMBERS = st.one_of(
    st.integers(-(2**54), 2**54),
    st.sampled_from([2**53 - 1, 2**53, -(2**53), 10**15, 9 * 10**15, 10**16, 10**30]),
    BITS,
    st.floats(),
    st.integers(-(10**17), 10**17).map(float),
    st.builds(lambda digits, power: float(f"{digits}e{power}"), st.integers(-999, 999), st.integers(-30, 30)),
)
TEXTS = st.one_of(
    st.text(), st.sampled_from(["1.0", '"1.0,', "1e-7", "\\", '\\"', "\x7f\x1f", "\ud800", "\ue000", "\U00010000"])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(TEXTS, inner)),
    max_leaves=20,
)


def by_the_package(value: object) -> bytes | None:
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return None


def by_us(value: object) -> bytes | None:
    try:
        return canonical_bytes(value)
    except IonError:
        return None


@given(VALUES)
@example({"a": [1.0, -0.0, 1e-7, 1e16, 1e21, 1e22, 123456.0, 5e-324, 2**53 - 1], "b": "1.0]"})
@example([1e15, 9007199254740993.0, 9007199254740991, -9007199254740991, 0.1])
@example({"\U00010000": 1, "\ue000": 2})
@example(1.0)
def test_every_json_value_has_the_packages_bytes_or_none(value: object) -> None:
    assert by_us(value) == by_the_package(value)


class Colour(enum.IntEnum):
    RED = 1


class Name(enum.StrEnum):
    ANN = "ann"


class Odd(float):
    def __repr__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    "value",
    [{1: 2}, {None: 1}, {True: 1}, {1.5: 1}, {"a": {2: 3}}, [Colour.RED], {"a": Name.ANN}, {Name.ANN: 1}, Odd(0.5),
     [[Odd(0.5)]], b"x", object(), {1, 2}, math.nan, [math.inf], "\ud800", [2**53]],
    ids=lambda value: type(value).__name__,  # the text of some holds an address
)  # fmt: skip
def test_foreign_types_are_written_or_refused_as_the_package_does(value: object) -> None:
    assert by_us(value) == by_the_package(value)


def test_what_is_nested_too_deep_is_refused() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    assert by_us(value) is None
