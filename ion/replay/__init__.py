"""Replay: compute a recorded prediction again, from its captured input and the model's own bytes."""

from ion.replay.replaying import TOLERANCE, Replayed, Verdict, replay

__all__ = ["TOLERANCE", "Replayed", "Verdict", "replay"]
