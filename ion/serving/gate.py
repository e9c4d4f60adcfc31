"""The gate: no model serves but one whose promotion, decision, manifest and bytes were all verified.

Order of steps, each a reason to refuse: trust, pointer (read, signature), node, serial, lease, decision
(bytes by digest, signature, subject, verdict, expiry), manifest, artifact (every file read once, hashed as
read), format, accept (the serial is made durable). An exception at any step is a refusal at that step.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.envelope import MAX_ENVELOPE, Unverified
from ion.evidence.statements import verify_decision, verify_promotion
from ion.ids import checked_node
from ion.serving.acceptance import Acceptance, AcceptanceFile
from ion.serving.admission import Admitted, Halted, Refused, Step
from ion.serving.pointer import read_pointer
from ion.serving.scorer import LINEAR_FORMAT, load_scorer, model_format

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.statements import DecisionStatement, PromotionStatement
    from ion.evidence.trust_root import TrustRoot
    from ion.serving.admission import HaltCause

MAX_MODEL_BYTES = 1 << 30


class _DeniedError(Exception):
    """Leaves the steps of one admission; never leaves the gate."""


@dataclass(slots=True)
class _Progress:
    """Where an admission is, so that whatever goes wrong is told with its step."""

    give_up: float
    step: Step = "trust"

    def at(self, step: Step) -> None:
        self.step = step
        if time.monotonic() > self.give_up:
            raise _DeniedError("no time left")


class Gate:
    """Admits models for one node from one pointer file.

    Args:
        pointer: the pointer file; it need not exist yet.
        artifacts: where decisions, manifests and model files are, by digest.
        trust: whose signatures count.
        node: ``ion/node`` that this process serves.
        state: file for the highest serial accepted; gates of one node on one host share it.
        formats: model formats that may be loaded. Pickle is code, not a model: it has no loader.
        clock: wall clock, microseconds UTC.

    Raises:
        IonError: ``bad-node``.
    """

    def __init__(
        self,
        pointer: Path,
        artifacts: ArtifactStore,
        trust: TrustRoot,
        node: str,
        state: Path,
        *,
        formats: frozenset[str] = frozenset({LINEAR_FORMAT}),
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._pointer = pointer
        self._artifacts = artifacts
        self._trust = trust
        self._node = checked_node(node)
        self._formats = formats
        self._clock = clock
        self._file = AcceptanceFile(state, node)
        self._lock = threading.Lock()
        self._verified: tuple[bytes, PromotionStatement] | None = None
        self._accepted: Acceptance | None = None
        self._admitted: Admitted | None = None
        self._latest = 0

    def admit(self, *, timeout: float | None = None) -> Admitted | Refused | Halted:
        """Verify the pointer as it is now and answer. Never raises; safe to call from any thread.

        Args:
            timeout: seconds, checked between steps; no time left is a refusal. None waits.
        """
        give_up = time.monotonic() + timeout if timeout is not None else float("inf")
        if not self._lock.acquire(timeout=-1 if timeout is None else max(timeout, 0.0)):
            return Refused("trust", "no time left")
        try:
            progress = _Progress(give_up)
            try:
                return self._admit(progress)
            except Exception as error:  # noqa: BLE001 - fail closed: whatever went wrong is a refusal
                return self._without(Refused(progress.step, _reason(error)))
        finally:
            self._lock.release()

    def _admit(self, progress: _Progress) -> Admitted | Halted:
        progress.at("trust")
        for key in self._trust.keys:
            key.verifier()
        progress.at("pointer")
        envelope = read_pointer(self._pointer)
        statement = self._promotion(envelope)
        self._latest = max(self._latest, statement.issued)
        progress.at("node")
        if statement.address != self._node:
            raise _DeniedError(f"the pointer is for {statement.address}")
        progress.at("serial")
        known = self._known()
        following = _acceptance(statement, digest_bytes(envelope), self._latest)
        conflict = known.conflict(following) if known else None
        if conflict:
            raise _DeniedError(conflict)
        if statement.action in {"halt", "revoke"}:
            progress.at("accept")
            self._accept(following, None)
            return _halted(following, "by a signed statement")
        progress.at("lease")
        # Past its lease only what was accepted before may go on, and only where that is declared.
        goes_on = known is not None and known.serial == statement.serial and statement.on_lease_end == "keep"
        if self._now() >= statement.lease_end and not goes_on:
            raise _DeniedError("the lease has ended")
        admitted = self._model(progress, statement, following.pointer)
        progress.at("accept")
        self._accept(following, admitted)
        return admitted

    def _promotion(self, envelope: bytes) -> PromotionStatement:
        if self._verified is None or self._verified[0] != envelope:
            self._verified = envelope, _signed(verify_promotion(envelope, self._trust))
        return self._verified[1]

    def _known(self) -> Acceptance | None:
        """Return the newer of what the file and this process remember: neither can be rolled back."""
        candidates = [known for known in (self._file.read(), self._accepted) if known is not None]
        known = max(candidates, key=lambda known: (known.serial, known.issued), default=None)
        self._latest = max([self._latest, *(candidate.latest for candidate in candidates)])
        return known

    def _now(self) -> int:
        """Return the wall clock, floored at the latest signed time seen (a clock can be set back)."""
        return max(self._clock(), self._latest)

    def _model(self, progress: _Progress, statement: PromotionStatement, pointer: str) -> Admitted:
        progress.at("decision")
        if statement.model is None or statement.decision is None:
            raise _DeniedError("the promotion names no model")
        before = self._admitted
        if before and (before.model, before.decision) == (statement.model, statement.decision):
            # Digests name the bytes this process has read and verified: only time can tell against them.
            self._check_expiry(before.expires)
            if before.pointer == pointer:
                return before
            lease_end, on_lease_end = statement.lease_end, statement.on_lease_end
            return replace(
                before, serial=statement.serial, pointer=pointer, lease_end=lease_end, on_lease_end=on_lease_end
            )
        decision = self._decision(statement, statement.decision)
        progress.at("manifest")
        manifest = self._artifacts.get_manifest(statement.model)
        if sum(entry.size for entry in manifest.entries) > MAX_MODEL_BYTES:
            raise _DeniedError(f"the model is larger than {MAX_MODEL_BYTES} bytes")
        progress.at("artifact")
        files = self._artifacts.get_files(manifest)
        progress.at("format")
        name = model_format(files)
        if name not in self._formats:
            raise _DeniedError(f"model format {name} is not allowed here")
        return Admitted(
            node=self._node,
            model=statement.model,
            serial=statement.serial,
            decision=statement.decision,
            pointer=pointer,
            cause=statement.cause,
            candidate_run=decision.candidate_run,
            files=MappingProxyType(files),
            format=name,
            scorer=load_scorer(name, files),
            lease_end=statement.lease_end,
            on_lease_end=statement.on_lease_end,
            expires=decision.expires,
        )

    def _decision(self, statement: PromotionStatement, digest: str) -> DecisionStatement:
        decision = _signed(verify_decision(self._artifacts.get(digest, limit=MAX_ENVELOPE), self._trust))
        self._latest = max(self._latest, decision.decided)
        if decision.model != statement.model:
            raise _DeniedError("the decision is about another model")
        if (decision.ion, decision.node) != (statement.ion, statement.node):
            raise _DeniedError(f"the decision is for {decision.ion}/{decision.node}")
        if decision.verdict != "approve":
            raise _DeniedError(f"the verdict is {decision.verdict}")
        self._check_expiry(decision.expires)
        return decision

    def _check_expiry(self, expires: int) -> None:
        if self._now() >= expires:
            raise _DeniedError("the decision has expired")

    def _accept(self, following: Acceptance, admitted: Admitted | None) -> None:
        following = replace(following, latest=self._latest)
        self._accepted = self._file.record(following)
        self._admitted = admitted

    def _without(self, refused: Refused) -> Refused | Halted:
        """Return the refusal, unless what was accepted last says that nothing may serve at all."""
        with suppress(Exception):
            self._file.record_time(self._latest)
        known, now = self._accepted, self._latest
        with suppress(Exception):
            known = self._known()
        with suppress(Exception):
            now = self._now()
        why = f"; the pointer was refused at {refused.step}: {refused.reason}"
        if known is None:
            return refused
        if known.action in {"halt", "revoke"}:
            return _halted(known, "by a signed statement" + why)
        if known.on_lease_end == "stop" and now >= known.lease_end:
            return Halted("lease", known.serial, known.pointer, f"the lease of serial {known.serial} has ended" + why)
        return refused


_Statement = TypeVar("_Statement", "DecisionStatement", "PromotionStatement")


def _signed(answer: _Statement | Unverified) -> _Statement:
    if isinstance(answer, Unverified):
        raise _DeniedError(answer.reason)
    return answer


def _acceptance(statement: PromotionStatement, pointer: str, latest: int) -> Acceptance:
    return Acceptance(
        node=statement.address,
        action=statement.action,
        serial=statement.serial,
        identity=statement.identity,
        pointer=pointer,
        issued=statement.issued,
        lease_end=statement.lease_end,
        on_lease_end=statement.on_lease_end,
        latest=latest,
    )


def _halted(accepted: Acceptance, why: str) -> Halted:
    cause: HaltCause = "revoke" if accepted.action == "revoke" else "halt"
    return Halted(cause, accepted.serial, accepted.pointer, f"stopped {why} (serial {accepted.serial})")


def _reason(error: Exception) -> str:
    """Return why, without the path of this host that an OSError's own text would hold."""
    if isinstance(error, _DeniedError):
        return str(error)
    if isinstance(error, IonError):
        return error.message
    if isinstance(error, FileNotFoundError):
        return "not found"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"unexpected {type(error).__name__}"
