"""One lean Spark session through dagster-pyspark.

By default Spark runs inside the training process on two cores; ``ION_SPARK_MASTER`` (for example
``spark://head:7077``) or the resource's configuration sends the work to a cluster.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from dagster_pyspark import LazyPySparkResource

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

_JAVA_NEEDED = 17

LEAN = {
    "spark.app.name": "ion",
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    "spark.sql.adaptive.enabled": "false",
    # Small data: compiling whole stages costs more than it saves.
    "spark.sql.codegen.wholeStage": "false",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""What makes a session on one machine start and finish quickly with small data."""

_LOCAL = {"spark.master": "local[2]", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


class SparkResource(LazyPySparkResource):
    """dagster-pyspark's lazy session with lean settings; ``spark_config`` is laid over them.

    The session starts when `spark_session` is first read, so an asset that never reads it needs no
    Java. It lives as long as the process: one Dagster run, one process, one session.
    """

    spark_config: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies the default

    @property
    def spark_session(self) -> SparkSession:
        """The session of this process.

        Raises:
            IonError: ``java-missing`` or ``java-too-old``; ``spark-unreachable`` when it does not start.
        """
        if self._spark_session is None:
            self._spark_session = open_session(self.spark_config)
        return self._spark_session


def open_session(spark_config: Mapping[str, object]) -> SparkSession:
    """Return the process's session, made with the lean settings and ``spark_config`` over them.

    Raises:
        IonError: as `SparkResource.spark_session`.
    """
    from dagster_pyspark.resources import spark_session_from_config

    master = os.environ.get("ION_SPARK_MASTER", "")
    where = {"spark.master": master} if master else _LOCAL
    checked_java()
    try:
        session = spark_session_from_config({**LEAN, **where, **spark_config})
        session.sparkContext.setLogLevel("ERROR")
    except Exception as error:
        raise IonError(
            "spark-unreachable",
            f"no Spark session: {str(error).splitlines()[0] if str(error) else type(error).__name__}"[:300],
            "unset ION_SPARK_MASTER to train inside this process, or start the cluster it names",
        ) from error
    return session


def checked_java() -> int:
    """Return the major version of the Java that Spark would start.

    Raises:
        IonError: ``java-missing`` or ``java-too-old``.
    """
    hint = f"install Java {_JAVA_NEEDED} or newer (Debian: apt-get install openjdk-{_JAVA_NEEDED}-jre-headless)"
    home = os.environ.get("JAVA_HOME", "")
    java = shutil.which(os.path.join(home, "bin", "java") if home else "java")  # noqa: PTH118 - text for which()
    if java is None:
        where = "under JAVA_HOME" if home else "on the path"
        raise IonError("java-missing", f"Spark needs Java, and there is none {where}", hint)
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False).stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IonError("java-missing", f"Java does not start: {type(error).__name__}", hint) from error
    found = re.search(r'version "(?:1\.)?(\d+)', answer)
    if found is None or int(found[1]) < _JAVA_NEEDED:
        raise IonError("java-too-old", f"Spark needs Java {_JAVA_NEEDED} or newer: {answer.splitlines()[:1]}", hint)
    return int(found[1])
