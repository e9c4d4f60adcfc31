"""From a model's digest to its scorer: manifest, files read once, and a format that is allowed and has a loader."""

from __future__ import annotations

from dataclasses import field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ion.errors import IonError
from ion.serving.scorer import LINEAR_FORMAT, load_scorer, model_format
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.hashed_reading import Content
    from ion.serving.scorer import Scorer

MAX_MODEL_BYTES = 1 << 30
SAFE_FORMATS = frozenset({LINEAR_FORMAT})
"""Formats that hold numbers and no code: they need not be named by a policy set."""

LoadStep = Literal["manifest", "artifact", "format"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model's bytes and what was made from them."""

    files: Mapping[str, Content] = field(repr=False)
    format: str
    scorer: Scorer = field(repr=False)


def load_model(
    artifacts: ArtifactStore,
    model: str,
    formats: Collection[str],
    named: Collection[str],
    at: Callable[[LoadStep], None],
) -> Loaded:
    """Read every file of a model once, hashed as it is read, and load it.

    Args:
        artifacts: where it is.
        model: model version (manifest digest).
        formats: what may be loaded here.
        named: formats that the decision's policy set names.
        at: told each step before it is taken.

    Raises:
        IonError: as `ArtifactStore.get_manifest` and `get_files`; ``model-too-large``, ``model-format``,
            ``bad-model``.
    """
    at("manifest")
    manifest = artifacts.get_manifest(model)
    if sum(entry.size for entry in manifest.entries) > MAX_MODEL_BYTES:
        raise IonError("model-too-large", f"the model is larger than {MAX_MODEL_BYTES} bytes")
    at("artifact")
    files = artifacts.get_files(manifest)
    at("format")
    name = model_format(files)
    check_format(name, formats, named)
    return Loaded(MappingProxyType(files), name, load_scorer(name, files))


def check_format(name: str, formats: Collection[str], named: Collection[str]) -> None:
    """Refuse a format that is not allowed here, or that could be code and that no policy set named.

    Raises:
        IonError: ``model-format``.
    """
    if name not in formats:
        raise IonError("model-format", f"model format {name} is not allowed here"[:200])
    if name not in SAFE_FORMATS and name not in named:
        raise IonError("model-format", f"the policy set does not name the model format {name}"[:200])
