"""Facts about predictions, from committed part files only.

A file without a leading dot was committed by a completed checkpoint and never changes. Fact ids are made
of the file's digest, so telling a file twice (a crash before the journal knew) changes nothing. A
captured row is a `CapturedRow`; a quarantined one is JSON of position, reason and row.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING

from ion.canonical import canonical_bytes, digest_bytes
from ion.errors import IonError
from ion.facts import GapNoted, InputsCaptured, PredictionsCommitted, RowsQuarantined
from ion.ids import observed_id
from ion.serving.captured import capture_aad
from resources.flink.batch import JoinedFiles, OutputFile
from resources.flink.inputs import InputRows, ScoredInputs
from resources.flink.journal import EpochEntry, Journal, Window
from resources.flink.output_files import OutputFiles
from resources.flink.rows import SetAside, read_set_aside, unquoted
from resources.flink.windows import EpochRows, WindowFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ion.agent import Client
    from resources.flink.columns import Predictions, Source
    from resources.flink.folders import Folders
    from resources.flink.sealing import RowKeys
    from resources.flink.settings import JobSettings

_BLOCK_ROWS = 2048
"""What is computed for so many rows stays in the processor's cache, and asks the system for no fresh memory."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows of one epoch that are sealed together; ``counted`` of them are to be counted into input signatures."""

    entry: EpochEntry
    rows: Predictions
    inputs: ScoredInputs
    counted: int


class CommittedFiles:
    """Tells what committed part files hold. One thread uses it."""

    def __init__(
        self, settings: JobSettings, run: str, client: Client, journal: Journal, keys: RowKeys, facts: WindowFacts
    ) -> None:
        self._settings = settings
        self._folders: Folders = settings.folders
        self._run = run
        self._client = client
        self._journal = journal
        self._keys = keys
        self._facts = facts
        self._inputs = InputRows(self._folders.inbox)
        self._output = OutputFiles(self._folders)
        self._rows: dict[str, EpochRows] = {}
        self._window_due = time.monotonic() + settings.window_s

    def resume(self) -> None:
        """Finish what a run that died left: windows begun, and rows of files no window holds yet."""
        for window in list(self._journal.open_windows.values()):
            self._gather(window.files)
            self._tell_window(window)
        self._gather(tuple(self._journal.unwindowed))

    def tell_new(self, *, last: bool = False) -> int:
        """Tell all files committed since; returns how many. ``last`` also closes the window.

        Raises:
            IonError: ``spool-unusable``, ``journal-unusable``: nothing was marked as told.
        """
        self._keys.forget_erased()
        fresh = self._output.fresh(self._journal.told, now=last)
        if fresh:
            try:
                self._tell_files(fresh)
            except IonError:
                self._output.forget()  # what was found must be found again
                raise
        if self._journal.unwindowed and (last or time.monotonic() >= self._window_due):
            files = tuple(self._journal.unwindowed)
            window = Window(observed_id("flink window", *files), files)
            self._journal.window_began(window)
            self._tell_window(window)
            self._window_due = time.monotonic() + self._settings.window_s
        return len(fresh)

    def discard_uncommitted(self, before: float) -> None:
        """Remove what dead attempts left in progress: dot-files last written before ``before`` (epoch s).

        Only after a checkpoint of this job completed: until then a restore may still commit them.
        """
        for root in (self._folders.predictions, self._folders.quarantine):
            for path in root.glob("*/.*"):
                with suppress(FileNotFoundError):  # committed, i.e. renamed, just now
                    if path.stat().st_mtime < before:
                        path.unlink()

    def _tell_files(self, names: Sequence[str]) -> None:
        """Tell the files; only when that is durable do they count in a window."""
        files = [file for file in map(self._read, names) if file is not None]
        aside = f"{self._folders.quarantine.name}/"
        for file in files:
            if file.name.startswith(aside):
                self._tell_set_aside(file)
        told = self._tell_predictions([file for file in files if not file.name.startswith(aside)])
        self._client.flush()
        self._journal.files_told(names)
        for block in told:
            self._collect(block)

    def _read(self, name: str) -> OutputFile | None:
        try:
            return OutputFile.read(self._folders.root, name)
        except FileNotFoundError:
            self._gap(self._run, "output file", 1, "it was removed before it was told", name.rpartition("/")[2])
            return None

    def _tell_predictions(self, files: list[OutputFile]) -> list[_Block]:
        """Tell what the files hold, and return it."""
        joined = JoinedFiles.of(files)
        for file, error in joined.damaged:
            self._not_as_written(file, file.data.count(b"\n"), error)
        told: list[_Block] = []
        for file, rows, inputs in joined.parts():
            entry = self._entry(rows.epoch, rows)
            self._tell_rows(entry, file, rows, inputs)
            for block in self._blocks(entry, rows, inputs):
                self._capture(block, file.digest)
                told.append(block)
        return told

    def _blocks(self, entry: EpochEntry, rows: Predictions, inputs: list[Source]) -> Iterator[_Block]:
        """Cut rows of one epoch and file as they are sealed; mostly they are one block."""
        share = min(1.0, self._settings.signature_rows / len(rows))
        for start in range(0, len(rows), _BLOCK_ROWS):
            part = rows
            if len(rows) > _BLOCK_ROWS:
                part = rows.part(start, start + _BLOCK_ROWS)
                inputs = part.pieces()
            yield _Block(entry, part, ScoredInputs(self._inputs, inputs, part.score), ceil(share * len(part)))

    def _not_as_written(self, file: OutputFile, rows: int, error: Exception) -> None:
        name = file.name.rpartition("/")[2]
        self._gap(self._run, "output rows", rows, f"{name} is not as written: {error}", file.digest)

    def _tell_rows(self, entry: EpochEntry, file: OutputFile, rows: Predictions, inputs: list[Source]) -> None:
        first, last = int(rows.seq[0]), int(rows.seq[-1])
        self._client.emit(
            PredictionsCommitted(
                epoch=entry.epoch,
                run=entry.run,
                first=first,
                last=last,
                rows=len(rows),
                file=file.name,
                file_digest=file.digest,
                sources=_sources(inputs),
                us_first=int(rows.us[0]),
                us_last=int(rows.us[-1]),
            ),
            fact_id=observed_id("predictions committed", file.digest, entry.epoch, str(first)),
        )

    def _capture(self, told: _Block, digest: str) -> None:
        entry, rows = told.entry, told.rows
        first, last = int(rows.seq[0]), int(rows.seq[-1])
        binding = capture_aad(entry.epoch, first)
        if not _sampled(binding, self._settings.capture_share):
            self._gap(entry.epoch, "captured inputs", len(rows), "not in the captured share", digest, first, last)
            return
        inputs = told.inputs
        if inputs.missing:
            reason = "the inbox no longer holds them"
            self._gap(entry.epoch, "captured inputs", inputs.missing, reason, digest, first, last)
        if inputs.missing == len(rows):
            return
        key, block = self._keys.seal(entry.epoch, inputs, binding)
        self._client.emit(
            InputsCaptured(
                epoch=entry.epoch,
                run=entry.run,
                first=first,
                last=last,
                rows=len(rows) - inputs.missing,
                key=key,
                block=digest_bytes(block),
            ),
            block=block,
            fact_id=observed_id("inputs captured", digest, entry.epoch, str(first)),
        )

    def _tell_set_aside(self, file: OutputFile) -> None:
        try:
            rows = read_set_aside(file.data)
        except (ValueError, TypeError) as error:
            self._not_as_written(file, file.data.count(b"\n"), error)
            return
        for run, members in groupby(rows, lambda row: self._entry(row.epoch).run):
            part = list(members)
            reasons = dict(Counter(row.reason for row in part))
            texts = [text for row in part for text in self._inputs.rows(row.file, [row.line])]
            shown = [canonical_bytes(_quarantined(row, text)) for row, text in zip(part, texts, strict=True)]
            key, block = self._keys.seal_rows(part[0].epoch, texts, shown, file.digest.encode())
            self._client.emit(
                RowsQuarantined(
                    run=run,
                    node=self._settings.node,
                    rows=len(part),
                    reasons=reasons,
                    key=key,
                    block=digest_bytes(block),
                    file=file.name,
                    file_digest=file.digest,
                ),
                block=block,
                fact_id=observed_id("rows quarantined", file.digest, run),
            )

    def _entry(self, epoch: str, rows: Predictions | None = None) -> EpochEntry:
        """Return the epoch as it was opened; one that the journal does not know becomes a gap."""
        entry = self._journal.epochs.get(epoch)
        if entry is None:
            entry = self._journal.epochs[epoch] = EpochEntry(epoch, self._run, rows.model if rows else "", 0)
            self._gap(epoch, "epoch", 1, "the journal does not know when it was opened", epoch)
        return entry

    def _gap(
        self,
        scope: str,
        what: str,
        count: int,
        reason: str,
        about: str,
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        self._client.emit(
            GapNoted(scope=scope, what=what, count=count, reason=reason, first=first, last=last),
            fact_id=observed_id("flink gap", scope, what, about, str(first)),
        )

    def _collect(self, told: _Block) -> None:
        """Keep for the window what it needs."""
        rows = self._rows.setdefault(told.entry.epoch, EpochRows(told.entry))
        rows.add(told.rows)
        if self._settings.signature_rows:
            rows.inputs += self._keys.features_of(told.inputs.some(told.counted))

    def _gather(self, files: Sequence[str]) -> None:
        """Collect the rows of files told before; what is gone or damaged was told as it was."""
        wanted = [name for name in files if name.startswith(f"{self._folders.predictions.name}/")]
        found: list[OutputFile] = []
        for name in wanted:
            with suppress(OSError):
                found.append(OutputFile.read(self._folders.root, name))
        for _, rows, inputs in JoinedFiles.of(found).parts():
            for block in self._blocks(self._entry(rows.epoch, rows), rows, inputs):
                self._collect(block)

    def _tell_window(self, window: Window) -> None:
        for rows in self._rows.values():
            self._facts.tell(window.name, rows)
        self._rows = {}
        self._client.flush()
        self._journal.window_told(window.name)


def _sources(pieces: Sequence[Source]) -> list[dict[str, object]]:
    """Return what a fact says of where the inputs came from: each file once in a row, its first and last line."""
    found = []
    for file, part in groupby(pieces, key=lambda piece: piece.file):
        lines = list(part)
        first, last = min(piece.first for piece in lines), max(piece.last for piece in lines)
        found.append({"file": unquoted(file), "first": first, "last": last, "rows": sum(piece.rows for piece in lines)})
    return found


def _quarantined(row: SetAside, text: bytes | None) -> dict[str, object]:
    shown = None if text is None else text.decode("utf-8", "backslashreplace")
    return {"file": unquoted(row.file), "line": row.line, "reason": row.reason, "row": shown}


def _sampled(binding: bytes, share: float) -> bool:
    """Tell whether a block is in the share: a property of what it is bound to, so telling twice agrees."""
    return int.from_bytes(hashlib.sha256(binding).digest()[:8]) < share * 2**64
