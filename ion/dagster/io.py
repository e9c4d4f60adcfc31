"""Frames between assets as Parquet files under one root; nothing is pickled."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pandas as pd

from ion.errors import IonError
from ion.home import Home


class ParquetIOManager(dg.ConfigurableIOManager):
    """Writes ``<root>/<asset key>[/<partition>].parquet``, atomically.

    Args:
        root: the folder; by default ``data`` under the ion home, or under the folder of its hand.
    """

    root: str = ""

    def _path(self, context: dg.InputContext | dg.OutputContext) -> Path:
        *folders, name = [*context.asset_key.path, *_partition(context)]
        root = Path(self.root) if self.root else Home.find().own / "data"
        return root.joinpath(*folders, f"{name}.parquet")

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Write a data frame; an asset without a value writes nothing."""
        if obj is None:
            return
        if not isinstance(obj, pd.DataFrame):
            raise IonError(
                "not-a-frame",
                f"{context.asset_key.to_user_string()} returned a {type(obj).__name__}",
                "datasets and predictions are pandas data frames; models are ion.Model",
            )
        path = self._path(context)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        obj.to_parquet(temporary, index=False)
        temporary.replace(path)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Read what the upstream asset wrote."""
        path = self._path(context)
        if not path.is_file():
            raise IonError(
                "no-data",
                f"{context.asset_key.to_user_string()} has never been materialized here",
                "materialize the upstream asset first",
            )
        return pd.read_parquet(path)


def _partition(context: dg.InputContext | dg.OutputContext) -> list[str]:
    """Return the partition key as a file name; it may hold dots and slashes."""
    if not context.has_asset_partitions:
        return []
    keys = list(context.asset_partition_keys)
    if len(keys) != 1:
        raise IonError(
            "several-partitions",
            f"{len(keys)} partitions of {context.asset_key.to_user_string()} at once are no dataset version",
            "give the asset that reads them the same partitions, or map it to one",
        )
    return [quote(keys[0], safe="")]
