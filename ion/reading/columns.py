"""An answer as columns, handed over as what the asker works with; each library is imported when it is asked for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

FORMS = ("pandas", "polars", "arrow", "rows")
TEXT, INTEGER, NUMBER, TRUTH, TIME, JSON = "text", "integer", "number", "truth", "time", "json"
_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """Equally long columns with their types, and the gaps that whoever reads them has to know of.

    A time is microseconds UTC here; ``json`` columns hold any JSON value.
    """

    types: Mapping[str, str]
    columns: Mapping[str, Sequence[Any] | NDArray[Any]]
    gaps: Sequence[Mapping[str, object]] = ()

    def as_(self, form: str) -> Any:  # noqa: ANN401 - of a library that is not imported here
        """Return the answer in one of `FORMS`.

        The gaps are ``attrs["gaps"]`` of a pandas frame and the metadata ``ion:gaps`` of an Arrow schema.

        Raises:
            IonError: ``bad-form``, ``extra-missing``.
        """
        if form not in FORMS:
            raise IonError("bad-form", f"an answer has no form {form!r}", "one of " + ", ".join(FORMS))
        if form == "rows":
            return self.rows()
        try:
            if form == "pandas":
                return self._pandas()
            if form == "arrow":
                return self._arrow()
            import polars as pl

            return pl.from_arrow(self._arrow())
        except ImportError as error:
            hint = "pip install 'dagster-ion[frames]', or ask as_=\"rows\""
            raise IonError("extra-missing", f"{error.name} is not installed", hint) from error

    def rows(self) -> list[dict[str, object]]:
        """Return one mapping for each row; times are aware, of UTC."""
        read = [
            [_START + timedelta(microseconds=us) for us in values] if self.types[name] == TIME else values
            for name, values in ((name, _plain(column)) for name, column in self.columns.items())
        ]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*read, strict=True)]

    def _pandas(self) -> pd.DataFrame:
        import pandas as pd

        kinds = {INTEGER: "Int64", NUMBER: "float64", TRUTH: "boolean", TIME: "datetime64[us, UTC]"}
        columns = {
            name: pd.Series(values, dtype="int64").astype("datetime64[us]").dt.tz_localize("UTC")
            if self.types[name] == TIME
            else pd.Series(values, dtype=kinds.get(self.types[name], "object"))
            for name, values in self.columns.items()
        }
        frame = pd.DataFrame(columns)
        frame.attrs["gaps"] = [dict(gap) for gap in self.gaps]
        return frame

    def _arrow(self) -> pa.Table:
        import pyarrow as pa

        kinds = {
            TEXT: pa.string(),
            INTEGER: pa.int64(),
            NUMBER: pa.float64(),
            TRUTH: pa.bool_(),
            TIME: pa.timestamp("us", tz="UTC"),
            JSON: pa.string(),
        }
        arrays = [
            pa.array(_texts(values) if self.types[name] == JSON else values, kinds[self.types[name]])
            for name, values in self.columns.items()
        ]
        metadata = {"ion:gaps": json.dumps([dict(gap) for gap in self.gaps])}
        fields = [pa.field(name, kinds[self.types[name]]) for name in self.columns]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata))


def _plain(values: Sequence[Any] | NDArray[Any]) -> list[Any]:
    """Return Python's own values."""
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _texts(values: Iterable[object]) -> list[str]:
    """Return JSON values as text: a column of Arrow or Polars has one type."""
    return [json.dumps(value, ensure_ascii=False, sort_keys=True) for value in values]
