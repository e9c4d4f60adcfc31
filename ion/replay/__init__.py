"""Replay: compute a recorded prediction again, from its captured input and the model's own bytes.

And its opposite: erase what was captured, so that nobody can.
"""

from ion.replay.erasing import Eraser, Erasure, tell_erased
from ion.replay.replaying import TOLERANCE, Replayed, Verdict, replay

__all__ = ["TOLERANCE", "Eraser", "Erasure", "Replayed", "Verdict", "replay", "tell_erased"]
