"""Canonical scorers: the same model bytes give the same bits, row by row or in batch, on any engine.

``ion-linear/1`` is a standardised linear model with a logistic output in one file, ``model.json``. The
order of floating-point operations is part of the format (docs/spec/pointer.md): column by column,
``z = intercept; z = z + ((x[i] - mean[i]) * (1 / scale[i])) * coefficient[i]``, then the logistic function with
`math.exp`. A vectorised dot product or `numpy.exp` would differ in the last bit.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Protocol

from ion.canonical import canonical_bytes
from ion.errors import IonError
from ion.evidence.files import MIB
from ion.evidence.manifest import Manifest
from ion.evidence.parsing import Fields
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ion.evidence.hashed_reading import Content

LINEAR_FORMAT = "ion-linear/1"
MODEL_FILE = "model.json"
MAX_MODEL_FILE = 16 * MIB
_BAD = "bad-model"
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".cloudpickle")
_CLASSES = 2


class Scorer(Protocol):
    """A model that scores rows of features."""

    @property
    def format(self) -> str:
        """The model format, e.g. ``ion-linear/1``."""

    @property
    def digest(self) -> str:
        """The model version: digest of the manifest of the files it was made from."""

    @property
    def features(self) -> tuple[str, ...]:
        """Feature names, in the order rows have them."""

    @property
    def classes(self) -> tuple[str | int, str | int]:
        """The negative and the positive class."""

    def score_row(self, row: Sequence[float]) -> float:
        """Return the probability of the positive class for one row of k floats."""

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities (n) of rows (n by k); bit for bit those of `score_row`."""

    def label(self, score: float) -> str | int:
        """Return the class a score stands for."""


@dataclass(frozen=True, slots=True)
class LinearScorer:
    """The scorer of ``ion-linear/1``; made by `create` or `from_bytes`."""

    digest: str
    features: tuple[str, ...]
    classes: tuple[str | int, str | int]
    threshold: float
    intercept: float
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    _terms: tuple[tuple[float, float, float], ...]

    @classmethod
    def create(
        cls,
        *,
        features: Sequence[str],
        mean: Sequence[float],
        scale: Sequence[float],
        coefficients: Sequence[float],
        intercept: float,
        threshold: float = 0.5,
        classes: Sequence[str | int] = (0, 1),
    ) -> LinearScorer:
        """Return the scorer of these numbers; `to_bytes` is then the model file to store.

        Args:
            features: k distinct names.
            mean: k floats, subtracted from the row.
            scale: k positive floats, the row is divided by (give 1.0 for a constant feature).
            coefficients: k floats.
            intercept: added to the weighted sum.
            threshold: from this score on, the positive class.
            classes: the negative, then the positive class.

        Raises:
            IonError: ``bad-model``.
        """
        return cls.from_bytes(
            canonical_bytes(
                {
                    "format": LINEAR_FORMAT,
                    "features": list(features),
                    "mean": [float(value) for value in mean],
                    "scale": [float(value) for value in scale],
                    "coefficients": [float(value) for value in coefficients],
                    "intercept": float(intercept),
                    "threshold": float(threshold),
                    "classes": list(classes),
                }
            )
        )

    @classmethod
    def from_bytes(cls, data: Content) -> LinearScorer:
        """Return the scorer of a ``model.json``.

        Raises:
            IonError: ``bad-model`` for anything but exactly the fields of ``ion-linear/1``, finite numbers,
                positive scales, lists of one length, two classes, a threshold from 0 to 1.
        """
        fields = Fields.of(_json(data), MODEL_FILE, _BAD)
        fields.literal("format", LINEAR_FORMAT)
        features = fields.texts("features")
        mean, scale, coefficients = (_floats(fields, name) for name in ("mean", "scale", "coefficients"))
        intercept, threshold = (_float(fields, fields.take(name), name) for name in ("intercept", "threshold"))
        classes = _classes(fields)
        fields.done()
        if not features or len(set(features)) != len(features) or not all(features):
            raise fields.fail("feature names are not distinct and non-empty")
        if not len(features) == len(mean) == len(scale) == len(coefficients):
            raise fields.fail("features, mean, scale and coefficients differ in length")
        if not 0.0 <= threshold <= 1.0:
            raise fields.fail("the threshold is not from 0 to 1")
        if not all(value > 0.0 and math.isfinite(1.0 / value) for value in scale):
            raise fields.fail("a scale is not a positive number with a finite inverse")
        return cls(
            digest=Manifest.from_files({MODEL_FILE: bytes(data)}).digest,
            features=features,
            classes=classes,
            threshold=threshold,
            intercept=intercept,
            mean=mean,
            scale=scale,
            coefficients=coefficients,
            _terms=tuple((m, 1.0 / s, c) for m, s, c in zip(mean, scale, coefficients, strict=True)),
        )

    @property
    def format(self) -> str:
        """``ion-linear/1``."""
        return LINEAR_FORMAT

    def to_bytes(self) -> bytes:
        """Return the model as a ``model.json`` in RFC 8785 form (floats keep every bit)."""
        return canonical_bytes(
            {
                "format": LINEAR_FORMAT,
                "features": list(self.features),
                "mean": list(self.mean),
                "scale": list(self.scale),
                "coefficients": list(self.coefficients),
                "intercept": self.intercept,
                "threshold": self.threshold,
                "classes": list(self.classes),
            }
        )

    def score_row(self, row: Sequence[float]) -> float:
        """Return the probability of the positive class for one row of k floats.

        Rows are expected to be finite; one that is not, or that overflows, may score NaN, which has no label.

        Raises:
            IonError: ``bad-row`` for another number of values than features.
        """
        if len(row) != len(self._terms):
            raise IonError("bad-row", f"a row of {len(row)} values, the model has {len(self._terms)} features")
        z = self.intercept
        for x, (mean, inverse, coefficient) in zip(row, self._terms, strict=True):
            z = z + ((x - mean) * inverse) * coefficient
        return _logistic(z)

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities (n) of rows (n by k); bit for bit those of `score_row`.

        Raises:
            IonError: ``bad-row`` for another shape.
        """
        import numpy as np  # row-wise scoring does not need it

        matrix = np.asarray(rows, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != len(self._terms):  # noqa: PLR2004 - rows and columns
            raise IonError("bad-row", f"rows of shape {matrix.shape}, the model has {len(self._terms)} features")
        z = np.full(matrix.shape[0], self.intercept)
        with np.errstate(all="ignore"):
            for column, (mean, inverse, coefficient) in enumerate(self._terms):
                z = z + ((matrix[:, column] - mean) * inverse) * coefficient
        return np.array([_logistic(value) for value in z.tolist()], dtype=np.float64)

    def label(self, score: float) -> str | int:
        """Return the positive class from the threshold on.

        Raises:
            IonError: ``bad-score`` for NaN: no class follows from it.
        """
        if math.isnan(score):
            raise IonError("bad-score", "the score is not a number", "quarantine the row: its values overflow")
        return self.classes[1] if score >= self.threshold else self.classes[0]


def model_format(files: Mapping[str, Content]) -> str:
    """Return what format a model's files are in, judged by the bytes; ``pickle`` and ``unknown`` have no loader."""
    if any(path.lower().endswith(_PICKLES) or data[:1] == b"\x80" for path, data in files.items()):
        return "pickle"
    if set(files) != {MODEL_FILE}:
        return "unknown"
    declared = _json(files[MODEL_FILE]).get("format")
    return declared if isinstance(declared, str) and declared.isprintable() and declared else "unknown"


def load_scorer(format: str, files: Mapping[str, Content]) -> Scorer:  # noqa: A002 - the field's name
    """Return the scorer of a model.

    Raises:
        IonError: ``model-format`` where there is no canonical scorer, ``bad-model``.
    """
    if format != LINEAR_FORMAT or set(files) != {MODEL_FILE}:
        hint = f"export the model as {LINEAR_FORMAT}"
        raise IonError("model-format", f"no scorer for model format {format}"[:200], hint)
    return LinearScorer.from_bytes(files[MODEL_FILE])


def _logistic(z: float) -> float:
    if z >= 0.0:
        return 1.0 / (1.0 + math.exp(-z))
    if z < 0.0:
        e = math.exp(z)  # the argument is never positive: no overflow
        return e / (1.0 + e)
    return math.nan  # one NaN, whatever the bits of z


def _json(data: Content) -> dict[str, object]:
    if len(data) > MAX_MODEL_FILE:
        raise IonError(_BAD, f"{MODEL_FILE} is larger than {MAX_MODEL_FILE} bytes")
    try:
        value = json.loads(bytes(data).decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise IonError(_BAD, f"{MODEL_FILE} is not JSON with distinct keys and finite numbers") from error
    return Fields.of(value, MODEL_FILE, _BAD).whole()


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _no_constant(text: str) -> float:
    raise ValueError(text)


def _floats(fields: Fields, name: str) -> tuple[float, ...]:
    return tuple(_float(fields, value, name) for value in fields.items(name))


def _float(fields: Fields, value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fields.fail(f"{name} holds something that is no number")
    try:
        number = float(value)
    except OverflowError as error:
        raise fields.fail(f"{name} holds a number out of range") from error
    if not math.isfinite(number):
        raise fields.fail(f"{name} holds a number out of range")
    return number


def _classes(fields: Fields) -> tuple[str | int, str | int]:
    values = fields.items("classes")
    classes = [value for value in values if isinstance(value, str | int) and not isinstance(value, bool)]
    if len(classes) != len(values) or len(set(classes)) != _CLASSES or len(classes) != _CLASSES:
        raise fields.fail("classes are not two distinct strings or integers")
    return classes[0], classes[1]
