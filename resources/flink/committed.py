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
from itertools import groupby
from typing import TYPE_CHECKING

from ion.canonical import canonical_bytes, digest_bytes
from ion.errors import IonError
from ion.facts import GapNoted, InputsCaptured, PredictionsCommitted, RowsQuarantined
from ion.ids import observed_id
from ion.serving.captured import capture_aad
from resources.flink.columns import Predictions, read_predictions
from resources.flink.inputs import InputRows, ScoredInputs
from resources.flink.journal import EpochEntry, Journal, Window
from resources.flink.output_files import OutputFiles
from resources.flink.rows import SetAside, read_set_aside, unquoted
from resources.flink.windows import EpochRows, WindowFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.agent import Client
    from resources.flink.folders import Folders
    from resources.flink.sealing import RowKeys
    from resources.flink.settings import JobSettings

_BLOCK_ROWS = 1024


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
            IonError: ``spool-unusable``: nothing was marked as told.
        """
        self._keys.forget_erased()
        fresh = self._output.fresh(self._journal.told, now=last)
        if fresh:
            try:
                for name in fresh:
                    self._tell_file(name)
                self._client.flush()
            except IonError:
                self._output.forget()  # what was found must be found again
                raise
            self._journal.files_told(fresh)
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

    def _tell_file(self, name: str) -> None:
        path = self._folders.root / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            self._gap(self._run, "output file", 1, "it was removed before it was told", path.name)
            return
        digest = digest_bytes(data)
        try:
            if name.startswith(f"{self._folders.quarantine.name}/"):
                self._tell_set_aside(name, digest, read_set_aside(data))
            else:
                self._tell_predictions(name, digest, read_predictions(data))
        except (ValueError, TypeError) as error:
            self._gap(self._run, "output rows", data.count(b"\n"), f"{path.name} is not as written: {error}", digest)

    def _tell_predictions(self, name: str, digest: str, rows: Predictions) -> None:
        for part in rows.ranges():
            entry = self._entry(part.epoch, part.model)
            first, last = int(part.seq[0]), int(part.seq[-1])
            self._client.emit(
                PredictionsCommitted(
                    epoch=entry.epoch,
                    run=entry.run,
                    first=first,
                    last=last,
                    rows=len(part),
                    file=name,
                    file_digest=digest,
                    sources=[_source(file, members) for file, members in part.files()],
                    us_first=part.us(0),
                    us_last=part.us(-1),
                ),
                fact_id=observed_id("predictions committed", digest, entry.epoch, str(first)),
            )
            for start in range(0, len(part), _BLOCK_ROWS):
                self._capture(entry, part.part(start, start + _BLOCK_ROWS), digest)
            self._collect(entry, part)

    def _capture(self, entry: EpochEntry, rows: Predictions, digest: str) -> None:
        first, last = int(rows.seq[0]), int(rows.seq[-1])
        binding = capture_aad(entry.epoch, first)
        if not _sampled(binding, self._settings.capture_share):
            self._gap(entry.epoch, "captured inputs", len(rows), "not in the captured share", digest, first, last)
            return
        inputs = ScoredInputs(self._inputs, rows)
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

    def _tell_set_aside(self, name: str, digest: str, rows: list[SetAside]) -> None:
        for run, members in groupby(rows, lambda row: self._entry(row.epoch).run):
            part = list(members)
            reasons = dict(Counter(row.reason for row in part))
            texts = [text for row in part for text in self._inputs.rows(row.file, [row.line])]
            shown = [canonical_bytes(_quarantined(row, text)) for row, text in zip(part, texts, strict=True)]
            key, block = self._keys.seal_rows(part[0].epoch, texts, shown, digest.encode())
            self._client.emit(
                RowsQuarantined(
                    run=run,
                    node=self._settings.node,
                    rows=len(part),
                    reasons=reasons,
                    key=key,
                    block=digest_bytes(block),
                    file=name,
                    file_digest=digest,
                ),
                block=block,
                fact_id=observed_id("rows quarantined", digest, run),
            )

    def _entry(self, epoch: str, model: str = "") -> EpochEntry:
        """Return the epoch as it was opened; one that the journal does not know becomes a gap."""
        entry = self._journal.epochs.get(epoch)
        if entry is None:
            entry = self._journal.epochs[epoch] = EpochEntry(epoch, self._run, model, 0)
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

    def _collect(self, entry: EpochEntry, part: Predictions) -> None:
        rows = self._rows.setdefault(entry.epoch, EpochRows(entry))
        rows.add(part)
        if self._settings.signature_rows:
            step = -(-len(part) // self._settings.signature_rows)
            for file, members in part.every(step).files():
                found = [text for text in self._inputs.rows(file, members.line.tolist()) if text is not None]
                rows.inputs += self._keys.features_of(found)

    def _gather(self, files: Sequence[str]) -> None:
        """Collect the rows of files told before; what is gone or damaged was told as it was."""
        for name in files:
            path = self._folders.root / name
            with suppress(OSError, ValueError):
                if path.is_relative_to(self._folders.predictions):
                    for part in read_predictions(path.read_bytes()).ranges():
                        self._collect(self._entry(part.epoch, part.model), part)

    def _tell_window(self, window: Window) -> None:
        for rows in self._rows.values():
            self._facts.tell(window.name, rows)
        self._rows = {}
        self._client.flush()
        self._journal.window_told(window.name)


def _source(file: str, rows: Predictions) -> dict[str, object]:
    return {"file": unquoted(file), "first": int(rows.line.min()), "last": int(rows.line.max()), "rows": len(rows)}


def _quarantined(row: SetAside, text: bytes | None) -> dict[str, object]:
    shown = None if text is None else text.decode("utf-8", "backslashreplace")
    return {"file": unquoted(row.file), "line": row.line, "reason": row.reason, "row": shown}


def _sampled(binding: bytes, share: float) -> bool:
    """Tell whether a block is in the share: a property of what it is bound to, so telling twice agrees."""
    return int.from_bytes(hashlib.sha256(binding).digest()[:8]) < share * 2**64
