"""The serving side of the job: one pointer watch per process, one epoch per subtask at a time.

The watch looks at the pointer every 50 ms (a stat), asks the gate when the file changed and once a
second (a lease may have ended), and hands an admitted model to every subtask: each opens a fresh
epoch, also when no row arrives. Subtasks of one process share the watch and its agent.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.decision.promotion import promotion_message
from ion.errors import IonError
from ion.evidence import ArtifactStore, trust_file
from ion.facts import AdmissionRefused, EpochClosed, EpochOpened, MessageReceived
from ion.home import Home
from ion.ids import new_id, observed_id
from ion.serving import Admitted, Gate, Halted, Refused, pointer_path, read_pointer
from resources.flink.journal import EpochEntry, Journal
from resources.flink.rows import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.agent import Client
    from resources.flink.settings import JobSettings

_FULL_CHECK_S = 1.0
_ADMIT_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Epoch:
    """An open epoch of one subtask; only its subtask counts ``seq`` up."""

    id: str
    admitted: Admitted
    labels: dict[str | int, str]
    seq: int = 0


class SubtaskServing:
    """What one subtask scores with; `ProcessServing` exchanges it."""

    def __init__(self, index: int, attempt: int) -> None:
        self.index = index
        self.attempt = attempt
        self.epoch: Epoch | None = None
        self.lock = threading.Lock()
        """Held while a row is scored, so that an exchange never falls within one."""

        self._changed = threading.Condition(self.lock)

    def exchange(self, epoch: Epoch | None) -> Epoch | None:
        """Put ``epoch`` in place between two rows and return the one before; None stops scoring."""
        with self._changed:
            before, self.epoch = self.epoch, epoch
            self._changed.notify_all()
        return before

    def current(self) -> Epoch:
        """Return the epoch for a row set aside; waits while the node is halted."""
        epoch = self.epoch
        if epoch is not None:
            return epoch
        with self._changed:
            while self.epoch is None:
                self._changed.wait()
            return self.epoch

    def score(self, values: Sequence[float]) -> tuple[Epoch, int, float]:
        """Score one row; waits while the node is halted."""
        with self.lock:
            while self.epoch is None:
                self._changed.wait()
            epoch = self.epoch
            score = epoch.admitted.scorer.score_row(values)
            seq = epoch.seq
            epoch.seq = seq + 1
            return epoch, seq, score


class ProcessServing:
    """The gate, the watch and the subtasks of one process."""

    def __init__(self, settings: JobSettings, run: str, client: Client, journal: Journal) -> None:
        """Prepare to serve; nothing is admitted before `start`.

        Raises:
            IonError: ``bad-node``.
        """
        home = Home(Path(settings.home))
        self._settings = settings
        self._run = run
        self._client = client
        self._journal = journal
        self._pointer = pointer_path(home.root, settings.node)
        self._gate = Gate(
            self._pointer, ArtifactStore(home.artifacts), trust_file(home), settings.node, settings.folders.gate_state
        )
        self._lock = threading.Lock()
        self._subtasks: list[SubtaskServing] = []
        self._waiting: dict[int, SubtaskServing] = {}
        self._admitted: Admitted | None = None
        self._halted: Halted | None = None
        self._refusal: tuple[str, Refused] | None = None
        self._seen: tuple[int, int, int] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ion-pointer", daemon=True)

    @property
    def halted(self) -> Halted | None:
        """Why nothing may be predicted any more, if so."""
        return self._halted

    @property
    def model(self) -> str:
        """The model admitted last; empty before the first."""
        return self._admitted.model if self._admitted is not None else ""

    def start(self) -> Admitted | Refused | Halted:
        """Ask the gate; on an admission start watching. The answer is recorded."""
        self._seen = self._stat()
        answer = self._gate.admit(timeout=_ADMIT_TIMEOUT_S)
        self._take(answer)
        if isinstance(answer, Admitted):
            # Flink opens an operator with its first row; the epochs are there, and swapped, before.
            self._waiting = {index: self._add(index, 0) for index in range(self._settings.parallelism)}
            self._thread.start()
        return answer

    def join(self, index: int, attempt: int) -> SubtaskServing:
        """Return the serving of a subtask that opens: each gets an epoch nobody predicted in."""
        with self._lock:
            return self._waiting.pop(index, None) or self._add(index, attempt)

    def _add(self, index: int, attempt: int) -> SubtaskServing:
        subtask = SubtaskServing(index, attempt)
        self._subtasks.append(subtask)
        if self._admitted is not None and self._halted is None:
            subtask.exchange(self._open_epoch(subtask, self._admitted))
        return subtask

    def leave(self, subtask: SubtaskServing, reason: str) -> None:
        """Close the epoch of a subtask that closes; ``reason`` goes into the fact."""
        with self._lock:
            if subtask in self._subtasks:
                self._subtasks.remove(subtask)
                self._close_epoch(subtask.epoch, reason)

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        due = time.monotonic() + _FULL_CHECK_S
        while not self._stopping.wait(self._settings.poll_ms / 1000):
            seen = self._stat()
            now = time.monotonic()
            if seen == self._seen and now < due:
                continue
            self._seen, due = seen, now + _FULL_CHECK_S
            try:
                self._take(self._gate.admit(timeout=_ADMIT_TIMEOUT_S))
            except IonError:  # a full spool must not end the watch: it tries again
                with suppress(IonError):
                    self._hold()

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self._pointer.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _take(self, answer: Admitted | Refused | Halted) -> None:
        match answer:
            case Refused():
                self._refuse(answer)
            case Halted():
                self._halt(answer)
            case Admitted():
                self._swap(answer)

    def _refuse(self, refused: Refused) -> None:
        """Record a refusal once for each pointer it is about; what serves goes on serving."""
        try:
            digest = digest_bytes(read_pointer(self._pointer))
        except (OSError, IonError):
            digest = ""
        if self._refusal != (digest, refused):
            self._tell_refused(refused.step, refused.reason, digest)
            self._refusal = digest, refused

    def _tell_refused(self, step: str, reason: str, pointer: str) -> None:
        self._client.emit(
            AdmissionRefused(run=self._run, node=self._settings.node, step=step, reason=reason, pointer_digest=pointer)
        )

    def _halt(self, halted: Halted) -> None:
        """Stop every subtask first; then tell it, for which there may be no room."""
        with self._lock:
            if self._halted is None:
                self._halted = halted
                for epoch in self._exchange_all():
                    self._close_epoch(epoch, f"halted: {halted.reason}")
                self._tell_refused(halted.cause, halted.reason, halted.pointer)

    def _hold(self) -> None:
        """Let rows wait if what serves may not go on; another model could not be told of."""
        with self._lock:
            if self._admitted is not None and self._gate.still(self._admitted, timeout=_ADMIT_TIMEOUT_S) is not None:
                for epoch in self._exchange_all():
                    self._close_epoch(epoch, "revoked")

    def _exchange_all(self) -> list[Epoch | None]:
        """Stop every subtask, and return the epochs that ended."""
        return [subtask.exchange(None) for subtask in self._subtasks]

    def _swap(self, admitted: Admitted) -> None:
        with self._lock:
            before = self._admitted
            self._refusal = None
            if before and (before.model, before.serial) == (admitted.model, admitted.serial):
                self._admitted = admitted
                return  # a lease renewal
            message = promotion_message(admitted.cause, self._settings.node)
            self._client.emit(
                MessageReceived(message=message, run=self._run, receiver=self._settings.node),
                fact_id=observed_id("message received", message, self._run),
            )
            for subtask in self._subtasks:
                fresh = self._open_epoch(subtask, admitted)
                self._close_epoch(subtask.exchange(fresh), "swapped")
            self._admitted = admitted

    def _open_epoch(self, subtask: SubtaskServing, admitted: Admitted) -> Epoch:
        epoch = Epoch(new_id(), admitted, {name: quoted(str(name)) for name in admitted.scorer.classes})
        self._journal.epoch_opened(EpochEntry(epoch.id, self._run, admitted.model, subtask.index))
        self._client.emit(
            EpochOpened(
                epoch=epoch.id,
                run=self._run,
                node=self._settings.node,
                subtask=subtask.index,
                attempt=subtask.attempt,
                models={"champion": admitted.model},
                decision_digest=admitted.decision,
                cause=admitted.cause,
                serial=admitted.serial,
            )
        )
        return epoch

    def _close_epoch(self, epoch: Epoch | None, reason: str) -> None:
        if epoch is not None:
            self._client.emit(
                EpochClosed(epoch=epoch.id, run=self._run, reason=reason),
                fact_id=observed_id("epoch closed", epoch.id),
            )
            self._journal.epoch_closed(epoch.id)


_shared: dict[str, ProcessServing] = {}


def share(run: str, serving: ProcessServing) -> None:
    """Let the operators that Flink opens in this process join ``serving``."""
    _shared[run] = serving


def shared(run: str) -> ProcessServing:
    """Return what `share` gave for this node run.

    Raises:
        IonError: ``not-embedded`` in a worker process of its own: it would need an agent of its own.
    """
    if run not in _shared:
        raise IonError(
            "not-embedded",
            "the scorer was opened outside the job's own process",
            "run the job on the embedded cluster, without _python_worker_execution_mode",
        )
    return _shared[run]
