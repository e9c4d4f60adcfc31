"""Where an admission is, and how its steps say no."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    from ion.serving.admission import Step


class DeniedError(Exception):
    """Leaves the steps of one admission; never leaves the gate."""


class ReplacedError(Exception):
    """The pointer is another one than when the admission began."""


@dataclass(slots=True)
class Progress:
    """Where an admission is, so that whatever goes wrong is told with its step."""

    give_up: float
    step: Step = "trust"

    def at(self, step: Step) -> None:
        """Go on to a step.

        Raises:
            DeniedError: no time is left.
        """
        self.step = step
        if time.monotonic() > self.give_up:
            raise DeniedError("no time left")


def reason_of(error: Exception) -> str:
    """Return why, without the path of this host that an OSError's own text would hold."""
    if isinstance(error, DeniedError):
        return str(error)
    if isinstance(error, IonError):
        return error.message
    if isinstance(error, FileNotFoundError):
        return "not found"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"unexpected {type(error).__name__}"
