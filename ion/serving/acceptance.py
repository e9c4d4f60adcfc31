"""What a gate accepted last, kept in a file so that a restart cannot be talked into going back."""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from ion.canonical import canonical_bytes
from ion.errors import IonError
from ion.evidence.files import read_regular, write_atomic
from ion.evidence.parsing import Fields, parse_canonical
from ion.evidence.promotions import ACTIONS, LEASE_ENDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.evidence.statements import Action, LeaseEnd

MAX_BYTES = 65_536
_CODE = "gate-state"
_LOCK_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The promotion statement a gate accepted last. Times are microseconds UTC.

    Args:
        node: ``ion/node``.
        action: of the statement.
        serial: highest accepted.
        identity: digest of the statement without its lease.
        pointer: digest of the pointer's bytes.
        issued: of the newest lease accepted.
        lease_end: of the newest lease accepted.
        on_lease_end: as declared.
        latest: latest signed time seen, the floor under this host's clock.
    """

    node: str
    action: Action
    serial: int
    identity: str
    pointer: str
    issued: int
    lease_end: int
    on_lease_end: LeaseEnd
    latest: int

    def conflict(self, newer: Acceptance) -> str | None:
        """Return why ``newer`` may not follow this, or None. A lease renewal and a repetition may."""
        if newer.serial > self.serial or newer.pointer == self.pointer:
            return None
        if newer.serial < self.serial:
            return f"serial {newer.serial} is lower than {self.serial}, which was accepted"
        if newer.identity != self.identity:
            return f"serial {newer.serial} was accepted with other content"
        if newer.issued <= self.issued:
            return f"serial {newer.serial} was accepted with a newer lease"
        return None


class AcceptanceFile:
    """The file of one gate, or of several that serve the same node on one host.

    Args:
        path: the file; a lock file is made beside it.
        node: ``ion/node``; a file of another node is an error.
    """

    def __init__(self, path: Path, node: str) -> None:
        self._path = path
        self._node = node

    def read(self) -> Acceptance | None:
        """Return what was accepted last; None when nothing ever was.

        Raises:
            OSError: the file is there and cannot be read.
            IonError: ``gate-state`` when it is damaged or of another node.
        """
        try:
            data = read_regular(self._path, MAX_BYTES)
        except FileNotFoundError:
            return None
        try:
            fields = Fields.of(parse_canonical(data, MAX_BYTES, "gate state"), "gate state", _CODE)
        except IonError as error:
            raise IonError(_CODE, "the gate's state is damaged", "restore it; do not delete it lightly") from error
        accepted = Acceptance(
            node=fields.text("node"),
            action=fields.choice("action", ACTIONS),
            serial=fields.integer("serial"),
            identity=fields.digest("identity"),
            pointer=fields.digest("pointer"),
            issued=fields.integer("issued"),
            lease_end=fields.integer("lease_end"),
            on_lease_end=fields.choice("on_lease_end", LEASE_ENDS),
            latest=fields.integer("latest"),
        )
        fields.done()
        if accepted.node != self._node:
            raise IonError(_CODE, f"the gate's state is of {accepted.node}, not {self._node}")
        return accepted

    def record(self, accepted: Acceptance) -> Acceptance:
        """Keep ``accepted`` as the last one, durably; return what the file then says.

        Raises:
            OSError: the file cannot be written.
            IonError: ``gate-state`` when another gate accepted something in between that forbids it.
        """
        with self._lock():
            previous = self.read()
            if previous is not None:
                conflict = previous.conflict(accepted)
                if conflict:
                    raise IonError(_CODE, conflict)
                accepted = replace(accepted, latest=max(accepted.latest, previous.latest))
            self._write(previous, accepted)
        return accepted

    def record_time(self, latest: int) -> None:
        """Raise the floor under the clock, if anything was ever accepted.

        Raises:
            OSError: the file cannot be written.
            IonError: ``gate-state``.
        """
        with self._lock():
            previous = self.read()
            if previous is not None and latest > previous.latest:
                self._write(previous, replace(previous, latest=latest))

    def _write(self, previous: Acceptance | None, accepted: Acceptance) -> None:
        if accepted != previous:
            write_atomic(self._path, canonical_bytes(asdict(accepted)), mode=0o600)

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
                        raise IonError(_CODE, "another gate holds the state's lock") from error
                    time.sleep(0.005)
            yield  # closing the file releases the lock
