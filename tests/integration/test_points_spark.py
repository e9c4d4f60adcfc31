"""Spark reads exported statistics as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ion.agent.statistics import statistics_fact
from ion.interop.exported_points import export_points
from ion.points import Points
from ion.store import open_store
from ion.testing import written

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def test_spark_reads_exported_points(tmp_path: Path) -> None:
    from pyspark.sql import SparkSession

    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    columns = {"loss": Points(np.arange(1000, dtype=np.int64) * 1_000_000, np.arange(1000) / 7)}
    fact, block = statistics_fact("a run", "", columns)
    store.append([written(fact)], {fact.digest: block})
    export_points(store, str(tmp_path / "cold"))
    store.close()
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        frame = spark.read.parquet(str(tmp_path / "cold"))
        kinds = dict(frame.dtypes)
        assert kinds == {
            "run": "string", "series": "string", "epoch": "string", "leaf": "bigint", "time": "timestamp",
            "value": "double",
        }  # fmt: skip
        found = frame.selectExpr("unix_micros(time) AS us", "value", "run", "leaf").orderBy("us").collect()
        assert [row.us for row in found] == list(range(0, 1_000_000_000, 1_000_000))
        assert [row.value for row in found] == (np.arange(1000) / 7).tolist()
        assert {(row.run, row.leaf) for row in found} == {("a run", 1)}
    finally:
        spark.stop()
