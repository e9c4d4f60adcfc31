"""Cheap frozen dataclasses are dataclasses in every way that a program can see."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import field

import pytest

from ion.values import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2
    names: list[str] = field(default_factory=list, compare=False)
    secret: str = field(default="s3", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    a: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived(Base):
    b: str

    def __post_init__(self) -> None:
        if not self.b:
            raise ValueError("empty")


@dataclass(frozen=True, slots=True)
class Own:
    a: int

    def __repr__(self) -> str:
        return "mine"


@dataclass(frozen=True, slots=True)
class Empty:
    pass


def test_objects_are_made_with_defaults_and_refused_as_dataclasses_are() -> None:
    first, second = Point(1), Point(1)
    assert (first.x, first.y, first.names, first.secret) == (1, 2, [], "s3")
    assert first.names is not second.names
    assert Point(3, y=4).y == 4
    with pytest.raises(TypeError, match=r"Point.__init__\(\) missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        Point(1, z=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Derived("b")  # type: ignore[misc]


def test_equal_are_objects_of_one_class_with_equal_compared_fields() -> None:
    assert Point(1) == Point(1, names=["x"])
    assert hash(Point(1)) == hash(Point(1, names=["x"]))
    assert Point(1) != Point(2)
    assert Derived(b="b") != Base()
    assert Empty() == Empty()
    assert len({Point(1), Point(1), Point(2)}) == 2


def test_nothing_can_be_changed_and_no_field_be_added() -> None:
    point = Point(1)
    for change in (lambda: setattr(point, "x", 2), lambda: setattr(point, "z", 2), lambda: delattr(point, "x")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert not hasattr(point, "__dict__")


def test_derived_classes_keep_their_bases_fields_and_what_runs_after() -> None:
    assert (Derived(b="b").a, Derived(a=1, b="b").a, Base(a=5).a) == (0, 1, 5)
    with pytest.raises(ValueError, match="empty"):
        Derived(b="")


def test_a_secret_is_not_shown_and_an_own_method_stays() -> None:
    assert repr(Point(1)) == "Point(x=1, y=2, names=[])"
    assert repr(Own(1)) == "mine"


def test_the_functions_of_dataclasses_work_on_them() -> None:
    point = Point(1, names=["n"])
    assert dataclasses.replace(point, x=5) == Point(5)
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "names": ["n"], "secret": "s3"}
    assert [item.name for item in dataclasses.fields(Derived)] == ["a", "b"]
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_copies_and_pickles_are_equal() -> None:
    point = Point(1, names=["n"])
    for again in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):  # noqa: S301 - our own
        assert again == point
        assert again.names == ["n"]
