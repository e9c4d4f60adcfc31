"""The trust document as a file that changes: one change at a time, each a version higher, whole or not at all."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.envelope import MAX_ENVELOPE, Unverified
from ion.evidence.files import read_regular, write_atomic
from ion.evidence.public_keys import load_public, write_public
from ion.evidence.trust import sign_trust, verify_trust
from ion.evidence.trust_root import TrustRoot
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ion.evidence.keys import Signer
    from ion.evidence.public_keys import PublicKey
    from ion.evidence.trust import Trust
    from ion.evidence.trust_document import TrustDocument
    from ion.home import Home

DAY_US = 86_400_000_000
TRUST_DAYS = 3650
"""How long a first trust document holds. Whoever keeps the root offline signs shorter ones."""


@dataclass(frozen=True, slots=True)
class TrustPlace:
    """Where a trust document is, and the public root key it is checked with.

    Args:
        document: the file.
        root: PEM of the root's public key.
        pinned: the root is named from outside (``ION_TRUST_ROOT``) and is not written here.
    """

    document: Path
    root: Path
    pinned: bool = False

    @classmethod
    def of(cls, home: Home) -> TrustPlace:
        """Return where a deployment has it."""
        own = home.trust_document.parent / "root.pub.pem"
        return cls(home.trust_document, home.root_public, pinned=home.root_public != own)

    def read(self, root: PublicKey | None = None) -> Trust:
        """Return the document, whether or not it has expired: its root may sign the next one.

        Raises:
            IonError: ``trust-missing``, ``trust-unverified``, ``key-missing`` or ``bad-key``.
        """
        try:
            envelope = read_regular(self.document, MAX_ENVELOPE)
        except OSError as error:
            hint = "`ion trust init` makes one"
            raise IonError("trust-missing", f"cannot read {self.document}: {error.strerror}", hint) from error
        return believed(envelope, root or load_public(self.root))

    def sign(
        self, signer: Signer, change: Callable[[TrustDocument], TrustDocument], *, days: int | None = None
    ) -> Trust:
        """Replace the document by what ``change`` makes of it, a version higher, signed by the same root.

        Args:
            signer: the root key.
            change: from the document to the next.
            days: how long it is to hold from now on; by default as long as the one before.

        Raises:
            IonError: ``wrong-root``, ``trust-expired`` without ``days``, ``trust-unwritable``, what ``change`` raises,
                and as `read`.
        """
        with self._alone():
            if self.root.exists() and load_public(self.root) != signer.public:
                hint = "--root-key names another; `ion trust init --root-key` changes the root"
                raise IonError("wrong-root", f"this key is not the root that {self.document.name} is under", hint)
            before = self.read(signer.public).document
            return self._write(next_version(change(before), before, days), signer)

    def found(self, document: TrustDocument, signer: Signer) -> Trust:
        """Write a first document and its root.

        Raises:
            IonError: ``trust-exists``, ``wrong-root``.
        """
        with self._alone():
            if self.document.exists():
                raise IonError("trust-exists", f"there is a trust document at {self.document}")
            self._is_pinned(signer.public)
            trust = self._write(document, signer)
            self._pin(signer.public)  # last: `founded_trust` can finish this half, and nothing else
            return trust

    def change_root(self, signer: Signer, *, days: int) -> Trust:
        """Put the document under another root: a version higher, the rest as it is.

        Raises:
            IonError: ``wrong-root`` when the root is pinned elsewhere, and as `read`.
        """
        with self._alone():
            before = self.read().document
            self._is_pinned(signer.public)
            trust = _verified(sign_trust(next_version(before, before, days), signer), signer.public)
            self._pin(signer.public)  # in between readers find no trust, and deny
            self._put(trust.envelope)
            return trust

    def install(self, envelope: bytes, root: PublicKey | None = None) -> Trust:
        """Take a document that was signed elsewhere.

        Args:
            envelope: its bytes.
            root: the root it is under, when that is to be another one from now on, or none is here yet.

        Raises:
            IonError: ``trust-unverified``, ``trust-older`` unless its version is higher, ``wrong-root``,
                ``key-missing`` where no root is here and none is given.
        """
        with self._alone():
            trust = _verified(envelope, root or load_public(self.root))
            present = self._version()
            if trust.document.version <= present:
                message = f"version {trust.document.version} does not follow version {present}, which is in force"
                raise IonError("trust-older", message, "have the root sign a newer one")
            if root is not None:
                self._pin(root)
            self._put(envelope)
            return trust

    def _version(self) -> int:
        """Return the version in force; 0 when the document here is none that its root signed."""
        try:
            return self.read().document.version
        except IonError as error:
            if error.code in {"trust-missing", "trust-unverified", "key-missing"}:
                return 0
            raise

    def _write(self, document: TrustDocument, signer: Signer) -> Trust:
        trust = _verified(sign_trust(document, signer), signer.public)
        self._put(trust.envelope)
        return trust

    def _put(self, envelope: bytes) -> None:
        try:
            write_atomic(self.document, envelope)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> IonError:
        hint = "only who may write the deployment's trust/ changes it; a copy elsewhere: --trust FILE"
        return IonError("trust-unwritable", f"cannot write {self.document}: {error.strerror}", hint)

    def _pin(self, root: PublicKey) -> None:
        if self._is_pinned(root):
            return
        try:
            write_public(self.root, root)
        except OSError as error:
            raise self._unwritable(error) from error

    def _is_pinned(self, root: PublicKey) -> bool:
        """Say whether the root is this one already.

        Raises:
            IonError: ``wrong-root`` when it is not, and not ours to change.
        """
        if self.root.exists() and load_public(self.root) == root:
            return True
        if self.pinned:
            hint = f"put the new root's public key at {self.root} first, then `ion trust install`"
            raise IonError("wrong-root", "the root is pinned by ION_TRUST_ROOT, and it is not this key", hint)
        return False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock: two changes at once would sign the same version twice."""
        try:
            self.document.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.document.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def believed(envelope: bytes, root: PublicKey, at: int = 0) -> Trust:
    """Return the document under this root; ``at`` 0 takes an expired one, too.

    Raises:
        IonError: ``trust-unverified``.
    """
    trust = verify_trust(envelope, TrustRoot((root,)), at)
    if isinstance(trust, Unverified):
        hint = "it must be under the root key that is pinned here; ask whoever holds it"
        raise IonError("trust-unverified", f"the trust document is not to be believed: {trust.reason}", hint)
    return trust


def next_version(document: TrustDocument, before: TrustDocument, days: int | None) -> TrustDocument:
    """Return ``document`` as the version after ``before``, issued now.

    Raises:
        IonError: ``trust-expired`` when it would have expired and ``days`` says nothing else.
    """
    now = max(now_us(), before.issued)
    if days is None and now >= before.expires:
        raise IonError("trust-expired", "the trust document has expired", "say with --days how long the next one holds")
    expires = before.expires if days is None else now + days * DAY_US
    return replace(document, version=before.version + 1, issued=now, expires=expires)


def _verified(envelope: bytes, root: PublicKey) -> Trust:
    return believed(envelope, root, now_us())
