"""Telling facts into a spool that is trusted: when the disk refuses, under another agent's name."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ion.agent.bounds import Bounds, keep_within
from ion.agent.spool import SpoolWriter
from ion.errors import IonError
from ion.facts import GapNoted
from ion.ids import new_id
from ion.records import write_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.agent.client import Client
    from ion.clock import Clock
    from ion.facts import Fact
    from ion.home import Home

_WAIT_SECONDS = 5.0
_LOOK_SECONDS = 60.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")
_UNSYNCED_BYTES = 8 * 1024 * 1024


def check_name(name: str) -> None:
    """Refuse what is no name of an agent.

    Raises:
        IonError: ``bad-agent-name``.
    """
    if not _NAME.match(name):
        raise IonError("bad-agent-name", f"not an agent name: {name!r}", "use letters, digits, - and _")


class Teller:
    """Numbers facts and writes them to the spool of one agent at a time. Its caller holds a lock.

    Raises:
        IonError: ``spool-unusable``, ``bad-spool-bound``.
    """

    def __init__(self, home: Home, name: str) -> None:
        self._home = home
        self._name = name
        self._undurable: list[tuple[Fact, str, bytes]] = []
        self._owed: list[tuple[Fact, str, bytes]] = []
        self._again = self._look_again = 0.0
        self._looked_at = 0
        self._bounds = Bounds.find()
        self.former: list[str] = []
        """The agents that this one was before: their spools wait to be shipped."""
        self.open()

    def open(self) -> None:
        """Become a new agent, with a spool of its own."""
        hand = self._home.hand
        agent = f"{hand}.{self._name}-{new_id()}" if hand else f"{self._name}-{new_id()}"
        self.spool = SpoolWriter(self._home.spool, agent, segment_bytes=self._bounds.segment_bytes)
        self.agent = agent

    @property
    def waits(self) -> bool:
        """Whether something was told that is not durable yet."""
        return bool(self._undurable or self._owed)

    def tell(self, fact: Fact, identity: str, block: bytes, clock: Clock) -> None:
        """Write a fact; a later `sync` makes it durable.

        Raises:
            IonError: ``not-canonical``, ``bad-fact``, ``fact-too-large``, ``spool-unusable``.
        """
        if self._owed or self.spool.failed:
            self._begin_again(clock)
        try:
            self._put(fact, identity, block, clock)
        except IonError:
            if not self.spool.failed:
                raise
            self._begin_again(clock)
            self._put(fact, identity, block, clock)
        if self.spool.unsynced > _UNSYNCED_BYTES:  # all of it is in memory, too
            with suppress(IonError):  # it is told; the next `sync` says whether it is durable
                self.sync(clock)

    def sync(self, clock: Clock) -> None:
        """Make durable what was told; where the disk refuses, in the spool of another agent.

        Raises:
            IonError: ``spool-unusable``; what was told and is not durable stays in memory for the next attempt.
        """
        if self._owed or self.spool.failed:
            self._begin_again(clock)
        try:
            self.spool.sync()
        except IonError:
            if not self.spool.failed:
                raise
            self._begin_again(clock)
            self.spool.sync()
        self._undurable.clear()
        self._again = 0.0

    def lost_place(self) -> tuple[str, int] | None:
        """Become a new agent when somebody removed or set aside this one's spool; return its name and facts then."""
        if self.spool.failed or self.spool.in_place():
            return None
        lost, former = self.spool.frames, self.agent
        self.spool.abandon()
        self.open()
        self._undurable.clear()
        return former, lost

    @property
    def unlooked(self) -> bool:
        """Whether a segment was begun since `keep_within` looked."""
        return self.spool.segment != self._looked_at

    def keep_within(self, client: Client) -> None:
        """Give up what is over the bounds of the spool, told by ``client``; look at each new segment and every minute.

        Raises:
            IonError: as `ion.agent.bounds.keep_within`.
            OSError: likewise.
        """
        if not self.unlooked and time.monotonic() < self._look_again:
            return
        self._looked_at, self._look_again = self.spool.segment, time.monotonic() + _LOOK_SECONDS

        def tell(facts: Sequence[tuple[Fact, str]]) -> None:
            for fact, identity in facts:
                client.emit(fact, fact_id=identity)
            client.flush()

        for agent in self.former:
            keep_within(self._home.spool / agent, self._bounds, tell, ended=True)
        keep_within(self._home.spool / self.agent, self._bounds, tell)

    def forget(self) -> None:
        """Let go of everything in a forked child: the parent has it, too, and tells it."""
        self.spool.abandon()
        self._undurable, self._owed, self.former = [], [], []

    def _put(self, fact: Fact, identity: str, block: bytes, clock: Clock) -> None:
        record = write_record(fact, fact_id=identity, agent=self.agent, seq=self.spool.frames, stamp=clock.tick())
        self.spool.append(record.raw, block)
        self._undurable.append((fact, identity, block))

    def _begin_again(self, clock: Clock) -> None:
        """Become another agent after the disk refused, tell the hole, and tell again what may be lost with it."""
        if self.spool.failed:
            if time.monotonic() < self._again:
                raise IonError("spool-unusable", f"the spool failed: {self.spool.failed}", "look at the disk")
            self._again = time.monotonic() + _WAIT_SECONDS
            former, failed = self.agent, self.spool
            self.open()
            self.former.append(former)
            lost, first = failed.frames - failed.durable, failed.durable
            told, self._undurable = self._undurable[-lost:] if lost else [], []
            if lost:
                reason = f"{failed.failed}; at most so many are lost, {len(told)} are told again by {self.agent}"
                last = first + lost - 1
                gap = GapNoted(scope=former, what="facts", count=lost, reason=reason, first=first, last=last)
                self._owed.append((gap, new_id(), b""))
            self._owed.extend(told)
        while self._owed:
            self._put(*self._owed[0], clock)
            del self._owed[0]
