"""Dataset versions: a digest of the rows that does not depend on how they are stored."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_BATCH_ROWS = 65_536
CLASSIFICATIONS = ("public", "internal", "private", "pii")


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A dataset at one moment: content digest, where its bytes are, rows, schema, classification."""

    name: str
    digest: str
    uri: str
    rows: int
    schema: tuple[dict[str, str], ...]
    classification: str


def dataset_digest(frame: pd.DataFrame | pa.Table) -> str:
    """Return the content digest of a table: same rows, same digest, whatever the file layout.

    Columns sorted by name, metadata stripped, re-cut into batches of 65,536 rows, written as an
    uncompressed Arrow IPC stream, SHA-256 of that. Row order counts.
    """
    import pyarrow as pa

    table = dataset_table(frame)
    table = table.select(sorted(table.column_names)).replace_schema_metadata(None)
    table = table.combine_chunks()
    sink = _HashSink()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), table.schema) as writer:
        writer.write_table(table, max_chunksize=_BATCH_ROWS)
    return "sha256:" + sink.hash.hexdigest()


def dataset_parquet(frame: pd.DataFrame | pa.Table) -> bytes:
    """Return the table as one Parquet file."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(dataset_table(frame), buffer, compression="zstd")
    return buffer.getvalue()


def read_parquet(data: bytes, digest: str) -> pd.DataFrame:
    """Return the frame in Parquet ``data`` after checking that its content has ``digest``.

    Raises:
        IonError: ``dataset-differs``.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    if dataset_digest(table) != digest:
        raise IonError("dataset-differs", f"the stored rows do not have the digest {digest}")
    return table.to_pandas()


def dataset_schema(frame: pd.DataFrame | pa.Table) -> tuple[dict[str, str], ...]:
    """Return ``({name, type}, …)`` in column order."""
    return tuple({"name": item.name, "type": str(item.type)} for item in dataset_table(frame).schema)


def checked_classification(text: str) -> str:
    """Return ``text`` if it is a classification this project knows.

    Raises:
        IonError: ``bad-classification``.
    """
    if text not in CLASSIFICATIONS:
        raise IonError("bad-classification", f"unknown classification {text!r}", "one of " + ", ".join(CLASSIFICATIONS))
    return text


def dataset_table(frame: pd.DataFrame | pa.Table) -> pa.Table:
    """Return the Arrow table of a frame; give it to the functions above to convert only once."""
    import pyarrow as pa

    return frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)


class _HashSink:
    """A writable file that only hashes."""

    closed = False

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Nothing is open."""
