"""Spark data frames as dataset versions: a digest of the rows that no partitioning and no order changes.

The rows are a bag: their order does not count, how often each occurs does. Everything is computed where the data
is; at most 4,096 short rows come to the driver. It is another digest than that of a pandas frame, whose order counts.

Each row is written as JSON with its columns in the order of their names (doubles in hexadecimal, times in
microseconds UTC, so that no Java writes them otherwise), and hashed. Row hashes are sorted within 4,096 buckets,
by their first three digits; the digest is that of the schema, the count and the buckets' hashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.agent.dataset import DatasetVersion, checked_classification
from ion.canonical import digest_json
from ion.errors import IonError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from ion import NodeRun

FORM = "ion-spark-frame/1"
_PLAIN = {"string", "byte", "short", "integer", "long", "boolean", "date", "decimal", "binary", "timestamp_ntz"}
_JSON = {"ignoreNullFields": "false", "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"}


def frame_schema(frame: DataFrame) -> tuple[dict[str, str], ...]:
    """Return ``({name, type}, …)`` in column order; types as Spark names them."""
    return tuple({"name": item.name, "type": item.dataType.simpleString()} for item in frame.schema.fields)


def frame_digest(frame: DataFrame) -> tuple[str, int]:
    """Return the content digest and how many rows there are; reads the frame once.

    Raises:
        IonError: ``frame-not-digestible`` for types without a canonical form (vectors, variants, intervals), or two
            columns of one name.
    """
    from pyspark.sql import functions as sql

    names = sorted(frame.columns)
    if len(set(names)) != len(names):
        raise IonError("frame-not-digestible", "two columns of the frame have one name", "rename one of them")
    types = {item.name: item.dataType for item in frame.schema.fields}
    row = sql.struct(*(_canonical(sql.col(_quoted(name)), types[name], name).alias(name) for name in names))
    hashes = frame.select(sql.sha2(sql.to_json(row, _JSON) if names else sql.lit("{}"), 256).alias("row"))
    together = sql.array_join(sql.sort_array(sql.collect_list("row")), "")
    buckets = hashes.groupBy(sql.substring("row", 1, 3).alias("bucket")).agg(
        sql.sha2(together, 256).alias("digest"), sql.count("row").alias("rows")
    )
    found = sorted((each["bucket"], each["digest"], each["rows"]) for each in buckets.collect())
    rows = sum(count for *_, count in found)
    schema = sorted(frame_schema(frame), key=lambda column: column["name"])
    content = {"form": FORM, "schema": schema, "rows": rows, "buckets": [[name, digest] for name, digest, _ in found]}
    return digest_json(content), rows


def record_frame(
    run: NodeRun,
    name: str,
    frame: DataFrame,
    *,
    role: str,
    classification: str,
    uri: str = "",
    component: str = "",
) -> DatasetVersion:
    """Record the version of a Spark data frame that ``run`` read or wrote; its rows stay where they are.

    ``uri`` says where that is (a table, a bucket); no path of a host. The frame is computed once for this: cache one
    that is expensive.

    Raises:
        IonError: ``frame-not-digestible``, ``bad-classification``.
    """
    checked_classification(classification)
    digest, rows = frame_digest(frame)
    version = DatasetVersion(name, digest, uri, rows, frame_schema(frame), classification)
    run.use_dataset(version, role=role, component=component)
    return version


def _canonical(column: Column, kind: DataType, name: str) -> Column:
    """Return a column in a form that is written the same everywhere; null stays null."""
    from pyspark.sql import functions as sql
    from pyspark.sql.types import ArrayType, MapType, StructType

    if kind.typeName() in {"double", "float"}:
        return sql.when(column.isNotNull(), sql.format_string("%a", column.cast("double")))
    if kind.typeName() == "timestamp":
        return sql.unix_micros(column)
    if isinstance(kind, ArrayType):
        return sql.transform(column, lambda member: _canonical(member, kind.elementType, name))
    if isinstance(kind, MapType):
        return sql.array_sort(
            sql.transform(
                sql.map_entries(column),
                lambda entry: sql.struct(
                    _canonical(entry["key"], kind.keyType, name).alias("key"),
                    _canonical(entry["value"], kind.valueType, name).alias("value"),
                ),
            )
        )
    if isinstance(kind, StructType):
        fields = [
            _canonical(column.getField(item.name), item.dataType, f"{name}.{item.name}").alias(item.name)
            for item in sorted(kind.fields, key=lambda item: item.name)
        ]
        return sql.when(column.isNotNull(), sql.struct(*fields))
    if kind.typeName().partition("(")[0] not in _PLAIN:
        raise IonError(
            "frame-not-digestible",
            f"the column {name} is of type {kind.simpleString()}, which has no canonical form",
            "leave it out, or make it of numbers, texts, arrays and structs (pyspark.ml.functions.vector_to_array)",
        )
    return column


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
