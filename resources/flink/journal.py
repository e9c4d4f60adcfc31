"""What a streaming node remembers between its runs: runs, epochs, files told, windows begun.

JSON lines, appended; what was told twice because the process died in between has the same fact ids,
so the journal saves work and keeps windows the same, but no truth depends on its last line.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class EpochEntry:
    """A serving epoch as it was opened."""

    epoch: str
    run: str
    model: str
    subtask: int


@dataclass(frozen=True, slots=True)
class Window:
    """Files whose statistics are told together; ``name`` goes into the fact ids."""

    name: str
    files: tuple[str, ...]


class Journal:
    """The journal of one node; its job is the only writer. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Read what earlier runs left; a torn last line is left out.

        Raises:
            IonError: ``journal-unusable``.
        """
        self._path = path
        self._lock = threading.Lock()
        self.epochs: dict[str, EpochEntry] = {}
        self.open_epochs: dict[str, EpochEntry] = {}
        self.open_runs: list[str] = []
        self.told: set[str] = set()
        self.unwindowed: list[str] = []
        self.open_windows: dict[str, Window] = {}
        try:
            for line in self._lines():
                self._apply(line)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise IonError(
                "journal-unusable",
                f"cannot use the job's journal {path.name}: {error}",
                "move it away: the facts of committed files are then told again, under the same ids",
            ) from error

    def run_started(self, run: str) -> None:
        """Remember that a run may need to be ended for it."""
        self._write({"run": run}, durable=True)

    def run_ended(self, run: str) -> None:
        """Remember that its end was told."""
        self._write({"ended": run})

    def epoch_opened(self, entry: EpochEntry) -> None:
        """Remember an epoch, durably: committed rows will name it."""
        fields = [entry.epoch, entry.run, entry.model, entry.subtask]
        self._write({"epoch": fields}, durable=True)

    def epoch_closed(self, epoch: str) -> None:
        """Remember that its closing was told."""
        self._write({"closed": epoch})

    def files_told(self, files: Sequence[str]) -> None:
        """Remember files whose facts are durable."""
        if files:
            self._write({"told": list(files)})

    def window_began(self, window: Window) -> None:
        """Remember, durably, which files a window holds, before any of its facts is told."""
        self._write({"window": [window.name, list(window.files)]}, durable=True)

    def window_told(self, name: str) -> None:
        """Remember that a window's facts are durable."""
        self._write({"windowed": name})

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)

    def _write(self, entry: dict[str, object], *, durable: bool = False) -> None:
        with self._lock:
            line = json.dumps(entry).encode() + b"\n"
            try:
                written = os.write(self._file, line)
                if written != len(line):  # or the next entry would continue this one
                    os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                if durable:
                    os.fdatasync(self._file)
            except OSError as error:
                raise self._unwritable(error.strerror) from error
            if written != len(line):
                raise self._unwritable("the disk is full")
            self._apply(entry)

    def _unwritable(self, reason: str | None) -> IonError:
        return IonError("journal-unusable", f"cannot write {self._path.name}: {reason}", "free disk space")

    def _lines(self) -> Iterable[dict[str, object]]:
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            os.truncate(self._path, len(whole))
        for line in whole.splitlines():
            yield json.loads(line)

    def _apply(self, entry: dict[str, object]) -> None:
        ((kind, value),) = entry.items()
        match kind, value:
            case "run", str():
                self.open_runs.append(value)
            case "ended", str():
                with suppress(ValueError):
                    self.open_runs.remove(value)
            case "epoch", [str() as epoch, str() as run, str() as model, int() as subtask]:
                self.epochs[epoch] = self.open_epochs[epoch] = EpochEntry(epoch, run, model, subtask)
            case "closed", str():
                self.open_epochs.pop(value, None)
            case "told", list():
                fresh = [name for name in value if name not in self.told]
                self.told.update(fresh)
                self.unwindowed.extend(fresh)
            case "window", [str() as name, list() as files]:
                self.open_windows[name] = Window(name, tuple(files))
                gone = set(files)
                self.unwindowed = [file for file in self.unwindowed if file not in gone]
            case "windowed", str():
                self.open_windows.pop(value, None)
            case _:
                raise ValueError(f"unknown entry {kind}")
