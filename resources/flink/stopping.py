"""Ending a Flink job: with a savepoint, or at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pyflink.common import JobClient

_RUNNING = {"CREATED", "INITIALIZING", "RUNNING"}
_AGAIN_S = 0.3


def is_running(job: JobClient) -> bool:
    """Ask the cluster whether the job is still to do its work."""
    return str(job.get_job_status().result()).removeprefix("JobStatus.") in _RUNNING


def stop_with_savepoint(job: JobClient, folder: Path, timeout_s: float) -> str:
    """Commit what was predicted, keep the position, end the job; return the savepoint's address.

    Goes to the Java client: `JobClient.stop_with_savepoint` of PyFlink 2.3 calls a method that is gone.
    While the job's tasks still start, Flink refuses a savepoint: it is asked again.

    Raises:
        py4j.protocol.Py4JJavaError: the job had failed, or did not stop in time.
    """
    from py4j.protocol import Py4JJavaError
    from pyflink.java_gateway import get_gateway

    jvm = get_gateway().jvm
    form = jvm.org.apache.flink.core.execution.SavepointFormatType.CANONICAL
    unit = jvm.java.util.concurrent.TimeUnit.MILLISECONDS
    give_up = time.monotonic() + timeout_s
    while True:
        left = max(give_up - time.monotonic(), 0.0)
        pending = job._j_job_client.stopWithSavepoint(False, folder.as_uri(), form)  # noqa: FBT003, SLF001 - as above
        try:
            return str(pending.get(int(left * 1000), unit))
        except Py4JJavaError:
            if not is_running(job) or time.monotonic() + _AGAIN_S > give_up:
                raise
        time.sleep(_AGAIN_S)


def cancel(job: JobClient, timeout_s: float) -> None:
    """End the job where it stands: what no checkpoint committed is predicted again at the next start.

    Raises:
        py4j.protocol.Py4JJavaError: it did not end in time.
    """
    from pyflink.java_gateway import get_gateway

    jvm = get_gateway().jvm
    pending = job._j_job_client.cancel()  # noqa: SLF001 - to wait no longer than asked
    pending.get(int(timeout_s * 1000), jvm.java.util.concurrent.TimeUnit.MILLISECONDS)
