"""What a node elsewhere needs, brought from a governance server by URL and verified before it is put in place.

The server is not believed: the trust document must be under the root key that is pinned here, statements under
that document, artifacts under their digests. The gate verifies everything again. docs/spec/bringing.md.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.envelope import MAX_ENVELOPE, Unverified
from ion.evidence.files import MIB
from ion.evidence.grounds import read_grounds, uphold
from ion.evidence.statements import verify_promotion_by
from ion.evidence.trust import trust_file
from ion.evidence.trust_signing import TrustPlace
from ion.facts import AdmissionRefused
from ion.ids import checked_node
from ion.serving.acceptance import Acceptance
from ion.serving.erased import erased_path, write_erased
from ion.serving.fetched import FetchedArtifacts, SupersededError
from ion.serving.loading import MAX_MODEL_BYTES
from ion.serving.pointer import pointer_path, read_pointer, write_pointer
from ion.serving.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.agent.fetching import ServerLink
    from ion.evidence.promotions import PromotionStatement
    from ion.evidence.trust import Trust
    from ion.home import Home

_LARGEST_ANSWER = 4 * MIB  # a pointer of 1 MiB, escaped as JSON text
_LARGEST_ERASED = 16 * MIB
_STOPS = frozenset({"halt", "revoke"})
_TRANSPORT = frozenset({"receiver-unreachable", "receiver-refused", "no-token"})


class Bringer:
    """Brings what one node needs. One thread uses it.

    Args:
        home: where it goes; its root key's public half must be there already, from elsewhere than this server.
        node: ``ion/node``.
        link: the server.
        second: another link to it, to look whether a long download is still wanted.
        tell: records a refusal; each is told once.
        run: of the process that serves, if it is this one.

    Raises:
        IonError: ``bad-node``.
    """

    def __init__(
        self,
        home: Home,
        node: str,
        link: ServerLink,
        second: ServerLink,
        tell: Callable[[AdmissionRefused], object],
        run: str = "",
    ) -> None:
        self._home = home
        self._node = checked_node(node)
        self._link = link
        self._second = second
        self._tell = tell
        self._run = run
        self._path = pointer_path(home.root, node)
        self._trust_file = trust_file(home)
        self._artifacts = FetchedArtifacts(home.artifacts, link, self._address("artifacts"), self._is_wanted)
        self._tag = ""
        self._erased: str | None = None
        self._complete = ""
        self._standing: Standing | None = None
        self._problems: set[tuple[str, str, str]] = set()
        self._accepted: Acceptance | None = None
        self.settled = False
        """Whether all that the server said last is in place."""

    def look(self, wait: float = 0.0) -> bool:
        """Ask once, for at most ``wait`` seconds, and put in place what is new; say whether the server had news.

        What was refused before is tried again: it may have been mended.

        Raises:
            IonError: ``receiver-unreachable``, ``receiver-refused``, ``no-token``; a fault of this host's disk.
        """
        address = self._address(f"pointer?wait={int(wait)}")
        answer = self._link.get(address, limit=_LARGEST_ANSWER, tag=self._tag, wait=wait)
        news = answer.body is not None
        if answer.body is not None:
            self.settled = False
            self._standing, self._tag = None, answer.tag
            self._problems.clear()
            try:
                self._standing = Standing.parse(answer.body)
            except IonError as error:
                self._refuse("pointer", error.message, digest_bytes(answer.body))
        if self._standing is not None and not self.settled:
            with suppress(SupersededError):
                self.settled = self._take(self._standing)
        return news

    def _take(self, said: Standing) -> bool:
        """Put in place what holds of it; say whether all of it does."""
        held = [self._held("trust", said, self._take_trust), self._held("erased", said, self._take_erased)]
        return self._take_pointer(said) and all(held)

    def _held(self, step: str, said: Standing, take: Callable[[Standing], None]) -> bool:
        try:
            take(said)
        except IonError as error:
            if error.code in _TRANSPORT:
                raise
            return self._refuse(step, error.message, digest_bytes(said.pointer or b""))
        return True

    def _take_trust(self, said: Standing) -> None:
        place = TrustPlace.of(self._home)
        try:
            if said.trust is None or place.read().digest == said.trust:
                return
        except IonError as error:
            if error.code not in {"trust-missing", "trust-unverified"}:
                raise
        envelope = self._link.get("/v1/trust", limit=MAX_ENVELOPE).body or b""
        place.install(envelope)

    def _take_erased(self, said: Standing) -> None:
        if said.erased in {None, self._erased}:
            return
        data = self._link.get("/v1/erased", limit=_LARGEST_ERASED).body or b""
        try:
            keys = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise IonError("bad-standing", "the list of erased keys is not JSON") from error
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise IonError("bad-standing", "the list of erased keys is none")
        write_erased(erased_path(self._home), set(keys))
        self._erased = said.erased

    def _take_pointer(self, said: Standing) -> bool:
        envelope = said.pointer
        if envelope is None or digest_bytes(envelope) == self._complete:
            return True
        digest, step = digest_bytes(envelope), "trust"

        def at(name: str) -> None:
            nonlocal step
            step = name

        try:
            trust = self._trust_file.read(0)
            at("pointer")
            statement, following = self._verified(envelope, trust)
            at("node")
            if said.node != self._node or statement.address != self._node:
                raise _refused(f"the pointer is for {statement.address}")
            at("promotion")
            urgent = self._follows(following, trust, statement)
            if urgent:
                self._place(envelope, following)
            if statement.action not in _STOPS:
                self._bring(statement, trust, at)
            self._place(envelope, following)
        except IonError as error:
            if error.code in _TRANSPORT:
                raise
            return self._refuse(step, error.message, digest)
        self._complete = digest
        return True

    def _verified(self, envelope: bytes, trust: Trust) -> tuple[PromotionStatement, Acceptance]:
        root = trust.root("decision")
        answer = verify_promotion_by(envelope, root)
        if isinstance(answer, Unverified):
            raise _refused(answer.reason)
        statement, key_id = answer
        if not root.covers(key_id, now_us()):
            raise _refused("the key that signed it does not count any more")
        return statement, Acceptance.of(statement, digest_bytes(envelope))

    def _follows(self, following: Acceptance, trust: Trust, statement: PromotionStatement) -> bool:
        """Refuse what goes back behind the pointer that is here; say whether that must end before anything is read."""
        before = self._accepted
        with suppress(IonError, OSError):
            here = self._verified(read_pointer(self._path), trust)[1]
            before = here if before is None or here.serial >= before.serial else before
        conflict = before.conflict(following) if before else None
        if conflict:
            raise _refused(conflict)
        return statement.action in _STOPS or (before is not None and before.model in statement.revoked)

    def _bring(self, statement: PromotionStatement, trust: Trust, at: Callable[[str], None]) -> None:
        """Bring all that a promotion names; what is large comes last, after everything signed holds."""
        assert statement.model is not None  # noqa: S101 - a promotion that serves has both
        assert statement.decision is not None  # noqa: S101
        grounds = read_grounds(self._artifacts, statement.decision, at)
        upheld = uphold(grounds, trust, model=statement.model, node=self._node, at=at)
        if isinstance(upheld, Unverified):
            raise _refused(upheld.reason)
        at("manifest")
        manifest = self._artifacts.get_manifest(statement.model)
        if sum(entry.size for entry in manifest.entries) > MAX_MODEL_BYTES:
            raise _refused(f"the model is larger than {MAX_MODEL_BYTES} bytes")
        at("artifact")
        for entry in manifest.entries:
            self._artifacts.fetch(entry.sha256, entry.size)

    def _is_wanted(self) -> bool:
        """Say whether what is being brought still stands: a halt does not wait for a download."""
        return self._second.get(self._address("pointer"), limit=_LARGEST_ANSWER, tag=self._tag).body is None

    def _place(self, envelope: bytes, following: Acceptance) -> None:
        try:
            if envelope != self._present():
                write_pointer(self._path, envelope)
        except OSError as error:
            message = f"cannot write the pointer: {error.strerror}"
            raise IonError("home-unusable", message, "mend the permissions of the state folder") from error
        self._accepted = following

    def _present(self) -> bytes:
        try:
            return read_pointer(self._path)
        except (OSError, IonError):
            return b""

    def _address(self, what: str) -> str:
        return f"/v1/nodes/{self._node}/{what}"

    def _refuse(self, step: str, reason: str, digest: str) -> bool:
        """Tell a refusal once; False."""
        if (step, reason, digest) not in self._problems:
            told = f"not brought: {reason}"
            self._tell(AdmissionRefused(run=self._run, node=self._node, step=step, reason=told, pointer_digest=digest))
            self._problems.add((step, reason, digest))
        return False


def _refused(reason: str) -> IonError:
    return IonError("not-brought", reason)
