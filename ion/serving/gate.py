"""The gate: no model serves but one for which everything was verified, from local files, within a deadline.

Order: trust, pointer, node, approvals, decision, provenance, manifest, artifact (every file read once),
format, promotion (serial, lease), revocation, accept. Promotion and revocation are looked at before
anything is read as well, so that a halt is obeyed when artifacts are gone. An exception at any step is
a refusal at that step. What serves is looked at again with every call, without reading it again:
docs/spec/pointer.md.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.evidence.envelope import Unverified
from ion.evidence.grounds import Upheld, read_grounds, uphold
from ion.evidence.statements import verify_promotion_by
from ion.ids import checked_node
from ion.serving.acceptance import Acceptance
from ion.serving.admission import Admitted, Halted, Refused
from ion.serving.loading import Loaded, check_format, load_model
from ion.serving.memory_file import MemoryFile, Recollection
from ion.serving.pointer import read_pointer
from ion.serving.progress import DeniedError, Progress, ReplacedError, reason_of
from ion.serving.scorer import LINEAR_FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.grounds import Grounds
    from ion.evidence.statements import PromotionStatement
    from ion.evidence.trust import Trust, TrustFile
    from ion.serving.admission import HaltCause, Step

_TRIES = 3
_STOPS = frozenset({"halt", "revoke"})


class Gate:
    """Admits models for one node from one pointer file.

    Args:
        pointer: the pointer file; it need not exist yet.
        artifacts: where decisions, approvals, manifests and model files are, by digest.
        trust: whose signatures count; read again with every admission.
        node: ``ion/node`` that this process serves.
        state: file of what was accepted and seen; gates of one node on one host share it.
        formats: model formats that may be loaded. Pickle is code, not a model: it has no loader.
        clock: wall clock, microseconds UTC.

    Raises:
        IonError: ``bad-node``.
    """

    def __init__(
        self,
        pointer: Path,
        artifacts: ArtifactStore,
        trust: TrustFile,
        node: str,
        state: Path,
        *,
        formats: frozenset[str] = frozenset({LINEAR_FORMAT}),
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._pointer = pointer
        self._artifacts = artifacts
        self._trust_file = trust
        self._node = checked_node(node)
        self._formats = formats
        self._known = Recollection(MemoryFile(state, node), node, clock)
        self._lock = threading.Lock()
        self._trust: Trust | None = None
        self._serving: Admitted | None = None
        self._verified: tuple[tuple[bytes, str], tuple[PromotionStatement, str, Acceptance]] | None = None
        self._judged: tuple[tuple[str, str, str], Upheld] | None = None

    def admit(self, *, timeout: float | None = None) -> Admitted | Refused | Halted:
        """Verify everything as it is now and answer. Never raises; safe to call from any thread.

        Args:
            timeout: seconds, checked between steps; no time left is a refusal. None waits.
        """
        give_up = time.monotonic() + timeout if timeout is not None else float("inf")
        if not self._lock.acquire(timeout=-1 if timeout is None else max(timeout, 0.0)):
            return Refused("trust", "no time left")
        try:
            progress = Progress(give_up)
            try:
                return self._admit(progress)
            except Exception as error:  # noqa: BLE001 - fail closed: whatever went wrong is a refusal
                return self._without(Refused(progress.step, reason_of(error)))
        finally:
            self._lock.release()

    def still(self, admitted: Admitted, *, timeout: float | None = None) -> Halted | None:
        """Look at everything again, and say why an earlier admission must end now; None lets it go on.

        A newer promotion alone does not end it: whoever works through a batch may finish.
        """
        answer = self.admit(timeout=timeout)
        if isinstance(answer, Halted):
            return answer
        with self._lock:
            return self._against(admitted)

    def _admit(self, progress: Progress) -> Admitted | Halted:
        for _ in range(_TRIES):
            with suppress(ReplacedError):
                return self._admit_pointer(progress)
        raise DeniedError("the pointer was replaced again and again")

    def _admit_pointer(self, progress: Progress) -> Admitted | Halted:
        progress.at("trust")
        self._known.recall()
        trust = self._believed()
        progress.at("pointer")
        envelope = read_pointer(self._pointer)
        statement, following = self._promotion(envelope, trust)
        progress.at("node")
        if statement.address != self._node:
            raise DeniedError(f"the pointer is for {statement.address}")
        self._known.see(statement.issued, revoked=statement.revoked)
        if statement.action in _STOPS:
            return self._stopped(progress, following)
        self._check_current(progress, statement, following)
        before = self._serving
        admitted = self._examined(progress, statement, trust, following.pointer)
        if admitted is not before:  # reading took time
            progress.at("promotion")
            if read_pointer(self._pointer) != envelope:
                raise ReplacedError
            self._known.recall()
            self._check_current(progress, statement, following)
        progress.at("accept")
        self._known.remember(following)
        self._serving = admitted
        return admitted

    def _stopped(self, progress: Progress, following: Acceptance) -> Halted:
        """Obey a halt or a revocation, also when it cannot be made durable."""
        progress.at("promotion")
        accepted = self._known.accepted
        serves = accepted.model if accepted and accepted.action not in _STOPS else following.model
        if following.action == "revoke" and serves != following.model:
            raise DeniedError("it withdraws another model than the one that serves")
        self._known.memory = self._known.memory.accepting(following)
        self._serving = None
        progress.at("accept")
        self._known.remember()
        return _halted(following, "by a signed statement")

    def _believed(self) -> Trust:
        trust = self._trust_file.read(0)  # its end is judged here, by the gate's own time
        document, before = trust.document, self._known.memory.trust_version
        if document.version < before:
            raise DeniedError(f"the trust document went back from version {before} to {document.version}")
        self._known.see(document.issued, document.version)
        self._trust = trust
        if self._known.is_over(trust.digest, document.expires):
            raise DeniedError("the trust document has expired")
        return trust

    def _promotion(self, envelope: bytes, trust: Trust) -> tuple[PromotionStatement, Acceptance]:
        """Return what the pointer says and what accepting it would mean; verified again only when it changed."""
        root, key = trust.root("decision"), (envelope, trust.digest)
        if self._verified is None or self._verified[0] != key:
            answer = verify_promotion_by(envelope, root)
            if isinstance(answer, Unverified):
                raise DeniedError(answer.reason)
            statement, key_id = answer
            self._verified = key, (statement, key_id, Acceptance.of(statement, digest_bytes(envelope)))
        statement, key_id, following = self._verified[1]
        # Who stole a key that was replaced or revoked since can give a pointer an earlier date.
        if not root.covers(key_id, self._known.now()):
            raise DeniedError("the key that signed it does not count any more")
        return statement, following

    def _check_current(self, progress: Progress, statement: PromotionStatement, following: Acceptance) -> None:
        """Refuse what is older than what was accepted, whose lease is over, or which was revoked."""
        progress.at("promotion")
        self._known.memory.accepting(following)
        accepted = self._known.accepted
        # Past its lease only what was accepted before may go on, and only where that is declared.
        goes_on = accepted and accepted.serial == statement.serial and statement.on_lease_end == "keep"
        if self._known.is_over(following.pointer, statement.lease_end) and not goes_on:
            raise DeniedError("the lease has ended")
        progress.at("revocation")
        if self._known.is_revoked(statement.model):
            raise DeniedError("the model was revoked for this node")

    def _examined(self, progress: Progress, statement: PromotionStatement, trust: Trust, pointer: str) -> Admitted:
        """Return the model that the promotion names; what is known by digest is not read again."""
        if statement.model is None or statement.decision is None:
            raise DeniedError("the promotion names no model")
        before = self._serving if self._serving and self._serving.model == statement.model else None
        known = before if before and before.decision == statement.decision else None
        grounds = known.grounds if known else read_grounds(self._artifacts, statement.decision, progress.at)
        upheld = self._upheld(grounds, trust, statement.model, statement.decision, progress.at)
        if isinstance(upheld, Unverified):
            raise DeniedError(upheld.reason)
        decision = upheld.decision
        self._known.see(decision.decided)
        approvals_first = upheld.approved_until < decision.expires
        progress.at("approvals" if approvals_first else "decision")
        if self._known.is_over(statement.decision, upheld.until):
            raise DeniedError("too many approvals have ended" if approvals_first else "the decision has expired")
        if known and known.pointer == pointer and known.expires == upheld.until:
            return known
        if before:
            progress.at("format")
            check_format(before.format, self._formats, decision.formats)
            loaded = Loaded(before.files, before.format, before.scorer)
        else:
            loaded = load_model(self._artifacts, statement.model, self._formats, decision.formats, progress.at)
        return Admitted(
            node=self._node,
            model=statement.model,
            serial=statement.serial,
            decision=statement.decision,
            pointer=pointer,
            cause=statement.cause,
            candidate_run=decision.candidate_run,
            files=loaded.files,
            format=loaded.format,
            scorer=loaded.scorer,
            lease_end=statement.lease_end,
            on_lease_end=statement.on_lease_end,
            expires=upheld.until,
            grounds=grounds,
        )

    def _upheld(
        self, grounds: Grounds, trust: Trust, model: str, decision: str, at: Callable[[Step], None]
    ) -> Upheld | Unverified:
        """Judge grounds under a trust document; what holds, holds as long as none of the digests changes."""
        key = trust.digest, decision, model
        if self._judged is not None and self._judged[0] == key:
            return self._judged[1]
        upheld = uphold(grounds, trust, model=model, node=self._node, at=at)
        if isinstance(upheld, Upheld):
            self._judged = key, upheld
        return upheld

    def _against(self, admitted: Admitted) -> Halted | None:
        """Return why a model that was admitted may not go on: revoked, over, or not believed any more."""

        def halted(cause: HaltCause, reason: str) -> Halted:
            return Halted(cause, admitted.serial, admitted.pointer, f"serial {admitted.serial} may not go on: {reason}")

        try:
            if self._known.is_revoked(admitted.model):
                return halted("revoke", "the model was revoked for this node")
            trust = self._trust
            if trust is None or self._known.is_over(trust.digest, trust.document.expires):
                return halted("trust", "the trust document has expired")
            upheld = self._upheld(admitted.grounds, trust, admitted.model, admitted.decision, lambda _: None)
            if isinstance(upheld, Unverified):
                return halted("trust", upheld.reason)
            if self._known.is_over(admitted.decision, upheld.until):
                return halted("expiry", "its decision or its approvals have ended")
        except Exception as error:  # noqa: BLE001 - fail closed: what cannot be judged does not serve
            return halted("trust", reason_of(error))
        return None

    def _without(self, refused: Refused) -> Refused | Halted:
        """Return the refusal, unless what is known says that what serves must stop."""
        with suppress(Exception):
            self._known.recall()
        against = self._against(self._serving) if self._serving else None
        accepted = self._known.accepted
        lease_over = False
        if accepted is not None and accepted.on_lease_end == "stop":
            with suppress(Exception):
                lease_over = self._known.is_over(accepted.pointer, accepted.lease_end)
        with suppress(Exception):
            self._known.remember()
        why = f"; the pointer was refused at {refused.step}: {refused.reason}"
        if accepted is not None and accepted.action in _STOPS:
            return _halted(accepted, "by a signed statement" + why)
        if against is not None:
            return replace(against, reason=against.reason + why)
        if accepted is not None and lease_over:
            reason = f"the lease of serial {accepted.serial} has ended" + why
            return Halted("lease", accepted.serial, accepted.pointer, reason)
        return refused


def _halted(accepted: Acceptance, why: str) -> Halted:
    cause: HaltCause = "revoke" if accepted.action == "revoke" else "halt"
    return Halted(cause, accepted.serial, accepted.pointer, f"stopped {why} (serial {accepted.serial})")
