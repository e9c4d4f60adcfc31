"""Erasure: what was captured of one person, of one prediction or under one key can never be read again.

Destroying keys is all it does: blocks and facts stay, so everything still verifies. What it cannot reach
are rows kept elsewhere in clear (inboxes, dataset artifacts) and backups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ion.agent.hands import ship_home
from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.captures import row_key
from ion.facts import CaptureErased, EpochOpened, InputsCaptured, RowsQuarantined
from ion.graph import defined
from ion.ids import checked_node
from ion.serving.erased import TOLD_S, erased_path, write_erased
from ion.serving.subject import SubjectTags, subject_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.home import Home
    from ion.ids import PredictionId
    from ion.records import Recorded
    from ion.store import GovernanceStore


_FEW = 100


def tell_erased(home: Home, store: GovernanceStore) -> bool:
    """Tell running writers what was erased of late; True when there was news.

    An erasure does it; repeating it tells of one that was interrupted, or made on another host.

    Raises:
        OSError: the folder of the pointers is not writable.
    """
    since = now_us() - int(TOLD_S * 1_000_000)
    found = store.find(CaptureErased, newest_first=True, limit=_FEW)
    if len(found) == _FEW and found[-1].us > since:
        found = store.find(CaptureErased)
    return write_erased(erased_path(home), {key for record in found if record.us > since for key in record.fact.keys})


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure destroyed; ``erasure`` is empty when there was nothing to destroy.

    ``rows`` counts the captured rows under keys that several share; None where only keys of persons went.
    ``cleared`` says whether the database's files were rid of copies, too.
    """

    erasure: str
    keys: tuple[str, ...]
    rows: int | None
    cleared: bool

    @property
    def held(self) -> bool:
        """Whether anything was destroyed."""
        return bool(self.keys)

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self) | {"keys": list(self.keys)}


class Eraser:
    """Erases in one store; ``reason`` and ``by`` go into the facts and hold nothing about the person.

    Raises:
        IonError: as shipping does: what is still spooled must be in the store first.
    """

    def __init__(self, store: GovernanceStore, home: Home, *, reason: str, by: str) -> None:
        self._store = store
        self._home = home
        self._reason = reason
        self._by = by
        ship_home(home, store, wait=True)

    def subject(self, node: str, subject: str) -> Erasure:
        """Destroy every key of one person in a node (``ion/node``).

        Raises:
            IonError: ``bad-node``, ``unknown-ion``, ``unknown-node``, ``no-subject`` when the node declares
                none or ``subject`` names nobody; a code of the pepper.
        """
        ion, _, name = checked_node(node).partition("/")
        column = str(defined(self._store, ion).node(name).details.get("subject", ""))
        if not column:
            hint = "erase by --prediction or --key; declare subject=… for rows to come"
            raise IonError("no-subject", f"{node} declares no data subject, so its rows are sealed together", hint)
        if not subject_text(subject):
            raise IonError("no-subject", "no person is named", f"give what the column {column} holds")
        return self._erase((), node=node, subject=SubjectTags.of(self._home).tag(node, subject))

    def prediction(self, prediction: PredictionId, *, with_others: bool = False) -> Erasure:
        """Destroy the key that seals the input of one prediction, and all it seals.

        Raises:
            IonError: ``not-captured``; ``shared-key`` when rows of others went with it, unless ``with_others``;
                ``block-missing``, ``block-differs`` or ``bad-capture`` when the block does not tell the key.
        """
        found = [
            record
            for record in self._store.find(InputsCaptured, prediction.epoch)
            if record.fact.first <= prediction.seq <= record.fact.last
        ]
        if not found:
            hint = "`ion predictions ION` lists those that were"
            raise IonError("not-captured", f"no input of the prediction {prediction} was captured", hint)
        facts = [record.fact for record in found] + self._repeats([record.id for record in found])
        keys = {self._row_key(fact, prediction.seq) for fact in facts}
        opened = self._store.find(EpochOpened, prediction.epoch)
        node = opened[0].fact.node if opened else ""
        return self._of_keys(keys, with_others=with_others, node=node)

    def key(self, key_id: str) -> Erasure:
        """Destroy one key and all it seals; other keys, too, where they seal the same rows again."""
        again = {fact.key for fact in self._repeats([record.id for record in self._sealed(key_id)]) if fact.key}
        return self._of_keys({key_id, *again}, with_others=True)

    def _of_keys(self, keys: set[str], *, with_others: bool, node: str = "") -> Erasure:
        held = [key for key in map(self._store.capture_key, sorted(keys)) if key is not None]
        shared = [key.key_id for key in held if not key.subject]
        sealed = {record.id: record.fact.rows for key in shared for record in self._sealed(key)}
        rows = sum(sealed.values()) if shared else None
        if rows is not None and rows > 1 and not with_others:
            raise IonError(
                "shared-key",
                f"the key also seals {rows - 1} other rows",
                "add --with-others to destroy them, too; a node that declares a data subject has a key for each",
            )
        return self._erase([key.key_id for key in held], node=node, rows=rows)

    def _erase(self, keys: Sequence[str], *, node: str, subject: str = "", rows: int | None = None) -> Erasure:
        fact = self._store.erase_capture_keys(
            keys, subject=subject, reason=self._reason, by=self._by, node=node, rows=rows
        )
        if fact is None:
            return Erasure("", (), None, self._store.clear_erased())
        tell_erased(self._home, self._store)
        return Erasure(fact.erasure, tuple(fact.keys), fact.rows, self._store.clear_erased())

    def _row_key(self, captured: InputsCaptured | RowsQuarantined, sequence: int) -> str:
        if captured.key or isinstance(captured, RowsQuarantined):
            return captured.key
        block = self._store.block(captured.block)
        if block is None:
            raise IonError("block-missing", "the store does not hold the captured input")
        if digest_bytes(block) != captured.block:
            raise IonError("block-differs", "the captured input is not what the fact names by digest")
        return row_key(block, sequence - captured.first)

    def _sealed(self, key_id: str) -> list[Recorded[InputsCaptured] | Recorded[RowsQuarantined]]:
        """Return the facts of what one key seals alone."""
        return [*self._store.find(InputsCaptured, key_id), *self._store.find(RowsQuarantined, key_id)]

    def _repeats(self, fact_ids: Sequence[str]) -> list[InputsCaptured | RowsQuarantined]:
        """Return what was told again: a job that crashed seals rows a second time, under another key."""
        found = [record.fact for record in self._store.repeats(fact_ids)]
        return [fact for fact in found if isinstance(fact, InputsCaptured | RowsQuarantined)]
