"""How long the bodies that facts name must be kept at least; nothing younger is ever removed for its age."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final, Literal, get_args

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Kind = Literal["captures", "quarantine", "statistics"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

DAY_US = 86_400_000_000
FLOORS: Final[Mapping[Kind, int]] = {"captures": 183 * DAY_US, "quarantine": 183 * DAY_US, "statistics": 30 * DAY_US}
"""Microseconds. Six months for what a high-risk system logs by itself: Regulation (EU) 2024/1689, art. 19 and 26(6)."""

_AGE = re.compile(r"([0-9]{1,6})([hdw])\Z")
_UNITS = {"h": DAY_US // 24, "d": DAY_US, "w": 7 * DAY_US}


def age_us(text: str) -> int:
    """Return the microseconds of an age: ``36h``, ``90d``, ``26w``.

    Raises:
        IonError: ``bad-age``.
    """
    found = _AGE.match(text)
    if found is None:
        raise IonError("bad-age", f"not an age: {text!r:.40}", "write a number and h, d or w, e.g. 90d")
    return int(found[1]) * _UNITS[found[2]]


def floors(path: Path) -> dict[Kind, int]:
    """Return the least age (µs) by kind: `FLOORS`, but for what the file at ``path`` declares otherwise.

    The file is TOML: ``[floors]``, then ``captures = "400d"`` and so on. It need not be there.

    Raises:
        IonError: ``bad-retention-file`` when it cannot be read or says anything else.
    """
    try:
        declared = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return dict(FLOORS)
    except (OSError, ValueError) as error:
        raise _bad(path, str(error)) from error
    table = declared.get("floors", {})
    if set(declared) - {"floors"} or not isinstance(table, dict) or set(table) - set(KINDS):
        raise _bad(path, "it holds more than [floors] of " + ", ".join(KINDS))
    try:
        return {kind: age_us(str(table[kind])) if kind in table else FLOORS[kind] for kind in KINDS}
    except IonError as error:
        raise _bad(path, error.message) from error


def _bad(path: Path, why: str) -> IonError:
    return IonError(
        "bad-retention-file", f"{path.name} does not say how long to keep what: {why}", "nothing is removed"
    )
