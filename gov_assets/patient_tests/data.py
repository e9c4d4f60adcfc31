"""The patients: 569 real rows of the Wisconsin breast cancer data that scikit-learn bundles.

Source: W. N. Street, W. H. Wolberg, O. L. Mangasarian, "Nuclear feature extraction for breast
tumor diagnosis", 1993. Ten measures of the cell nuclei in one image, each as mean, standard error
and worst value: thirty numbers per patient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_bytes

if TYPE_CHECKING:
    import pandas as pd

MEASURES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)
FEATURES = (
    *(f"mean_{measure}" for measure in MEASURES),
    *(f"{measure}_error" for measure in MEASURES),
    *(f"worst_{measure}" for measure in MEASURES),
)
"""The thirty columns every patient row of this ION has, in the order of the stream."""

LABEL = "malignant"
"""1 when the tumour was malignant, else 0."""

_HELDOUT_SHARE = 0.25


def load_patients() -> pd.DataFrame:
    """Return one row per patient: ``patient_id`` (a surrogate), `FEATURES`, `LABEL`. Shape (569, 32)."""
    from sklearn.datasets import load_breast_cancer

    source = load_breast_cancer(as_frame=True)
    frame = source.data.rename(columns=lambda name: name.replace(" ", "_"))[list(FEATURES)]
    frame.insert(0, "patient_id", [f"wdbc-{row:04d}" for row in range(len(frame))])
    frame[LABEL] = (source.target == list(source.target_names).index("malignant")).astype("int64")
    return frame


def is_heldout(patient_id: str) -> bool:
    """Tell whether a patient belongs to the held-out part: a property of the id, so it never changes.

    Adding or removing other patients moves nobody between the parts.
    """
    first_bytes = digest_bytes(patient_id.encode())[len("sha256:") :][:8]
    return int(first_bytes, 16) / 0x1_0000_0000 < _HELDOUT_SHARE


def with_split(patients: pd.DataFrame) -> pd.DataFrame:
    """Return the patients with a column ``heldout``: 1 for those no training may see, else 0."""
    return patients.assign(heldout=patients["patient_id"].map(is_heldout).astype("int64"))
