"""Identities minted offline: UUIDv7 for runs and epochs, uuid5 for what is seen, prediction ids."""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass

from ion.clock import now_us
from ion.errors import IonError

_OBSERVED = uuid.UUID("6f0b1f0e-7c53-5f9a-9d58-0f4f1c2d7a10")
_SEQ = re.compile(r"(0|[1-9][0-9]{0,15})\Z")
_LARGEST_SEQ = 2**53 - 1
_NODE = re.compile(r"[a-z0-9_]+/[a-z0-9_]+\Z")


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562): sorts by creation time, needs no server."""
    milliseconds = now_us() // 1000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | (random >> 68) << 64
    value |= 0b10 << 62 | random & ((1 << 62) - 1)
    return str(uuid.UUID(int=value))


def observed_id(*parts: str) -> str:
    """Return the same UUID for the same observed thing, so that seeing it twice is harmless."""
    return str(uuid.uuid5(_OBSERVED, "\x1f".join(parts)))


def checked_node(text: str) -> str:
    """Return ``text`` if it addresses a node as ``ion/node`` in lower-case snake case.

    Raises:
        IonError: ``bad-node``.
    """
    if _NODE.match(text):
        return text
    raise IonError("bad-node", f"not a node address: {text!r}", "write it as ion/node, e.g. patient_tests/model")


@dataclass(frozen=True, slots=True, order=True)
class PredictionId:
    """One prediction: the serving epoch and the sequence number in it (from 0)."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> PredictionId:
        """Parse ``<epoch uuid>:<seq>``.

        Raises:
            IonError: ``bad-prediction-id``.
        """
        epoch, _, seq = text.strip().partition(":")
        try:
            if str(uuid.UUID(epoch)) == epoch and _SEQ.match(seq) and int(seq) <= _LARGEST_SEQ:
                return cls(epoch, int(seq))
        except ValueError:
            pass
        raise IonError(
            "bad-prediction-id",
            f"not a prediction id: {text!r}",
            "an id looks like <epoch uuid>:<number>; `ion predictions ION` lists some",
        )
