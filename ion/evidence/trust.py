"""Whose signatures count: keys with their times, people with their roles, signed by an offline root.

The trust document (``trust.json``) is a DSSE envelope under the root key. It names the people and the
services that sign, and what a node asks of people whatever a decision says. Format: docs/spec/trust.md.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.envelope import MAX_ENVELOPE, Unverified, sign, verify
from ion.evidence.files import read_regular
from ion.evidence.public_keys import load_public
from ion.evidence.trust_document import (
    FORMAT,
    ROLES,
    SERVICES,
    Person,
    Requirement,
    Role,
    Service,
    TrustDocument,
    TrustedKey,
    identity,
)
from ion.evidence.trust_root import TrustRoot
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ion.evidence.keys import Signer
    from ion.evidence.public_keys import PublicKey
    from ion.home import Home

__all__ = [
    "FORMAT",
    "ROLES",
    "SERVICES",
    "TRUST_TYPE",
    "Person",
    "Requirement",
    "Role",
    "Service",
    "Trust",
    "TrustDocument",
    "TrustFile",
    "TrustedKey",
    "identity",
    "load_trust",
    "sign_trust",
    "trust_file",
    "verify_trust",
]

TRUST_TYPE = "application/vnd.dagster-ion.trust+json"


@dataclass(frozen=True, slots=True)
class Trust:
    """A trust document under a verified root signature.

    Args:
        document: what the root signed.
        digest: of the envelope's bytes.
        signed_by: id of the root key.
        envelope: the bytes themselves.
    """

    document: TrustDocument
    digest: str
    signed_by: str = ""
    envelope: bytes = field(default=b"", repr=False)

    def root(self, service: Service) -> TrustRoot:
        """Return the keys of a service with their times.

        Raises:
            IonError: ``trust-empty`` when it has none.
        """
        return _root(self.document.services.get(service, ()))

    def lets_sign(self, service: Service, public: PublicKey, at: int) -> bool:
        """Say whether what ``public`` signs ``at`` (µs UTC) counts as the service's."""
        keys = self.document.services.get(service, ())
        return any(key.public == public and key.window.covers(at) for key in keys)

    def people_root(self) -> TrustRoot:
        """Return the keys of all people with their times.

        Raises:
            IonError: ``trust-empty`` when nobody has one.
        """
        return _root(key for person in self.document.people for key in person.keys)

    def person_of(self, key_id: str) -> Person | None:
        """Return whose key it is; None for a key of nobody."""
        for person in self.document.people:
            if any(key.public.key_id == key_id for key in person.keys):
                return person
        return None

    def person(self, name: str) -> Person | None:
        """Return the person of this id or alias."""
        return next((person for person in self.document.people if identity(name) in person.identities), None)

    def requirements(self, node: str) -> tuple[Requirement, ...]:
        """Return what ``ion/node`` asks of people."""
        return tuple(item for item in self.document.requirements if item.node == node)


def sign_trust(document: TrustDocument, root: Signer) -> bytes:
    """Return the document's envelope, signed by the root.

    Raises:
        IonError: ``bad-envelope`` when it would be larger than 1 MiB.
    """
    return sign(document.to_payload(), TRUST_TYPE, root)


def verify_trust(envelope: bytes, root: TrustRoot, now: int) -> Trust | Unverified:
    """Return the trust document the root signed, else why there is none. ``now`` is microseconds UTC."""
    answer = verify(envelope, root, TRUST_TYPE)
    if isinstance(answer, Unverified):
        return answer
    try:
        document = TrustDocument.from_payload(answer.payload)
    except IonError as error:
        return Unverified(error.message)
    if now >= document.expires:
        return Unverified("the trust document has expired")
    return Trust(document, answer.digest, answer.key_id, envelope)


class TrustFile:
    """The trust document as a file, beside the public root key that must have signed it.

    Args:
        path: ``trust.json``.
        root: PEM file of the root's public key.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root
        self._read: tuple[bytes, PublicKey, Trust] | None = None

    def read(self, now: int | None = None) -> Trust:
        """Return the document as it is now; verified again only when it changed.

        Raises:
            IonError: ``trust-missing``, ``trust-unverified`` (also when expired), ``trust-older`` for a lower version
                than this object has seen, ``bad-key``, ``not-a-file`` or ``file-too-large``.
        """
        at = now_us() if now is None else now
        envelope, root = self._bytes(), load_public(self._root)
        before = self._read
        if before is None or before[:2] != (envelope, root):
            trust = verify_trust(envelope, TrustRoot((root,)), at)
            if isinstance(trust, Unverified):
                hint = "`ion trust show` says more; ask whoever holds the root key"
                raise IonError("trust-unverified", f"trust.json is not to be believed: {trust.reason}", hint)
            if before is not None and trust.document.version < before[2].document.version:
                seen = before[2].document.version
                raise IonError("trust-older", f"trust.json went back from version {seen} to {trust.document.version}")
            before = envelope, root, trust
            self._read = before
        if at >= before[2].document.expires:
            raise IonError("trust-unverified", "the trust document has expired", "have the root sign a newer one")
        return before[2]

    def _bytes(self) -> bytes:
        try:
            return read_regular(self._path, MAX_ENVELOPE)
        except OSError as error:
            hint = "it is made when governance first starts, or by `ion trust init`"
            raise IonError("trust-missing", f"cannot read trust.json: {error.strerror}", hint) from error


def trust_file(home: Home) -> TrustFile:
    """Return the trust file of a deployment."""
    return TrustFile(home.trust_document, home.root_public)


def load_trust(home: Home) -> Trust:
    """Return the trust document of a deployment.

    Raises:
        IonError: as `TrustFile.read`.
    """
    return trust_file(home).read()


def _root(keys: Iterable[TrustedKey]) -> TrustRoot:
    listed = tuple(keys)
    return TrustRoot(tuple(key.public for key in listed), {key.public.key_id: key.window for key in listed})
