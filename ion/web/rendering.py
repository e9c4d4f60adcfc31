"""Templates: everything is escaped; short forms of digests, times and numbers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_SHORT = 12


def templates() -> Environment:
    """Return the page's template environment."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ion.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(short=short, when=when, day=day, number=number, count=count, text=text)
    return environment


def short(identity: object) -> str:
    """Return the first twelve characters of a digest's hex part or of an id; the whole is in the title."""
    return str(identity).removeprefix("sha256:")[:_SHORT]


def when(us: object) -> str:
    """Return microseconds UTC as date and time to the second."""
    return _moment(us).strftime("%Y-%m-%d %H:%M:%S")


def day(us: object) -> str:
    """Return microseconds UTC as a date."""
    return _moment(us).strftime("%Y-%m-%d")


def count(value: object) -> str:
    """Return a count with thin spaces between thousands; one below zero is one that nobody knows."""
    counted = int(str(value))
    return f"{counted:,}".replace(",", "\u2009") if counted >= 0 else "unknown"


def number(value: object) -> str:
    """Return a number to four significant digits; other values as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    return count(value) if isinstance(value, int) else f"{value:.4g}"


def text(value: object) -> str:
    """Return a string as it is, any other JSON value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _moment(us: object) -> datetime:
    return datetime.fromtimestamp(int(str(us)) / 1_000_000, tz=UTC)
