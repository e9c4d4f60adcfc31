"""What a demonstration plays: an ION, its trainings with the verdicts they deserve, and its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Training:
    """One training run: how the model asset is configured, and what the policy should say.

    ``again`` is the verdict where a model of an earlier performance is serving already.
    """

    title: str
    config: Mapping[str, object]
    verdict: str
    again: str


@dataclass(frozen=True, slots=True)
class Review:
    """A training whose model waits for people.

    Args:
        ion: the ION.
        node: the asset that predicts with the model, in batch.
        assets: the assets one training run materializes; the last is the model.
        title: what is trained, for people.
        people: (id, name) of those who sign, in this order.
    """

    ion: str
    node: str
    assets: Sequence[str]
    title: str
    people: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Story:
    """An ION to play.

    Args:
        ion: its name.
        node: the inference node that the input streams into.
        assets: the assets one training run materializes; the last is the model.
        trainings: played in order.
        feed: the command that keeps input coming until it is stopped.
        registered_as: the model's name in MLflow, whose alias somebody moves.
        review: the act of the people.
    """

    ion: str
    node: str
    assets: Sequence[str]
    trainings: Sequence[Training]
    feed: Sequence[str]
    registered_as: str
    review: Review
