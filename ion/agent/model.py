"""What a training function hands over."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.agent.dataset import DatasetVersion
    from ion.agent.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Model:
    """What a training function returns: the bytes, and what they are about.

    Args:
        files: path in the bundle → bytes.
        format: how to score it, e.g. ``ion-linear/1``.
        metrics: held-out metrics as the training code measured them; governance measures again.
        heldout: the dataset version those metrics were measured on.
        label: the column of ``heldout`` that holds the truth (0 or 1).
        features: input columns, in the scorer's order.
        datasets: other dataset versions used, by role (``training`` is added by the decorator).
        signature: feature name → training histogram; serving counts into the same bins.
        links: where other systems show this model.
        shown: what the model's page in Dagster shows beside the metrics (plots, tables); not a fact.
    """

    files: Mapping[str, bytes]
    format: str
    metrics: Mapping[str, float]
    heldout: DatasetVersion
    label: str
    features: Sequence[str]
    input_schema: Sequence[Mapping[str, str]] = ()
    output_schema: Sequence[Mapping[str, str]] = ()
    datasets: Mapping[str, DatasetVersion] = field(default_factory=dict)
    signature: Mapping[str, Histogram] = field(default_factory=dict)
    links: Mapping[str, object] = field(default_factory=dict)
    shown: Mapping[str, object] = field(default_factory=dict)
