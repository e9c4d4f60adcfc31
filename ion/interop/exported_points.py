"""Statistics as Parquet files, for Spark, DuckDB and cold storage; every leaf in them verifies against its fact.

See docs/spec/points.md#exported.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ion.errors import IonError
from ion.facts import StatisticsRecorded
from ion.points import Points, leaf_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.store import GovernanceStore
    from ion.store.statistics import Told

FORMAT = "ion-points-export/1"
MANIFEST = "_manifest.json"
"""Readers of Parquet folders pass over names that begin so."""
_GROUP = 1_000_000
_MOST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds, or what a check of one read; ``problems`` in sentences."""

    files: int
    leaves: int
    points: int
    problems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self) | {"problems": list(self.problems)}


def export_points(store: GovernanceStore, url: str) -> Exported:
    """Write all stored points to ``url`` (a folder, or what fsspec knows), a Parquet file for each run.

    The manifest is written last: an export without one was interrupted.

    Raises:
        IonError: ``extra-missing``, ``file-exists`` where there is an export, ``cannot-write``; ``points-differ``.
    """
    system, root = _place(url)
    with _reaching(url):
        if system.exists(f"{root}/{MANIFEST}"):
            raise IonError("file-exists", f"there is an export in {url} already", "name another folder")
        system.makedirs(root, exist_ok=True)
        origin, head = store.ledger.origin(), store.head().position
        files = []
        for run, columns in groupby(store.statistics.told(), key=lambda told: told.run):
            name = f"points-{hashlib.sha256(run.encode()).hexdigest()[:24]}.parquet"
            leaves, points = _write_run(system, f"{root}/{name}", columns)
            files.append({"name": name, "run": run, "leaves": sorted(leaves), "points": points})
        manifest = {"format": FORMAT, "origin": origin, "position": head, "files": files}
        with system.open(f"{root}/{MANIFEST}", "wb") as file:
            file.write(json.dumps(manifest, ensure_ascii=False).encode())
    return Exported(len(files), sum(len(each["leaves"]) for each in files), sum(each["points"] for each in files))


def check_points(store: GovernanceStore, url: str) -> Exported:
    """Read an export again and compare every leaf in it with the fact that told it.

    Raises:
        IonError: ``extra-missing``, ``bad-export`` when there is none to read.
    """
    system, root = _place(url)
    try:
        with system.open(f"{root}/{MANIFEST}", "rb") as file:
            manifest = json.loads(file.read(_MOST))
        files = [(str(each["name"]), set(map(int, each["leaves"]))) for each in manifest["files"]]
        if manifest["format"] != FORMAT or any("/" in name for name, _ in files):
            raise _bad(url, "its manifest is of another form")
        if manifest["origin"] != store.ledger.origin():
            raise _bad(url, f"it was made of another ledger, {manifest['origin']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _bad(url, f"{error!r}") from error
    problems: list[str] = []
    leaves = points = 0
    for name, told in files:
        try:
            found, count = _read_file(system, f"{root}/{name}")
        except (OSError, ValueError, KeyError) as error:  # pyarrow's are ValueErrors
            problems.append(f"{name} cannot be read: {error}"[:300])
            continue
        leaves, points = leaves + len(found), points + count
        if lost := told - set(found):
            problems.append(f"{name} lacks {len(lost)} leaves of its manifest, e.g. that of the fact at {min(lost)}")
        problems += [
            f"{name}: the points of the fact at {position} are not those told"
            for position, columns in found.items()
            if not _agrees(store, position, columns)
        ]
    return Exported(len(files), leaves, points, tuple(problems))


def _write_run(system: Any, path: str, columns: Iterator[Told]) -> tuple[set[int], int]:  # noqa: ANN401 - fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [
            ("run", text),
            ("series", text),
            ("epoch", text),
            ("leaf", pa.int64()),
            ("time", pa.timestamp("us", tz="UTC")),
            ("value", pa.float64()),
        ]
    )
    leaves: set[int] = set()
    count = waiting = 0
    tables: list[Any] = []
    with system.open(path, "wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for told in columns:
            size = len(told.points)
            cells = [told.run, told.series, told.epoch, told.position]
            arrays = [pa.array(np.full(size, cell)).cast(kind) for cell, kind in zip(cells, schema.types, strict=False)]
            arrays += [pa.array(told.points.times).cast(schema.types[4]), pa.array(told.points.values)]
            tables.append(pa.Table.from_arrays(arrays, schema=schema))
            leaves.add(told.position)
            count, waiting = count + size, waiting + size
            if waiting >= _GROUP:
                writer.write_table(pa.concat_tables(tables))
                tables, waiting = [], 0
        if tables:
            writer.write_table(pa.concat_tables(tables))
    return leaves, count


def _read_file(system: Any, path: str) -> tuple[dict[int, dict[str, bytes]], int]:  # noqa: ANN401 - fsspec
    """Return the column digests by leaf and series, and the number of points."""
    import pyarrow.parquet as pq

    parts: defaultdict[tuple[int, str], list[Points]] = defaultdict(list)
    count = 0
    with system.open(path, "rb") as file:
        parquet = pq.ParquetFile(file)
        for number in range(parquet.num_row_groups):
            table = parquet.read_row_group(number, columns=["series", "leaf", "time", "value"])
            leaf = table["leaf"].to_numpy()
            series = np.array(table["series"].to_pylist(), dtype=object)
            times, values = table["time"].cast("int64").to_numpy(), table["value"].to_numpy()
            count += len(leaf)
            starts = np.flatnonzero((leaf[1:] != leaf[:-1]) | (series[1:] != series[:-1])) + 1
            bounds = [0, *starts.tolist(), len(leaf)] if len(leaf) else []
            for start, end in pairwise(bounds):
                parts[int(leaf[start]), str(series[start])].append(Points(times[start:end], values[start:end]))
    found: defaultdict[int, dict[str, bytes]] = defaultdict(dict)
    for (position, name), points in parts.items():
        found[position][name] = Points.joined(points).digest()
    return dict(found), count


def _agrees(store: GovernanceStore, position: int, columns: dict[str, bytes]) -> bool:
    try:
        fact = store.record_at(position).fact
    except IonError:
        return False
    if not isinstance(fact, StatisticsRecorded):
        return False
    names = [str(row["name"]) for row in fact.series]
    return set(names) == set(columns) and leaf_digest(columns[name] for name in names) == fact.digest


def _place(url: str) -> tuple[Any, str]:
    try:
        import pyarrow.parquet  # noqa: F401 - is it there
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise IonError(
            "extra-missing", "Parquet needs pyarrow and fsspec", "pip install 'dagster-ion[dagster]'"
        ) from error
    with _reaching(url):
        system, root = url_to_fs(url)
        return system, str(root).rstrip("/")


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ImportError, ValueError) as error:
        raise IonError("cannot-write", f"cannot write to {url}: {error}"[:300], "check the address") from error


def _bad(url: str, why: str) -> IonError:
    return IonError("bad-export", f"there is no whole export in {url}: {why}"[:300], "export again")
