"""Serving: the gate a model must pass, and what scores once it has.

A serving process asks before it loads, and then from time to time::

    gate = Gate(pointer_path(root, node), ArtifactStore(home.artifacts), trust_file(home), node, state_file)
    match gate.admit():
        case Admitted(scorer=scorer): probability = scorer.score_row(row)
        case Refused(step, reason): ...      # keep the last admitted model, or do not start
        case Halted(cause=cause): ...        # stop predicting now: halted, revoked, expired, not trusted any more
"""

from ion.evidence.captures import CaptureKey
from ion.serving.admission import Admitted, Halted, Refused
from ion.serving.capture import open_block, open_row, seal
from ion.serving.gate import Gate
from ion.serving.pointer import pointer_path, read_pointer, write_pointer
from ion.serving.scorer import LINEAR_FORMAT, LinearScorer, Scorer, load_scorer, model_format

__all__ = [
    "LINEAR_FORMAT",
    "Admitted",
    "CaptureKey",
    "Gate",
    "Halted",
    "LinearScorer",
    "Refused",
    "Scorer",
    "load_scorer",
    "model_format",
    "open_block",
    "open_row",
    "pointer_path",
    "read_pointer",
    "seal",
    "write_pointer",
]
