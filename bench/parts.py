"""What each part of ion costs the streaming job, measured alone: ``python -m bench.parts HOME NODE``.

Run by Flink's interpreter, without Flink. CPU time of this thread and the threads it starts, per event;
the rates are those of 1,000 predictions a second with the job's default settings. Prints JSON lines.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.feeding import PERIOD_S
from bench.plain_scoring import PlainScorer
from ion.agent import open_client
from ion.evidence import ArtifactStore
from ion.home import Home
from ion.ids import new_id
from ion.serving import Admitted
from resources.flink.committed import CommittedFiles
from resources.flink.job import _HEARTBEAT_S as HEARTBEAT_S
from resources.flink.job import _LOOK_S as LOOK_S
from resources.flink.journal import Journal
from resources.flink.reading import keep_freed_memory
from resources.flink.scoring import ScorePatients
from resources.flink.sealing import RowKeys
from resources.flink.serving import _FULL_CHECK_S as FULL_CHECK_S
from resources.flink.serving import ProcessServing, share
from resources.flink.settings import JobSettings
from resources.flink.status import write_status
from resources.flink.windows import WindowFacts

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENTS = "patients.csv"
"""Rows to score, under the home: Flink's environment has no data of its own."""
ROWS_PER_S = 1000
_FILES = 20
_REPEATS = 7
_LOOKING_S = 10.0
_HOUR = 3600
_LISTED_AGAIN_S = 1.0  # a folder of this size rests less between two listings


class _Context:
    """What the operator asks Flink for."""

    def get_index_of_this_subtask(self) -> int:
        return 0

    def get_attempt_number(self) -> int:
        return 0


class Parts:
    """The job's parts on files that this process writes itself."""

    def __init__(self, home: Home, node: str) -> None:
        self._settings = JobSettings(str(home.root), node)
        self._folders = self._settings.folders.make()
        self._client = open_client(home, name="parts", ship=False)
        self._journal = Journal(self._folders.journal)
        self._run = self._client.node_run(node, kind="inference")
        self._serving = ProcessServing(self._settings, self._run.id, self._client, self._journal)
        answer = self._serving.start()
        if not isinstance(answer, Admitted):
            raise TypeError(f"not admitted: {answer}")
        self._serving.stop()
        self._admitted = answer
        share(self._run.id, self._serving)
        self._governed = ScorePatients(self._settings, self._run.id)
        self._governed.open(_Context())
        self._keys = RowKeys(self._settings, self._client)
        self._facts = WindowFacts(self._client, ArtifactStore(home.artifacts), self._folders.bins)
        self._committed = self._reader(1.0)
        self._patients = (home.root / PATIENTS).read_text().splitlines()

    def stamp(self) -> None:
        """Print what naming epoch, sequence and model adds to scoring one row."""
        rows = [
            (f"{self._folders.inbox}/patients-00000000.csv", line, text) for line, text in enumerate(self._patients, 1)
        ]
        plain = PlainScorer(str(self._folders.inbox), self._admitted.scorer)

        def scored(scorer: PlainScorer | ScorePatients) -> float:
            return _cpu(lambda: [None for row in rows for _ in scorer.process_element(row, None)]) / len(rows)

        for scorer in (plain, self._governed):
            scored(scorer)
        differences = [scored(self._governed) - scored(plain) for _ in range(10 * _REPEATS)]
        _tell("epoch stamp per prediction", statistics.median(differences), ROWS_PER_S, len(differences))

    def files(self) -> None:
        """Print the price of a committed file, of a window, and of a look that finds nothing."""
        costs: dict[float, list[float]] = {1.0: [], 0.0: []}
        readers = {share: self._reader(share) for share in costs}
        at_once = int(LOOK_S)
        for number in range(2 * _FILES):
            share = float(number % 2)
            for _ in range(at_once):
                self._commit_file()
            costs[share].append(_telling(readers[share], at_once) / at_once)
        whole, uncaptured = statistics.median(costs[1.0]), statistics.median(costs[0.0])
        _tell("committed file of 1,000 predictions", whole, 1, _FILES)
        _tell("of that, capture of every input", whole - uncaptured, 1, _FILES, "within the figure above")
        windows = []
        for _ in range(_REPEATS):
            for _ in range(int(self._settings.window_s)):
                self._commit_file()
            time.sleep(_LISTED_AGAIN_S)
            self._committed.tell_new()
            windows.append(_cpu(lambda: self._committed.tell_new(last=True)))
        _tell(
            "window: 5 statistics per 1,000, 31 histograms",
            statistics.median(windows),
            1 / self._settings.window_s,
            len(windows),
        )
        time.sleep(2.5)
        self._looks("a look at the output folder, first minute", 60, "")
        self._looks("a look at the output folder, full hour", _HOUR, "not in the sum: at the end of an hour's folder")

    def _reader(self, capture_share: float) -> CommittedFiles:
        settings = dataclasses.replace(self._settings, capture_share=capture_share)
        return CommittedFiles(settings, self._run.id, self._client, self._journal, self._keys, self._facts)

    def _looks(self, name: str, files: int, extra: str) -> None:
        folder = self._folders.predictions / "hour"
        told = []
        for number in range(files):
            path = folder / f"predictions-{new_id()}-{number}.csv"
            path.touch()
            told.append(path.relative_to(self._folders.root).as_posix())
        self._journal.files_told(told)

        # Dear looks are made less often, so only looking for a while shows what looking costs.
        self._committed.tell_new(last=True)
        costs = []
        for _ in range(int(_LOOKING_S / LOOK_S)):
            os.utime(folder)  # a folder that gets a file every second is never quiet
            costs.append(_cpu(self._committed.tell_new))
            time.sleep(LOOK_S)
        _tell(name, statistics.mean(costs), 1 / LOOK_S, len(costs), extra)

    def watch(self) -> None:
        """Print the price of polling, of a full admission, of a heartbeat and of the idle agent."""
        serving, folders = self._serving, self._folders
        _tell("pointer poll", _each(serving._stat), 1000 / self._settings.poll_ms, 1000)  # noqa: SLF001 - a part of it
        admit = serving._gate.admit  # noqa: SLF001 - as above
        _tell("full admission check, one signature", _each(lambda: admit(timeout=5.0)), 1 / FULL_CHECK_S, 1000)
        beat = lambda: write_status(folders.status, "running", pid=1, run=self._run.id, started=1)  # noqa: E731
        _tell("heartbeat", _each(beat), 1 / HEARTBEAT_S, 1000)
        before = time.process_time()
        time.sleep(5.0)
        _tell("idle agent", (time.process_time() - before) / 5.0, 1, 1)

    def _commit_file(self) -> None:
        """Write a second of input and the part file that would follow from it."""
        epoch = self._governed._serving.current()  # noqa: SLF001 - to write what it would
        first = epoch.seq
        lines: list[object] = []
        size = int(ROWS_PER_S * PERIOD_S)
        for start in range(0, ROWS_PER_S, size):
            texts = [self._patients[(first + start + row) % len(self._patients)] for row in range(size)]
            path = self._folders.inbox / f"patients-{first + start:012d}.csv"
            path.write_text("\n".join(texts) + "\n")
            for line, text in enumerate(texts, 1):
                lines += self._governed.process_element((str(path), line, text), None)
        folder = self._folders.predictions / "hour"
        folder.mkdir(exist_ok=True)
        hidden = folder / f".{new_id()}"
        hidden.write_text("".join(f"{line}\n" for line in lines))
        hidden.rename(folder / f"predictions-{new_id()}.csv")


def _telling(reader: CommittedFiles, files: int) -> float:
    """Return what telling the new files costs; a look that comes too early finds none, and is another part."""
    told: list[int] = []
    while True:
        time.sleep(_LISTED_AGAIN_S)
        cost = _cpu(lambda: told.append(reader.tell_new()))
        if told[-1] == files:
            return cost
        if told[-1]:
            raise RuntimeError(f"{told[-1]} files were told, not {files}")


def _cpu(action: Callable[[], object]) -> float:
    before = time.thread_time()
    action()
    return time.thread_time() - before


def _each(action: Callable[[], object], times: int = 1000) -> float:
    return _cpu(lambda: [action() for _ in range(times)]) / times


def _tell(name: str, seconds: float, per_second: float, count: int, extra: str = "") -> None:
    print(
        json.dumps({"name": name, "seconds": seconds, "per_second": per_second, "n": count, "extra": extra}), flush=True
    )


def main() -> None:
    """Measure every part."""
    keep_freed_memory()
    parts = Parts(Home(Path(sys.argv[1])), sys.argv[2])
    parts.stamp()
    parts.watch()
    parts.files()


if __name__ == "__main__":
    main()
