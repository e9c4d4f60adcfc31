"""A witness: remembers the last head of each ledger in a file of its own, and accepts only what extends it.

It is worth something where whoever may write the store cannot write: another machine, another administrator.
"""

from __future__ import annotations

import fcntl
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.files import read_regular, write_atomic
from ion.evidence.trust_root import TrustRoot
from ion.ledger import NoteKey, SignedCheckpoint, judge, verify_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ion.ledger import Checkpoint, Refusal

FORMAT = "ion-witness/1"
_MAX_STATE = 4 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """The last head accepted of one ledger, and the keys by which its log is known."""

    checkpoint: Checkpoint
    keys: tuple[NoteKey, ...]
    note: str

    @property
    def trust(self) -> TrustRoot:
        """The log's keys."""
        return TrustRoot(tuple(key.public() for key in self.keys))


class Witness:
    """Keeps its memory in one file; safe among processes."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def seen(self, origin: str) -> Seen | None:
        """Return the last head accepted of a ledger.

        Raises:
            IonError: ``bad-witness-state``.
        """
        return self._read().get(origin)

    def origins(self) -> list[str]:
        """Return the ledgers that are remembered."""
        return sorted(self._read())

    def see(self, signed: SignedCheckpoint, trust: TrustRoot, old: int, proof: Sequence[bytes]) -> Refusal | None:
        """Judge a head whose signature was verified under ``trust``, and remember it unless it is refused.

        ``old`` and ``proof`` as `ion.ledger.judge` takes them. The memory is on disk when this returns.

        Raises:
            IonError: ``wrong-proof``, ``bad-witness-state``.
        """
        head = signed.checkpoint
        with self._alone():
            logs = self._read()
            before = logs.get(head.origin)
            refusal = judge(before.checkpoint if before else None, head, old, proof)
            if refusal is None:
                keys = tuple(NoteKey.of(head.origin, key) for key in trust.keys)
                logs[head.origin] = Seen(head, keys, signed.note.to_bytes().decode())
                self._write(logs)
        return refusal

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._state.parent.mkdir(parents=True, exist_ok=True)
        with self._state.with_name(self._state.name + ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield  # closing the file releases the lock

    def _read(self) -> dict[str, Seen]:
        try:
            data = read_regular(self._state, _MAX_STATE)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._bad(error.strerror or "it cannot be read") from error
        try:
            value = json.loads(data)
            if value["format"] != FORMAT:
                raise self._bad("it is of another format")
            return {str(origin): _seen(str(origin), item) for origin, item in value["logs"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._bad("it is damaged") from error

    def _write(self, logs: dict[str, Seen]) -> None:
        told = {origin: {"keys": [str(key) for key in s.keys], "note": s.note} for origin, s in sorted(logs.items())}
        text = json.dumps({"format": FORMAT, "logs": told}, indent=2, ensure_ascii=False)
        write_atomic(self._state, text.encode() + b"\n", mode=0o600)

    def _bad(self, why: str) -> IonError:
        hint = "restore it: a witness that forgets can be shown an older ledger"
        return IonError("bad-witness-state", f"cannot use the memory of the witness {self._state}: {why}", hint)


def _seen(origin: str, value: dict[str, object]) -> Seen:
    listed, note = value["keys"], str(value["note"])
    if not isinstance(listed, list):
        raise TypeError("keys are a list")
    keys = tuple(NoteKey.parse(str(key)) for key in listed)
    trust = TrustRoot(tuple(key.public() for key in keys))
    answer = verify_checkpoint(note.encode(), trust, origin=origin)
    if not isinstance(answer, SignedCheckpoint):
        raise ValueError(answer.reason)  # noqa: TRY004 - a value that does not hold
    return Seen(answer.checkpoint, keys, note)
