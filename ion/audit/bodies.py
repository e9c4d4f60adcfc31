"""Whether the bytes that facts name by digest are there and have that digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.decision.attesting import ATTESTED
from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.facts import (
    CaptureErased,
    DatasetRecorded,
    DecisionMade,
    Fact,
    InputsCaptured,
    ModelRecorded,
    PredictionsCommitted,
    RowsQuarantined,
)
from ion.ledger import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.audit.removed import Removed
    from ion.home import Home
    from ion.records import Record
    from ion.store import GovernanceStore

_ARTIFACT = "artifact:"
_SEALED = (InputsCaptured, RowsQuarantined)


def body_problems(
    store: GovernanceStore, home: Home, records: list[tuple[int, Record]], removed: Removed
) -> list[Problem]:
    """Read every block and artifact once; what several facts name is told at the first of them.

    A block that a retention removed is missing for a reason, and counted by ``removed``.
    """
    artifacts = ArtifactStore(home.artifacts)
    problems: list[Problem] = []
    explained = {
        fact.block for at, record in records if isinstance(fact := record.fact, _SEALED) and removed.explains(at)
    }
    seen: set[tuple[str, str]] = set()
    readers: dict[str, Callable[[str], str]] = {
        "block": lambda digest: _block_problem(store, digest, gone=digest in explained),
        "artifact": lambda digest: _artifact_problem(artifacts.get, digest),
        "model": lambda digest: _artifact_problem(artifacts.get_model, digest),
        "erased key": lambda key: "it is back in the store" if store.capture_key(key) else "",
    }
    for position, record in records:
        for kind, digest in _named(record.fact):
            if (kind, digest) in seen:
                continue
            seen.add((kind, digest))
            problem = readers[kind](digest)
            if problem:
                problems.append(Problem(position, kind, f"{type(record.fact).__name__}: {problem}"))
    return problems


def _named(fact: Fact) -> list[tuple[str, str]]:
    """Return ``(block | artifact | model, digest)`` of bytes a fact names, ``(erased key, id)`` that must be gone."""
    if isinstance(fact, _SEALED):
        return [("block", fact.block)]
    if isinstance(fact, CaptureErased):
        return [("erased key", key) for key in fact.keys]
    if isinstance(fact, ModelRecorded):
        return [("model", fact.model)]
    if isinstance(fact, DecisionMade):
        attested = [str(fact.evidence[name]) for name in ATTESTED if name in fact.evidence]
        return [("artifact", digest) for digest in (fact.envelope_digest, *attested)]
    named = ""
    if isinstance(fact, DatasetRecorded):
        named = fact.uri
    elif isinstance(fact, PredictionsCommitted):
        named = fact.file
    return [("artifact", named.removeprefix(_ARTIFACT))] if named.startswith(_ARTIFACT) else []


def _block_problem(store: GovernanceStore, digest: str, *, gone: bool) -> str:
    body = store.block(digest)
    if body is None:
        return "" if gone else f"the store does not hold block {digest}"
    return "" if digest_bytes(body) == digest else f"the bytes kept as block {digest} are other bytes"


def _artifact_problem(read: Callable[[str], object], digest: str) -> str:
    try:
        read(digest)
    except IonError as error:
        return error.message
    return ""
