"""Spark data frames and streaming queries become facts, in a real session."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.ml.linalg import Vectors
from pyspark.sql import Row
from pyspark.sql import functions as sql

from ion.agent import Client
from ion.errors import IonError
from ion.facts import AlertRaised, DatasetRecorded, EventRecorded
from ion.home import Home
from ion.store import open_store
from resources.spark import frame_digest, open_session, record_frame
from resources.spark.streaming import listening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

    from ion.agent import NodeRun
    from ion.store import GovernanceStore

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def session() -> SparkSession:
    return open_session({})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GovernanceStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture
def run(tmp_path: Path, store: GovernanceStore) -> Iterator[NodeRun]:
    client = Client(Home(tmp_path), "test", store)
    yield client.node_run("wines/growers", kind="training")
    client.close()


def row(number: int, **changes: Any) -> Row:  # noqa: ANN401 - of every type
    values: dict[str, Any] = {
        "number": number,
        "double": number / 7,
        "text": f"wine {number}",
        "day": date(2026, 1, 1 + number % 28),
        "at": datetime(2026, 1, 1, 12, 0, 0, 123456 + number, tzinfo=UTC),
        "price": Decimal(number) / 4,
        "tags": ["a", None, str(number)],
        "parts": {"x": 0.1 * number, "y": None},
        "deep": Row(z=number * 1.5, a=[1.0, 2.0]),
        "bytes": bytes([number % 256]),
    }
    return Row(**{**values, **changes})


SCHEMA = (
    "number long, double double, text string, day date, at timestamp, price decimal(12,4), tags array<string>, "
    "parts map<string,double>, deep struct<z:double,a:array<double>>, bytes binary"
)


def frame(session: SparkSession, rows: list[Row], schema: str = SCHEMA) -> DataFrame:
    return session.createDataFrame(rows, schema)


def test_neither_layout_nor_order_changes_a_digest(session: SparkSession) -> None:
    rows = [row(number) for number in range(200)]
    plain = frame(session, rows)
    digest, count = frame_digest(plain)
    assert count == 200
    for same in (
        plain.repartition(7),
        frame(session, rows[::-1]),
        plain.orderBy(sql.rand(3)),
        plain.select(*sorted(plain.columns, reverse=True)),
        frame(session, rows[:50]).union(frame(session, rows[50:])),
    ):
        assert frame_digest(same) == (digest, 200)
    session.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    try:
        assert frame_digest(plain) == (digest, 200)
    finally:
        session.conf.set("spark.sql.session.timeZone", "UTC")


CHANGES = {
    "a bit of a double": {"double": 1 / 7 + 2**-55},
    "nan": {"double": float("nan")},
    "nothing": {"double": None},
    "nothing as text": {"text": "null"},
    "a microsecond": {"at": datetime(2026, 1, 1, 12, 0, 0, 123458, tzinfo=UTC)},
    "a list": {"tags": ["a", "", "1"]},
    "the order of a list": {"tags": [None, "a", "1"]},
    "a map": {"parts": {"x": 0.1, "y": 0.0}},
    "inside": {"deep": Row(z=1.5, a=[2.0, 1.0])},
    "bytes": {"bytes": b""},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_is_in_a_row_changes_the_digest(session: SparkSession, change: dict[str, Any]) -> None:
    told, changed = frame(session, [row(0), row(1)]), frame(session, [row(0), row(1, **change)])
    assert frame_digest(told)[0] != frame_digest(changed)[0]


def test_zero_has_a_sign(session: SparkSession) -> None:
    zeros = [frame(session, [row(1, double=zero)]) for zero in (0.0, -0.0)]
    assert frame_digest(zeros[0])[0] != frame_digest(zeros[1])[0]


def test_how_often_a_row_occurs_counts_and_so_does_the_schema(session: SparkSession) -> None:
    one, twice = frame(session, [row(1)]), frame(session, [row(1), row(1)])
    digests = {
        frame_digest(each)[0]
        for each in (
            one,
            twice,
            frame(session, []),
            one.withColumnRenamed("text", "words"),
            one.withColumn("number", sql.col("number").cast("int")),
            one.drop("text"),
            one.withColumn("a.b`c", sql.lit(1)),
        )
    }
    assert len(digests) == 7


def test_what_has_no_canonical_form_is_refused(session: SparkSession) -> None:
    vectors = session.createDataFrame([(Vectors.dense([1.0]),)], ["features"])
    for wrong in (vectors, frame(session, [row(1)]).select("text", "text")):
        with pytest.raises(IonError) as caught:
            frame_digest(wrong)
        assert caught.value.code == "frame-not-digestible"


def test_a_frame_is_recorded_as_a_dataset_version(session: SparkSession, run: NodeRun, store: GovernanceStore) -> None:
    made = frame(session, [row(number) for number in range(5)])
    version = record_frame(run, "wines/analyses", made, role="input", classification="internal", uri="table:analyses")
    run.end()
    (told,) = [r.fact for r in store.find(DatasetRecorded, version.digest)]
    assert (told.rows, told.uri, told.role, told.schema[0]) == (
        5,
        "table:analyses",
        "input",
        {"name": "number", "type": "bigint"},
    )
    assert run.inputs == {"wines/analyses": version.digest}


def test_a_streaming_query_tells_its_batches(
    session: SparkSession, run: NodeRun, store: GovernanceStore, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(3):
        (source / f"{number}.json").write_text('{"n": 1}\n' * (number + 4))
    with listening(session, run):
        stream = session.readStream.schema("n int").option("maxFilesPerTrigger", 1).json(str(source))
        query = (
            stream.groupBy("n").count().writeStream.format("noop").outputMode("complete").queryName("counts")
        ).trigger(availableNow=True)
        query.option("checkpointLocation", str(tmp_path / "checkpoint")).start().awaitTermination(120)
    run.end()
    rows = store.points(run.id, "counts/rows")
    assert sorted(value for value in rows.values if value) == [4.0, 5.0, 6.0]
    now = datetime.now(UTC).timestamp() * 1e6
    assert all(now - 600e6 < us < now for us in rows.times)
    series = {each.name for each in store.statistics.series(run.id)}
    assert {"counts/batch_ms", "counts/processed_rows_per_second", "counts/state_rows"} <= series
    assert [r.fact.name for r in store.find(EventRecorded, run.id)] == [
        "streaming query started",
        "streaming query ended",
    ]


def test_a_query_that_fails_raises_an_alert_without_its_text(
    session: SparkSession, run: NodeRun, store: GovernanceStore, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "0.json").write_text('{"n": 1}\n')
    stream = session.readStream.schema("n int").json(str(source))
    failing = stream.select(sql.raise_error(sql.lit("row of Mrs Miller")).alias("x"))
    with listening(session, run):
        query = failing.writeStream.format("noop").queryName("bad").trigger(availableNow=True)
        with pytest.raises(StreamingQueryException):
            query.option("checkpointLocation", str(tmp_path / "checkpoint")).start().awaitTermination(120)
    run.end()
    (alert,) = [r.fact for r in store.find(AlertRaised, run.id)]
    assert alert.alert == "streaming-query-failed"
    assert alert.message.startswith("the query bad ended with ")
    assert b"Miller" not in b"".join(raw for _, raw, _ in store.entries())
