"""Frozen dataclasses that cost almost nothing to define.

`dataclasses.dataclass` writes and compiles six methods for each class, half a millisecond; a program that tells
a few facts imports two hundred classes and makes objects of twenty. Here ``__init__`` is written when the
first object is made, and the other methods are shared. Everything of `dataclasses` (``fields``, ``replace``,
``asdict``) works on the objects, and type checkers know the classes as dataclasses (PEP 681).
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, TypeVar, cast, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import DataclassInstance

T = TypeVar("T")


@dataclass_transform(field_specifiers=(dataclasses.field,))
def dataclass(*, frozen: Literal[True], slots: Literal[True], kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Return a decorator that does what `dataclasses.dataclass` does with the same arguments."""
    assert frozen  # noqa: S101 - others are not made here

    def decorated(cls: type[T]) -> type[T]:
        made = dataclasses.dataclass(cls, init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)
        for name, method in {**_METHODS, "__init__": _first_init(cast("type[DataclassInstance]", made))}.items():
            if name not in cls.__dict__:
                setattr(made, name, method)
        return made

    return decorated


def _first_init(cls: type[DataclassInstance]) -> Callable[..., None]:
    """Return an ``__init__`` that writes the real one, puts it in its own place and calls it."""

    def init(self: object, *values: object, **named: object) -> None:
        rows = [
            (
                item.name,
                object,
                dataclasses.field(
                    default=item.default,
                    default_factory=item.default_factory,
                    init=item.init,
                    kw_only=item.kw_only,
                ),
            )
            for item in dataclasses.fields(cls)
        ]
        after = {"__post_init__": cls.__post_init__} if hasattr(cls, "__post_init__") else {}
        like = dataclasses.make_dataclass(cls.__name__, rows, namespace=after, frozen=True, eq=False, repr=False)
        written: Callable[..., None] = vars(like)["__init__"]
        written.__qualname__ = f"{cls.__qualname__}.__init__"
        setattr(cls, "__init__", written)  # noqa: B010 - type checkers rightly object to the other form
        written(self, *values, **named)

    return init


_compared: dict[type, attrgetter[object]] = {}


def _values(of: DataclassInstance) -> object:
    """Return what makes the object what it is, comparable and hashable."""
    get = _compared.get(type(of))
    if get is None:
        names = [item.name for item in dataclasses.fields(of) if item.compare]
        get = _compared[type(of)] = attrgetter(*names, "__class__")
    return get(of)


def _equals(self: DataclassInstance, other: DataclassInstance) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: DataclassInstance) -> int:
    return hash(_values(self))


def _repr(self: DataclassInstance) -> str:
    shown = (f"{item.name}={getattr(self, item.name)!r}" for item in dataclasses.fields(self) if item.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse(self: object, name: str, *_value: object) -> None:
    message = f"cannot change field {name!r} of {type(self).__qualname__}"
    raise dataclasses.FrozenInstanceError(message)


def _state(self: DataclassInstance) -> list[object]:
    return [getattr(self, item.name) for item in dataclasses.fields(self)]


def _restore(self: DataclassInstance, state: list[object]) -> None:
    for item, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, item.name, value)


_METHODS = {
    "__eq__": _equals,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__getstate__": _state,
    "__setstate__": _restore,
}
