"""One captured prediction: what went in, what came out; the text sealed in a capture block."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class CapturedRow:
    """Inputs in the order of the model's features, and the score given.

    Its text is JSON (`to_text`), or the input's own text, ``;`` and the score: ``17.99,10.38;0.02``. The
    second form is for rows that came as text: the same parser reads the same text again.
    """

    inputs: tuple[float, ...]
    score: float

    def to_text(self) -> str:
        """Return one JSON line; floats round-trip exactly."""
        return json.dumps({"inputs": self.inputs, "score": self.score}, separators=(",", ":"))

    @classmethod
    def from_text(cls, data: bytes) -> CapturedRow:
        """Parse either form.

        Raises:
            IonError: ``bad-capture``.
        """
        try:
            if not data.startswith(b"{"):
                numbers, _, score = data.decode().rpartition(";")
                return cls(tuple(map(float, numbers.split(","))), float(score))
            value = json.loads(data)
            inputs: Sequence[float] = value["inputs"]
            return cls(tuple(float(number) for number in inputs), float(value["score"]))
        except (ValueError, KeyError, TypeError) as error:
            raise IonError("bad-capture", "a captured row is not readable") from error


def capture_aad(epoch: str, first: int) -> bytes:
    """Return what a block of captured rows is bound to: its epoch and first sequence number."""
    return f"{epoch}:{first}".encode()
