"""The ledger against what was signed of it before: checkpoints among the facts, in files, and from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.files import read_regular
from ion.evidence.trust import load_trust
from ion.facts import CheckpointSigned
from ion.ledger import Problem, verify_checkpoint
from ion.ledger.note import MAX_NOTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ion.home import Home
    from ion.ledger import SignedCheckpoint, Walk
    from ion.records import Recorded
    from ion.store import GovernanceStore

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Anchor:
    """A checkpoint under a verified signature, and where it was found."""

    source: str
    signed: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Anchors:
    """All checkpoints there are, and what is wrong with those that cannot be used."""

    found: tuple[Anchor, ...]
    problems: tuple[Problem, ...]

    @property
    def sizes(self) -> set[int]:
        """The numbers of records they are about."""
        return {anchor.signed.size for anchor in self.found}


def find_anchors(store: GovernanceStore, home: Home, against: Mapping[str, bytes]) -> Anchors:
    """Gather every checkpoint of this ledger; ``against`` maps names to notes from elsewhere.

    A note that is not signed by the ledger's key is a problem, wherever it comes from.
    """
    facts = store.find(CheckpointSigned)
    files = [*_laid_down(home), *against.items()]
    if not facts and not files:
        return Anchors((), ())
    try:
        trust = load_trust(home).root("ledger")
    except IonError as error:
        return Anchors((), (Problem(0, "trust-missing", f"no checkpoint can be checked: {error.message}"),))
    origin = store.ledger.origin()
    found: list[Anchor] = []
    problems: list[Problem] = []
    for record in facts:
        answer = verify_checkpoint(record.fact.note.encode(), trust, origin=origin, at=record.us)
        problem = answer.reason if isinstance(answer, Unverified) else _misstated(record, answer)
        if problem:
            problems.append(Problem(record.position, "checkpoint", f"CheckpointSigned: {problem}"))
        if not isinstance(answer, Unverified):  # what was signed counts, whatever the fact around it says
            found.append(Anchor(f"the fact at {record.position}", answer))
    for name, note in files:
        answer = verify_checkpoint(note, trust, origin=origin)
        if isinstance(answer, Unverified):
            problems.append(Problem(0, "checkpoint", f"{name}: {answer.reason}"))
        else:
            found.append(Anchor(name, answer))
    return Anchors(tuple(found), tuple(problems))


def anchor_problems(anchors: Anchors, walk: Walk, *, cut: bool) -> list[Problem]:
    """Compare the checkpoints with what a walk has read, for whose sizes it was asked the roots.

    ``cut``: whether the store itself tells of more records than it holds. Checkpoints behind a break of the chain are
    passed over: that they differ follows from it.
    """
    problems = list(anchors.problems)
    beyond = [anchor for anchor in anchors.found if anchor.signed.size > walk.count]
    whole = walk.count if walk.broken is None else walk.broken.expected - 1
    judged = [anchor for anchor in anchors.found if anchor.signed.size <= whole]
    good = [a.signed.size for a in judged if walk.roots[a.signed.size] == a.signed.checkpoint.root]
    wrong = sorted((a for a in judged if walk.roots[a.signed.size] != a.signed.checkpoint.root), key=_size)
    if wrong:
        first = wrong[0].signed.size
        held = max((size for size in good if size < first), default=0)
        message = f"records {held + 1} to {first} are not those that were signed in {_sources(wrong)}"
        problems.append(Problem(held + 1, "forked", message))
    if beyond and walk.broken is None:
        size = max(map(_size, beyond))
        message = f"the store holds {walk.count} records, {size} were signed in {_sources(sorted(beyond, key=_size))}"
        problems.append(Problem(walk.count + 1, "truncated" if cut else "rolled-back", message))
    return problems


def _size(anchor: Anchor) -> int:
    return anchor.signed.size


def _sources(anchors: list[Anchor]) -> str:
    more = f" and {len(anchors) - _SHOWN} more" if len(anchors) > _SHOWN else ""
    return ", ".join(anchor.source for anchor in anchors[:_SHOWN]) + more


def _laid_down(home: Home) -> Iterable[tuple[str, bytes]]:
    for path in sorted(home.checkpoints.rglob("*.note")):
        try:
            yield f"{path.relative_to(home.root)}", read_regular(path, MAX_NOTE)
        except (OSError, IonError):
            yield f"{path.relative_to(home.root)}", b""  # which does not verify


def _misstated(record: Recorded[CheckpointSigned], signed: SignedCheckpoint) -> str:
    """Return how a fact differs from the note it holds; empty when it does not."""
    said = (record.fact.size, record.fact.root)
    if said != (signed.size, f"sha256:{signed.checkpoint.root.hex()}"):
        return "it says something else than its note"
    return "" if signed.size < record.position else "its note is about records behind it"
