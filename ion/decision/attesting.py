"""What governance itself attests about a candidate: where it came from, and what its data was checked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from ion.agent.code import LOCK
from ion.canonical import canonical_bytes, digest_bytes
from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.check_results import CheckResult, CheckStatement, sign_checks, verify_checks
from ion.evidence.envelope import MAX_ENVELOPE
from ion.evidence.provenance import (
    COMMIT,
    DATASET,
    FILE,
    SOURCE,
    Dependency,
    ProvenanceStatement,
    sign_provenance,
    verify_provenance,
)
from ion.evidence.trust_root import TrustRoot
from ion.facts import DatasetRecorded, DecisionMade, NodeRunEnded, NodeRunStarted, ParamRecorded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ion.decision.evidence import Evidence
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.envelope import Unverified
    from ion.evidence.keys import Signer
    from ion.evidence.model_signature import ModelSigner
    from ion.store import GovernanceStore

PROVENANCE, CHECKS, MODEL_SIGNATURE = "provenance", "checks", "model-signature"
ATTESTED = (PROVENANCE, CHECKS, MODEL_SIGNATURE)
"""How a decision names them among its evidence; the artifacts have these digests."""

MAX_PARAMETERS = 128 << 10
"""Bytes of parameters in RFC 8785 form; larger ones are named by digest."""

Statement = TypeVar("Statement", ProvenanceStatement, CheckStatement)


def attest(
    store: GovernanceStore,
    artifacts: ArtifactStore,
    signer: Signer,
    evidence: Evidence,
    version: str,
    *,
    models: ModelSigner | None,
) -> dict[str, str]:
    """Return name → digest of what governance attests about a candidate, put in ``artifacts``.

    ``provenance``; ``checks`` where checks are required; ``model-signature`` with ``models``, which is for
    approved models only: whoever checks nothing else believes it. What an earlier decision on the candidate
    names is named again as long as it still says the same under the same key: judging twice gives one digest.

    Raises:
        IonError: ``bad-envelope`` when the evidence does not fit in one.
    """
    now, candidate = now_us(), evidence.candidate
    before = [
        recorded.fact.evidence
        for recorded in store.find(DecisionMade, candidate.run, newest_first=True)
        if recorded.fact.model == candidate.model
    ]
    trust = TrustRoot((signer.public,))

    def kept(name: str, statement: Statement, verify: Callable[[bytes, TrustRoot], Statement | Unverified]) -> str:
        """Return the digest of an earlier envelope that says the same; empty when there is none."""
        for digest in dict.fromkeys(str(named[name]) for named in before if name in named):
            try:
                said = verify(artifacts.get(digest, limit=MAX_ENVELOPE), trust)
            except IonError:
                continue  # lost or damaged: it is made again
            if isinstance(said, type(statement)) and replace(said, attested=statement.attested) == statement:
                return digest
        return ""

    provenance = provenance_of(store, evidence, version, now)
    found = {
        PROVENANCE: kept(PROVENANCE, provenance, verify_provenance)
        or artifacts.put(sign_provenance(provenance, signer))
    }
    if evidence.checks:
        checks = checks_of(evidence, now)
        found[CHECKS] = kept(CHECKS, checks, verify_checks) or artifacts.put(sign_checks(checks, signer))
    if models is not None:
        found[MODEL_SIGNATURE] = artifacts.put(models.sign(artifacts.get_manifest(candidate.model)))
    return found


def provenance_of(store: GovernanceStore, evidence: Evidence, version: str, now: int) -> ProvenanceStatement:
    """Return what the facts say about where a candidate came from."""
    candidate, started = evidence.candidate, evidence.started
    began, ended = store.latest(NodeRunStarted, candidate.run), store.latest(NodeRunEnded, candidate.run)
    parameters: dict[str, dict[str, object]] = {}
    for recorded in store.find(ParamRecorded, candidate.run):
        parameters.setdefault(recorded.fact.component, {})[recorded.fact.name] = recorded.fact.value
    return ProvenanceStatement(
        node=candidate.node,
        model=candidate.model,
        run=candidate.run,
        started=began.us if began else 0,
        finished=ended.us if ended else 0,
        attested=now,
        version=version,
        dependencies=(*_datasets(store, evidence), *_source(started.code)),
        parameters=_plain({"config": _bounded(dict(started.config)), "parameters": _bounded(parameters)}),
        internal=_plain({"environment": _bounded(dict(started.environment)), "format": candidate.format}),
        engine=started.engine,
        engine_run=started.engine_run,
    )


def checks_of(evidence: Evidence, now: int) -> CheckStatement:
    """Return the results of the required checks on exactly the dataset versions the candidate was made from."""
    found: dict[tuple[str, str, str], CheckResult] = {}
    for each in evidence.checks:
        result = each.result
        found[each.asset, each.name, each.dataset] = CheckResult(
            asset=each.asset,
            name=each.name,
            dataset=each.dataset,
            passed=None if result is None else result.passed,
            severity="" if result is None else result.severity,
            results=() if result is None else tuple(dict(item) for item in result.results),
        )
    candidate = evidence.candidate
    return CheckStatement(candidate.node, candidate.model, candidate.run, now, tuple(found.values()))


def _datasets(store: GovernanceStore, evidence: Evidence) -> list[Dependency]:
    listed = []
    for name, digest in evidence.datasets.items():
        kept = (record.fact.uri for record in store.find(DatasetRecorded, digest) if record.fact.digest == digest)
        # The rows as kept, by the digest of their file; else only the name: a URI may hold a host's path.
        uri = next((uri for uri in kept if uri.startswith("artifact:sha256:")), "")
        plain = name.removesuffix(f"@{digest}")
        listed.append(Dependency(plain, uri or f"ion:dataset/{plain}", DATASET, digest.removeprefix("sha256:")))
    return listed


def _source(code: Mapping[str, object]) -> list[Dependency]:
    """Return source, commit and lock file; what is missing or malformed in the facts is left out."""
    commit, source, lock = (str(code.get(name) or "") for name in ("commit", "source_digest", "lock"))
    remote = str(code.get("remote") or "")
    told = (
        ("source", f"git+{remote}@{commit}" if remote else f"git:{commit}", COMMIT, commit),
        ("source files", "ion:source", SOURCE, source.removeprefix("sha256:")),
        (LOCK, f"ion:source/{LOCK}", FILE, lock.removeprefix("sha256:")),
    )
    found = []
    for name, uri, algorithm, digest in told:
        try:
            found.append(Dependency(name, uri, algorithm, digest))
        except IonError:
            continue
    return found


def _bounded(value: dict[str, object] | dict[str, dict[str, object]]) -> object:
    """Return the value, or its digest where it is too large to be signed in full."""
    data = canonical_bytes(value)
    return value if len(data) <= MAX_PARAMETERS else {"omitted": {"bytes": len(data), "digest": digest_bytes(data)}}


def _plain(value: dict[str, object]) -> dict[str, object]:
    """Leave out what is empty."""
    return {name: item for name, item in value.items() if item}
