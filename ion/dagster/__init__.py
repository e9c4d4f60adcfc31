"""ion in Dagster: decorators that return ordinary assets, and what sensors are made of."""

from ion.dagster.decorators import dataset, inference, streaming, training
from ion.dagster.definitions import governed

__all__ = ["dataset", "governed", "inference", "streaming", "training"]
