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
class Story:
    """An ION to play.

    Args:
        ion: its name.
        node: the inference node that the input streams into.
        assets: the assets one training run materializes; the last is the model.
        trainings: played in order.
        feed: the command that keeps input coming until it is stopped.
    """

    ion: str
    node: str
    assets: Sequence[str]
    trainings: Sequence[Training]
    feed: Sequence[str]
