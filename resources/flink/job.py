"""The streaming job's program, run by Flink's own interpreter: ``python -m resources.flink.job --home … --node …``.

Exit codes: 0 stopped as asked or halted; 1 failed; 2 wrong use; 3 the gate refused at the start; 4 a job
of this node is running already.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ion.agent import open_client
from ion.agent.code import code_state
from ion.agent.run import failure
from ion.clock import now_us
from ion.errors import IonError
from ion.evidence import ArtifactStore
from ion.facts import EpochClosed, NodeRunEnded
from ion.home import Home
from ion.ids import new_id, observed_id
from ion.serving import Admitted
from resources.flink.checkpoints import discard_old, newest_restore_point
from resources.flink.committed import CommittedFiles
from resources.flink.elsewhere import Elsewhere
from resources.flink.journal import Journal
from resources.flink.lock import hold_lock
from resources.flink.reading import keep_freed_memory
from resources.flink.sealing import RowKeys
from resources.flink.serving import ProcessServing, share
from resources.flink.settings import JobSettings
from resources.flink.status import write_status
from resources.flink.stopping import cancel, is_running, stop_with_savepoint
from resources.flink.topology import build, configuration, prepare_environment
from resources.flink.windows import WindowFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyflink.common import JobClient

    from ion.agent import Client, NodeRun
    from resources.flink.status import State

Outcome = Literal["stopped", "halted"]
REFUSED = 3
ALREADY_RUNNING = 4
_TURN_S = 0.25
_LOOK_S = 5.0
_HEARTBEAT_S = 4.0
_CHECK_S = 2.0
_STOP_TIMEOUT_S = 30.0
_LAST_FILES_S = 0.3


class StreamingJob:
    """One execution of one streaming node, from admission to its last fact."""

    def __init__(self, settings: JobSettings, stopping: threading.Event) -> None:
        """Open what the job needs; ``stopping`` asks it to end.

        Raises:
            IonError: whatever is missing or damaged.
        """
        home = Home(Path(settings.home))
        self._settings = settings
        self._folders = settings.folders
        self._stopping = stopping
        self._started = now_us()
        self._run_id = new_id()
        self._state: State = "starting"
        self._beat = 0.0
        self._look_due = 0.0
        self._error = ""
        self._journal = Journal(self._folders.journal)
        # Beside governance another process ships; elsewhere this one does, and brings what it serves with.
        self._client: Client = open_client(home, name="flink", ship=bool(home.server_url))
        self._restore = newest_restore_point(self._folders)
        self._close_dead_runs()
        self._run: NodeRun = self._start_run()
        self._serving = ProcessServing(settings, self._run_id, self._client, self._journal)
        self._elsewhere: Elsewhere | None = None
        if home.server_url:
            self._elsewhere = Elsewhere(settings, self._client, self._run_id, lambda: self._serving.model)
        keys = RowKeys(settings, self._client)
        facts = WindowFacts(self._client, ArtifactStore(home.artifacts), self._folders.bins)
        self._committed = CommittedFiles(settings, self._run_id, self._client, self._journal, keys, facts)

    def execute(self) -> int:
        """Serve until asked to stop, halted or failed; return the exit code."""
        if self._elsewhere is not None:
            self._elsewhere.start()
        answer = self._serving.start()
        if not isinstance(answer, Admitted):
            self._end("refused", "failed", f"not admitted: {answer.reason}")
            return REFUSED
        try:
            outcome = self._serve()
        except Exception as error:  # noqa: BLE001 - whatever Flink raises ends the run as failed
            traceback.print_exc()  # in the job's log; the fact holds its kind
            self._end("failed", "failed", failure(error))
            return 1
        self._end(outcome, outcome)
        return 0

    def _serve(self) -> Outcome:
        self._heartbeat()
        share(self._run_id, self._serving)
        submitted = time.time()
        job = self._submit()
        self._committed.resume()
        job_folder = self._folders.checkpoints / uuid.UUID(self._run_id).hex
        checked = 0.0
        while not self._stopping.is_set() and self._serving.halted is None:
            self._look()
            if time.monotonic() - checked > _CHECK_S:
                checked = time.monotonic()
                if not is_running(job):
                    raise IonError("job-failed", _failure(job), "Flink's log is in the node's logs folder")
            if self._state == "starting" and any(job_folder.glob("chk-*/_metadata")):
                self._state = "running"  # every task works, and nothing hangs on earlier checkpoints
                self._heartbeat(now=True)
                self._committed.discard_uncommitted(submitted)
            self._stopping.wait(_TURN_S)
        return self._stop(job)

    def _submit(self) -> JobClient:
        from resources.flink.scoring import ScorePatients

        configured = configuration(self._settings, uuid.UUID(self._run_id).hex, self._restore)
        scorer = ScorePatients(self._settings, self._run_id)
        return build(self._settings, configured, scorer).execute_async(self._settings.node)

    def _stop(self, job: JobClient) -> Outcome:
        """End the job. Halted, its rows wait at the scorer and no savepoint can pass: it is cancelled."""
        self._state = "stopping"
        self._heartbeat(now=True)
        if self._serving.halted is None:
            stop_with_savepoint(job, self._folders.savepoints, _STOP_TIMEOUT_S)
            return "stopped"
        cancel(job, _STOP_TIMEOUT_S)
        return "halted"

    def _look(self) -> None:
        """Tell what was committed since, every five seconds, and say that this job is alive."""
        if time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + _LOOK_S
        self._heartbeat()
        with suppress(IonError):  # a full spool: the next look tells it
            self._committed.tell_new()

    def _heartbeat(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._beat >= _HEARTBEAT_S:
            self._beat = time.monotonic()
            write_status(
                self._folders.status,
                self._state,
                pid=os.getpid(),
                run=self._run_id,
                started=self._started,
                error=self._error,
            )

    def _start_run(self) -> NodeRun:
        project = Path(__file__).resolve().parents[2]
        self._journal.run_started(self._run_id)
        config = {**self._settings.config(), "restored": self._restore is not None}
        return self._client.node_run(
            self._settings.node,
            kind="inference",
            run_id=self._run_id,
            config=config,
            engine="flink",
            engine_run=uuid.UUID(self._run_id).hex,
            code=code_state(project, ("resources",)),
        )

    def _close_dead_runs(self) -> None:
        """Tell the ends that runs which were killed could not tell."""
        for epoch in list(self._journal.open_epochs.values()):
            self._close_epoch(epoch.epoch, epoch.run, "the process died")
        for run in list(self._journal.open_runs):
            self._client.emit(
                NodeRunEnded(run=run, status="failed", error="the process died"), fact_id=observed_id("run died", run)
            )
            self._journal.run_ended(run)

    def _close_epoch(self, epoch: str, run: str, reason: str) -> None:
        fact = EpochClosed(epoch=epoch, run=run, reason=reason)
        self._client.emit(fact, fact_id=observed_id("epoch closed", epoch))
        self._journal.epoch_closed(epoch)

    def _end(self, state: State, status: str, error: str = "") -> None:
        self._serving.stop()
        self._state, self._error = state, error
        if state in {"stopped", "halted", "failed"}:
            time.sleep(_LAST_FILES_S if state != "stopped" else 0.0)
            with suppress(IonError):
                self._committed.tell_new(last=True)
        for epoch in list(self._journal.open_epochs.values()):
            self._close_epoch(epoch.epoch, epoch.run, state)
        self._run.end(status, error)
        if self._elsewhere is not None:
            self._elsewhere.stop()
        self._client.close()
        self._journal.run_ended(self._run_id)
        self._journal.close()
        self._heartbeat(now=True)


def _failure(job: JobClient) -> str:
    """Return the innermost cause the cluster knows."""
    try:
        job.get_job_execution_result().result()
    except Exception as error:  # noqa: BLE001 - a Java exception carries the cause
        causes = [line for line in str(error).splitlines() if line.startswith("Caused by: ")]
        return (causes[-1] if causes else str(error).splitlines()[0])[:500]
    return "the job ended by itself"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; return the exit code."""
    settings = JobSettings.parse(sys.argv[1:] if arguments is None else arguments)
    folders = settings.folders.make()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    lock = hold_lock(folders.lock)
    if lock is None:
        sys.stderr.write(f"a job of {settings.node} is running already\n")
        return ALREADY_RUNNING
    try:
        keep_freed_memory()
        prepare_environment(settings)
        discard_old(folders)
        return StreamingJob(settings, stopping).execute()
    except IonError as error:
        sys.stderr.write(f"{error}\n")
        write_status(folders.status, "failed", pid=os.getpid(), run="", started=now_us(), error=error.message)
        return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Flink leaves threads (and, after a halt, rows waiting at the scorer) that would hold the process.
    os._exit(code)
