"""Where a gate keeps what it remembers: in a file shared by the gates of one node on one host, and in the process."""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ion.canonical import canonical_bytes
from ion.errors import IonError
from ion.evidence.files import read_regular, write_atomic
from ion.serving.acceptance import GATE_STATE, MAX_BYTES, Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ion.serving.acceptance import Acceptance

_LOCK_WAIT_S = 1.0


class MemoryFile:
    """The file of one gate, or of several that serve the same node on one host.

    Args:
        path: the file; a lock file is made beside it.
        node: ``ion/node``; a file of another node is an error.
    """

    def __init__(self, path: Path, node: str) -> None:
        self._path = path
        self._node = node
        self._parsed: tuple[bytes, Memory] | None = None

    def read(self) -> Memory:
        """Return what is remembered; nothing when no file is there.

        Raises:
            OSError: the file is there and cannot be read.
            IonError: ``gate-state`` when it is damaged or of another node.
        """
        try:
            data = read_regular(self._path, MAX_BYTES)
        except FileNotFoundError:
            return Memory(self._node)
        if self._parsed is None or self._parsed[0] != data:
            self._parsed = data, self._parse(data)
        return self._parsed[1]

    def update(self, change: Callable[[Memory], Memory]) -> Memory:
        """Change what is remembered, durably and one gate at a time; return what the file then says.

        Raises:
            OSError: the file cannot be written.
            IonError: ``gate-state``, or whatever ``change`` raises; the file is as before.
        """
        with self._lock():
            before = self.read()
            after = change(before)
            if after != before:
                data = canonical_bytes(after.to_json())
                if len(data) > MAX_BYTES:
                    raise IonError(GATE_STATE, "the gate has more to remember than fits in its state")
                write_atomic(self._path, data, mode=0o600)
        return after

    def _parse(self, data: bytes) -> Memory:
        try:
            memory = Memory.parse(data)
        except IonError as error:
            raise IonError(GATE_STATE, "the gate's state is damaged", "restore it; do not delete it lightly") from error
        if memory.node != self._node:
            raise IonError(GATE_STATE, f"the gate's state is of {memory.node}, not {self._node}")
        return memory

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        give_up = time.monotonic() + _LOCK_WAIT_S
        with self._path.with_name(self._path.name + ".lock").open("ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > give_up:
                        raise IonError(GATE_STATE, "another gate holds the state's lock") from error
                    time.sleep(0.005)
            yield  # closing the file releases the lock


class Recollection:
    """What a gate knows: the file and this process together, neither of which can be rolled back alone.

    Args:
        file: shared with other gates.
        node: ``ion/node``.
        clock: wall clock, microseconds UTC.
    """

    def __init__(self, file: MemoryFile, node: str, clock: Callable[[], int]) -> None:
        self._file = file
        self._clock = clock
        self._read = self.memory = Memory(node)

    @property
    def accepted(self) -> Acceptance | None:
        """The statement accepted last."""
        return self.memory.accepted

    def recall(self) -> None:
        """Take in what the file says.

        Raises:
            OSError: it is there and cannot be read.
            IonError: ``gate-state``.
        """
        self._read = self._file.read()
        if self._read != self.memory:
            self.memory = self._read.merged(self.memory)

    def is_revoked(self, model: str | None) -> bool:
        """Say whether a model was withdrawn from the node."""
        return model in self.memory.revoked

    def see(self, latest: int = 0, trust_version: int = 0, revoked: Iterable[str] = ()) -> None:
        """Know what was seen in verified statements."""
        self.memory = self.memory.seen(latest, trust_version, revoked)

    def remember(self, accepted: Acceptance | None = None) -> None:
        """Make what is known durable, and what is accepted now, if anything.

        Raises:
            OSError: the file cannot be written.
            IonError: ``gate-state``, also when another gate accepted something that forbids it.
        """
        known = self.memory.accepting(accepted) if accepted else self.memory
        if known != self._read:
            known = self._read = self._file.update(lambda remembered: remembered.merged(known))
        self.memory = known

    def now(self) -> int:
        """Return the wall clock, floored at the latest signed time seen (a clock can be set back)."""
        return max(self._clock(), self.memory.latest)

    def is_over(self, digest: str, end: int) -> bool:
        """Say whether what ``digest`` names has ended, and know it from then on."""
        now = self.now()
        self.memory = self.memory.over(digest, end, now)
        return self.memory.is_over(digest, end, now)
