"""Taking what is told: into the spool, on disk before it is acknowledged, once however often it is sent."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from ion.agent.intake.addressing import Addressing
from ion.agent.intake.lines import read_line
from ion.agent.intake.openlineage import read_event
from ion.agent.intake.telling import read_object
from ion.errors import IonError
from ion.facts import GapNoted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ion.agent.client import Client
    from ion.agent.intake.telling import Told

Answer = dict[str, object]

LONGEST_LINE = 1024 * 1024
"""Bytes."""

_REMEMBERED = 20_000
_GAP_SECONDS = 1.0


class Taking:
    """Tells with one client what others send, from any thread."""

    def __init__(self, client: Client, nodes: Addressing | None = None) -> None:
        self._client = client
        self._nodes = nodes or Addressing()
        self._lock = threading.Lock()
        self._known: OrderedDict[str, str] = OrderedDict()
        self._refused: Counter[str] = Counter()
        self._gap_due = 0.0

    def take(self, lines: Sequence[bytes | None]) -> list[Answer]:
        """Record each line and return its answer; None stands for a line that was too long.

        What is answered with ``ok`` is on disk. Never raises an IonError: a bad line is an answer.
        """
        return self._take([partial(self._read, line) for line in lines])

    def take_event(self, event: bytes) -> Answer:
        """Record an OpenLineage run event and return the answer."""
        return self._take([lambda: read_event(read_object(event, "bad-event"), self._nodes)])[0]

    def refuse(self, error: IonError) -> Answer:
        """Count something that cannot be taken, and return its answer."""
        with self._lock:
            self._refused[error.code] += 1
        return {"ok": False, **error.as_dict()}

    def tell_refused(self, *, at_once: bool = False) -> None:
        """Note what was refused since the last time as a gap of the agent, at most once a second.

        Raises:
            IonError: as `Client.emit`; the count is kept for the next time.
        """
        now = time.monotonic()
        with self._lock:
            if not self._refused or (now < self._gap_due and not at_once):
                return
            reason = ", ".join(f"{code} {count}" for code, count in sorted(self._refused.items()))
            count = self._refused.total()
            agent = self._client.agent
            self._client.emit(GapNoted(scope=agent, what="refused lines", count=count, reason=f"refused: {reason}"))
            self._refused.clear()
            self._gap_due = now + _GAP_SECONDS

    def _take(self, readings: Sequence[Callable[[], Told]]) -> list[Answer]:
        agent = self._client.agent
        answers: list[Answer] = []
        taken: list[Told] = []
        for read in readings:
            try:
                told = read()
                answers.append(self._spool(told))
                taken.append(told)
            except IonError as error:
                answers.append(self.refuse(error))
        try:
            self.tell_refused()
            self._make_durable(agent)
        except IonError as error:
            self._forget(taken)
            return [{"ok": False, **error.as_dict()} if answer["ok"] else answer for answer in answers]
        return answers

    def _make_durable(self, agent: str) -> None:
        """Return when all that was spooled as ``agent`` is on disk.

        Raises:
            IonError: ``spool-unusable``.
        """
        self._client.flush()
        if self._client.closed or self._client.agent != agent:
            raise IonError("spool-unusable", "the spool was closed or taken away meanwhile", "send it again")

    def _read(self, line: bytes | None) -> Told:
        if line is None:
            raise IonError("line-too-long", f"a line of over {LONGEST_LINE} bytes", "tell it in parts")
        return read_line(line, self._nodes)

    def _spool(self, told: Told) -> Answer:
        """Spool what a line asks for, unless it is known.

        Raises:
            IonError: ``id-conflict``; as `Client.emit`.
        """
        with self._lock:
            before = self._known.get(told.key) if told.key else None
        if before is not None and before != told.content:
            raise IonError("id-conflict", f"the id {told.key} was told with another content", "an id is for one line")
        identity = told.key
        if before is None:
            for telling in told.tellings:
                identity = self._client.emit(telling.fact, block=telling.block, fact_id=telling.fact_id)
            self._remember(told)
        return {"ok": True, "id": told.key or identity, **told.answer}

    def _remember(self, told: Told) -> None:
        """Keep an id for a while. Beyond that the ids of the facts themselves make them count once."""
        if told.key:
            with self._lock:
                self._known[told.key] = told.content
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)

    def _forget(self, taken: Sequence[Told]) -> None:
        """Forget what did not reach the disk: sent again, it is told again."""
        with self._lock:
            for told in taken:
                self._known.pop(told.key, None)
