"""The dataflow: monitored folder → line numbers → scorer → two exactly-once folders.

Line numbers are counted per file by the planner's own Java operator (a running COUNT over the file's
rows in order of arrival), because PyFlink has keyed state only and the scorer needs none. A file on a
local disk is one split, so its rows reach one subtask in order.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyflink.common import Configuration
    from pyflink.datastream import ProcessFunction, StreamExecutionEnvironment
    from pyflink.datastream.connectors.file_system import FileSink

    from resources.flink.settings import JobSettings

_SOURCE = """
CREATE TEMPORARY TABLE patients (
    text STRING, path STRING NOT NULL METADATA FROM 'file.path' VIRTUAL, arrived AS PROCTIME()
) WITH ('connector' = 'filesystem', 'path' = '{inbox}', 'format' = 'raw', 'source.monitor-interval' = '{monitor} ms')
"""
_NUMBERED = """
SELECT path, COUNT(*) OVER (
    PARTITION BY path ORDER BY arrived ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
) AS line, text FROM patients
"""
_JVM_OPTIONS = "-Xmx512m -XX:+UseSerialGC"


def prepare_environment(settings: JobSettings) -> None:
    """Set what Flink reads from the process environment; call before anything of pyflink runs."""
    os.environ["FLINK_LOG_DIR"] = str(settings.folders.logs)
    os.environ.setdefault("JDK_JAVA_OPTIONS", _JVM_OPTIONS)  # beside the options Flink itself gives
    # Flink starts workers by the name `python`: let it be this one.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def configuration(settings: JobSettings, job_id: str, restore: Path | None) -> Configuration:
    """Return Flink's configuration; ``job_id`` is 32 hex digits, ``restore`` a checkpoint to start from."""
    from pyflink.common import Configuration

    folders = settings.folders
    chosen = {
        "$internal.pipeline.job-id": job_id,
        "parallelism.default": str(settings.parallelism),
        "pipeline.max-parallelism": "128",
        "execution.checkpointing.interval": f"{settings.checkpoint_ms} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": folders.checkpoints.as_uri(),
        "execution.checkpointing.savepoint-dir": folders.savepoints.as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.tolerable-failed-checkpoints": "3",
        "execution.buffer-timeout.interval": "5 ms",
        "python.fn-execution.bundle.time": str(settings.bundle_ms),
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        # Whoever started this job starts it again, from the newest checkpoint, as a new node run.
        "restart-strategy.type": "none",
        # State is found again by operator names, also after the plan changed around them.
        "table.exec.uid.generation": "ALWAYS",
        "rest.bind-port": "0",
        "taskmanager.numberOfTaskSlots": str(settings.parallelism),
    }
    if restore is not None:
        chosen["execution.state-recovery.path"] = restore.as_uri()
    configured = Configuration()
    for name, value in chosen.items():
        configured.set_string(name, value)
    return configured


def build(settings: JobSettings, configured: Configuration, scorer: ProcessFunction) -> StreamExecutionEnvironment:
    """Return the environment, ready to execute, with ``scorer`` between source and sinks."""
    from pyflink.common import Types
    from pyflink.datastream import StreamExecutionEnvironment
    from pyflink.table import StreamTableEnvironment

    from resources.flink.scoring import SET_ASIDE

    folders = settings.folders
    environment = StreamExecutionEnvironment.get_execution_environment(configured)
    tables = StreamTableEnvironment.create(environment)
    tables.execute_sql(_SOURCE.format(inbox=folders.inbox.as_uri().replace("'", "''"), monitor=settings.monitor_ms))
    numbered = tables.to_data_stream(tables.sql_query(_NUMBERED))
    scored = numbered.process(scorer, Types.STRING()).name("score patients").uid("score")
    scored.sink_to(_committed_files(folders.predictions, "predictions")).name("predictions").uid("predictions")
    aside = scored.get_side_output(SET_ASIDE)
    aside.sink_to(_committed_files(folders.quarantine, "quarantine")).name("quarantine").uid("quarantine")
    return environment


def _committed_files(folder: Path, prefix: str) -> FileSink:
    """Return a sink whose files appear when a checkpoint completes, never to change again."""
    from pyflink.common.serialization import Encoder
    from pyflink.datastream.connectors.file_system import BucketAssigner, FileSink, OutputFileConfig, RollingPolicy

    names = OutputFileConfig.builder().with_part_prefix(prefix).with_part_suffix(".csv").build()
    sink = FileSink.for_row_format(folder.as_uri(), Encoder.simple_string_encoder())
    sink = sink.with_bucket_assigner(BucketAssigner.date_time_bucket_assigner("yyyy-MM-dd--HH", "UTC"))
    return sink.with_rolling_policy(RollingPolicy.on_checkpoint_rolling_policy()).with_output_file_config(names).build()
