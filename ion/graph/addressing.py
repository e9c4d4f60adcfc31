"""What people type: a unique beginning of a model digest or of an epoch is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.facts import EpochOpened, PredictionsCommitted
from ion.ids import PredictionId

if TYPE_CHECKING:
    from ion.store import GovernanceStore

_SHORTEST = 8


def find_model(store: GovernanceStore, text: str) -> str:
    """Return the digest of the one model version that ``text`` begins; ``sha256:`` may be left out.

    Raises:
        IonError: ``bad-prefix`` under eight digits, ``unknown-model``, ``ambiguous``.
    """
    beginning = text.strip().removeprefix("sha256:")
    if len(beginning) < _SHORTEST:
        raise IonError("bad-prefix", f"{text!r} is too short to name a model", f"give {_SHORTEST} hex digits or more")
    known = sorted({candidate.model for candidate in store.candidates()})
    found = [model for model in known if model.startswith(f"sha256:{beginning}")]
    if not found:
        raise IonError("unknown-model", f"no model version begins with {beginning}", "`ion models` lists them")
    return _only(found, text)


def find_prediction(store: GovernanceStore, text: str) -> PredictionId:
    """Return the prediction that ``<epoch>:<number>`` names; the epoch may be a unique beginning of it.

    A complete id is returned as it is, whether or not the store knows it.

    Raises:
        IonError: ``bad-prediction-id``, ``unknown-prediction``, ``ambiguous``.
    """
    epoch, colon, sequence = text.strip().partition(":")
    if not colon or not epoch or not sequence.isascii() or not sequence.isdigit():
        return PredictionId.parse(text)
    try:
        return PredictionId.parse(text)
    except IonError:
        pass
    opened = {record.fact.epoch for record in store.find(EpochOpened)}
    committed = {record.fact.epoch for record in store.find(PredictionsCommitted)}
    found = sorted(known for known in opened | committed if known.startswith(epoch))
    if not found:
        hint = "`ion predictions ION` lists some"
        raise IonError("unknown-prediction", f"no epoch begins with {epoch!r}", hint)
    return PredictionId(_only(found, text), int(sequence))


def _only(found: list[str], text: str) -> str:
    if len(found) > 1:
        hint = "type more of it: " + ", ".join(found[:3])
        raise IonError("ambiguous", f"{text!r} begins {len(found)} names", hint)
    return found[0]
