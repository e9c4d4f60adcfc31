"""What a fitted model tells by itself, whatever made it: components, trials, metrics, with nothing declared by hand."""

from __future__ import annotations

import math
import re
from dataclasses import field
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion import NodeRun

MOST_MEMBERS = 200
"""Of a list among the parameters so many are told."""
_LARGEST = 2**53 - 1


@dataclass(frozen=True, slots=True)
class ComponentDescription:
    """One fitted stage, as it describes itself.

    Args:
        name: snake-case class name, numbered when a pipeline has several of a class; or the name it has there.
        kind: engine and class, e.g. ``spark.LogisticRegressionModel``.
        uid: the engine's own identity of the stage, where it has one.
        params: every parameter, set or default, as JSON values.
        metrics: what its training summary says of the training data.
        iterations: how often its optimizer went round; None when it does not iterate.
        features: the names of the columns it reads or makes, in vector order.
        classes: what a classifier tells apart.
    """

    name: str
    kind: str
    uid: str
    params: Mapping[str, object]
    metrics: Mapping[str, float] = field(default_factory=dict)
    iterations: int | None = None
    features: Sequence[str] = ()
    classes: Sequence[object] = ()

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form kept with the component's fact."""
        classes = {"classes": list(self.classes)} if self.classes else {}
        return {
            "uid": self.uid,
            "params": dict(self.params),
            "metrics": dict(self.metrics),
            "iterations": self.iterations,
            "features": list(self.features),
            **classes,
        }


@dataclass(frozen=True, slots=True)
class TrialDescription:
    """One setting of a hyper-parameter search: its parameters, what it scored, whether it won."""

    params: Mapping[str, object]
    metrics: Mapping[str, float]
    selected: bool


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a fitted pipeline or search tells by itself."""

    components: tuple[ComponentDescription, ...]
    trials: tuple[TrialDescription, ...] = ()

    @property
    def selected(self) -> TrialDescription:
        """The setting that won.

        Raises:
            IonError: ``no-search`` when nothing was searched.
        """
        for trial in self.trials:
            if trial.selected:
                return trial
        raise IonError("no-search", "this model was fitted without a hyper-parameter search")

    def record(self, run: NodeRun) -> None:
        """Tell all of it as facts of a node run."""
        for component in self.components:
            run.component(component.name, component.kind, component.as_dict())
        for trial in self.trials:
            run.trial(trial.params, trial.metrics, selected=trial.selected)


def snake_case(name: str) -> str:
    """Return a class name as the name of a component."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def json_value(value: object) -> object:
    """Return a parameter as a JSON value; an array as lists, and of what has no JSON form the kind."""
    if hasattr(value, "tolist") and not isinstance(value, type):
        value = value.tolist()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, dict):
        return {str(key): json_value(member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        members = [json_value(member) for member in value]
        return (
            members
            if len(members) <= MOST_MEMBERS
            else [*members[:MOST_MEMBERS], f"and {len(members) - MOST_MEMBERS} more"]
        )
    return getattr(value, "__name__", type(value).__name__)
