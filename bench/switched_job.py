"""One Flink job, by turns with and without ion: ``python -m bench.switched_job HOME NODE PAIRS SECONDS``.

Run by Flink's interpreter, in a session of its own. The dataflow (source, positions, parsing, scoring,
sinks, checkpoints) runs through; in the windows with ion everything that `resources.flink.job` adds is
there too, made new for each window and ended after it: gate, pointer watch, epochs, agent, committed
reader, capture, statistics, signatures, heartbeat. One JVM, so that its compiler's luck cancels out.
Prints one JSON line per window.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cpu import group_cpu_s
from bench.plain_scoring import PlainScorer, Switch, SwitchedScorer, install
from ion.evidence import ArtifactStore, trust_file
from ion.home import Home
from ion.serving import Admitted, Gate, pointer_path
from resources.flink.job import StreamingJob
from resources.flink.reading import keep_freed_memory
from resources.flink.scoring import ScorePatients
from resources.flink.settings import JobSettings
from resources.flink.stopping import stop_with_savepoint
from resources.flink.topology import build, configuration, prepare_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyflink.common import JobClient

WARM_UP_S = 60.0
SETTLE_S = 1.5
_MIXED_S = 2.5
"""After the switch until every part file holds rows of one kind: two checkpoints and some."""


class GovernedWindow(StreamingJob):
    """The production job around a dataflow that runs already."""

    def __init__(self, settings: JobSettings, stopping: threading.Event, switch: Switch, dataflow: JobClient) -> None:
        super().__init__(settings, stopping)
        self._switch = switch
        self._dataflow = dataflow
        self._scorer = ScorePatients(settings, self._run_id)
        self.ready = threading.Event()

    def _submit(self) -> JobClient:
        self._scorer.open(self._switch.context)
        self._switch.scorer = self._scorer
        time.sleep(_MIXED_S)
        for path in self._folders.predictions.glob("*/[!.]*"):
            path.unlink()
        self.ready.set()
        return self._dataflow

    def _stop(self, _job: JobClient) -> str:
        self._switch.scorer = self._switch.plain
        self._scorer.close()
        return "stopped"


@contextmanager
def _governed(settings: JobSettings, switch: Switch, dataflow: JobClient) -> Iterator[None]:
    stopping = threading.Event()
    job = GovernedWindow(settings, stopping, switch, dataflow)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(job.execute()))
    thread.start()
    try:
        if not job.ready.wait(20):
            raise RuntimeError(f"the governed window did not start: {codes}")
        yield
    finally:
        stopping.set()
        thread.join()
    if codes != [0]:
        raise RuntimeError(f"the governed window failed: {codes}")


def main() -> None:
    """Run the windows."""
    home, node, pairs, seconds = Home(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    settings = JobSettings(str(home.root), node)
    folders = settings.folders.make()
    keep_freed_memory()
    prepare_environment(settings)
    gate = Gate(
        pointer_path(home.root, node),
        ArtifactStore(home.artifacts),
        trust_file(home),
        node,
        folders.gate_state,
    )
    admitted = gate.admit()
    if not isinstance(admitted, Admitted):
        raise TypeError(f"not admitted: {admitted}")
    switch = Switch(PlainScorer(str(folders.inbox), admitted.scorer))
    install(switch)
    configured = configuration(settings, uuid.uuid4().hex, None)
    dataflow = build(settings, configured, SwitchedScorer()).execute_async("bench")
    while not switch.rows:
        time.sleep(0.1)
    _warm_up(settings, switch, dataflow)
    for pair in range(pairs):
        for governed in (False, True) if pair % 2 else (True, False):
            with _governed(settings, switch, dataflow) if governed else nullcontext():
                time.sleep(SETTLE_S)
                print(json.dumps({"pair": pair, "governed": governed, **_window(switch, seconds)}), flush=True)
    stop_with_savepoint(dataflow, folders.savepoints, 20)


def _warm_up(settings: JobSettings, switch: Switch, dataflow: JobClient) -> None:
    time.sleep(WARM_UP_S / 2)
    with _governed(settings, switch, dataflow):
        time.sleep(WARM_UP_S / 2)


def _window(switch: Switch, seconds: float) -> dict[str, float]:
    began, rows, cpu, python = time.monotonic(), switch.rows, group_cpu_s(os.getpgrp()), time.process_time()
    time.sleep(seconds)
    cpu, python = group_cpu_s(os.getpgrp()) - cpu, time.process_time() - python
    return {"cpu_s": cpu, "python_s": python, "rows": switch.rows - rows, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Flink's threads would hold the process
