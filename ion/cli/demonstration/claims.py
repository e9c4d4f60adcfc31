"""Claims: what the demonstration prints, each with what was seen; one that does not hold ends it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Claim:
    """Something said to hold, and what was seen."""

    text: str
    seen: str
    seconds: float


@dataclass(slots=True)
class Claims:
    """Prints as it goes, and keeps what was claimed for the table at the end."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    made: list[Claim] = field(default_factory=list)

    def step(self, text: str) -> None:
        """Say what happens next."""
        self.console.print(f"[dim]{self._clock()}[/dim]  {text}")

    def holds(self, text: str, seen: object, *, when: bool) -> None:
        """Claim ``text``; it holds only when ``when`` does.

        Raises:
            IonError: ``demo-claim`` when it does not hold.
        """
        if not when:
            raise IonError("demo-claim", f"this did not hold: {text} (seen: {seen})", "the logs are in .ion/logs")
        self.made.append(Claim(text, str(seen), time.monotonic() - self.started))
        self.console.print(f"[dim]{self._clock()}[/dim]  [green]✓[/green] {text} [dim]{seen}[/dim]")

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.started)
        return f"{seconds // 60}:{seconds % 60:02d}"
