"""Whose signatures count: keys with their times, people with their roles, signed by an offline root.

The trust document (``trust.json``) is a DSSE envelope under the root key. It names the people and the
services that sign, and what a node asks of people whatever a decision says. Format: docs/spec/trust.md.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.envelope import MAX_ENVELOPE, Unverified, sign, verify
from ion.evidence.files import read_regular
from ion.evidence.keys import PublicKey, load_public
from ion.evidence.parsing import MAX_INTEGER, Fields
from ion.evidence.trust_root import TrustRoot, Window
from ion.ids import checked_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ion.evidence.keys import Signer
    from ion.home import Home

TRUST_TYPE = "application/vnd.dagster-ion.trust+json"
FORMAT = "ion-trust/1"
_CODE = "bad-trust"

Role = Literal["reader", "submitter", "approver", "admin", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)
Service = Literal["decision", "ledger"]
SERVICES: tuple[Service, ...] = get_args(Service)


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and when its signatures count."""

    public: PublicKey
    window: Window

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        window = self.window
        der = b64encode(self.public.der).decode()
        return {"der": der, "revoked": window.revoked, "since": window.since, "until": window.until}

    @classmethod
    def parse(cls, value: object) -> TrustedKey:
        """Parse what `to_json` made.

        Raises:
            IonError: ``bad-trust`` or ``bad-key``.
        """
        fields = Fields.of(value, "trusted key", _CODE)
        try:
            der = b64decode(fields.text("der"), validate=True)
        except ValueError as error:
            raise fields.fail("field 'der' is not base64") from error
        revoked = None if fields.take("revoked") is None else fields.integer("revoked")
        key = cls(PublicKey(der), Window(fields.integer("since"), fields.integer("until"), revoked))
        fields.done()
        return key


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signs.

    Args:
        id: how facts and statements name this person.
        name: for people to read.
        roles: what the person may do.
        aliases: other names the same person goes by (an e-mail address, a user name): whoever submitted a
            model under one of them does not approve it.
        keys: the person's own.
    """

    id: str
    name: str
    roles: tuple[Role, ...]
    aliases: tuple[str, ...]
    keys: tuple[TrustedKey, ...]

    @property
    def identities(self) -> frozenset[str]:
        """Every name of this person, in lower case."""
        return frozenset(name.lower() for name in (self.id, *self.aliases))

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "aliases": list(self.aliases),
            "id": self.id,
            "keys": [key.to_json() for key in self.keys],
            "name": self.name,
            "roles": list(self.roles),
        }

    @classmethod
    def parse(cls, value: object) -> Person:
        """Parse what `to_json` made.

        Raises:
            IonError: ``bad-trust`` or ``bad-key``.
        """
        fields = Fields.of(value, "person", _CODE)
        roles = tuple(role for role in ROLES if role in fields.texts("roles"))
        if len(roles) != len(fields.texts("roles")):
            raise fields.fail(f"its roles are not among {', '.join(ROLES)}, each once and in this order")
        person = cls(
            id=fields.text("id"),
            name=fields.text("name"),
            roles=roles,
            aliases=fields.texts("aliases"),
            keys=tuple(TrustedKey.parse(item) for item in fields.items("keys")),
        )
        fields.done()
        return person


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a node asks of people, whatever the policy set of a decision asks."""

    node: str
    role: Role
    quorum: int

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"node": self.node, "quorum": self.quorum, "role": self.role}

    @classmethod
    def parse(cls, value: object) -> Requirement:
        """Parse what `to_json` made.

        Raises:
            IonError: ``bad-trust`` or ``bad-node``.
        """
        fields = Fields.of(value, "requirement", _CODE)
        found = cls(checked_node(fields.text("node")), fields.choice("role", ROLES), fields.integer("quorum"))
        fields.done()
        return found


@dataclass(frozen=True, slots=True)
class TrustDocument:
    """What the root signs. Times are microseconds UTC.

    Args:
        version: rises by one with every change; nobody goes back to a lower one.
        issued: when it was signed.
        expires: from when on it must have been replaced.
        people: those who sign.
        services: the keys of governance itself: ``decision`` signs decisions, promotions and provenance,
            ``ledger`` signs checkpoints.
        models: public keys (PEM, EC P-256) of model signatures.
        requirements: minimum approvals by people, by node.

    Raises:
        IonError: ``bad-trust`` when it contradicts itself; a key belongs to one person or service only.
    """

    version: int
    issued: int
    expires: int
    people: tuple[Person, ...] = ()
    services: Mapping[Service, tuple[TrustedKey, ...]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could be read in two ways."""
        names = [person.id for person in self.people]
        _check(len(set(names)) == len(names), "two people have the same id")
        known: list[str] = []
        for person in self.people:
            _check(bool(person.id.strip() and person.name.strip()), "a person has no id or no name")
            known += [key.public.key_id for key in person.keys]
        for keys in self.services.values():
            known += [key.public.key_id for key in keys]
        _check(len(set(known)) == len(known), "a key is listed twice: a key belongs to one person or service")
        taken = [name for person in self.people for name in person.identities]
        _check(len(set(taken)) == len(taken), "two people go by the same name")
        _check(all(r.quorum > 0 for r in self.requirements), "a requirement asks for nobody")
        _check(0 < self.version <= MAX_INTEGER, "versions start at 1")
        _check(0 <= self.issued < self.expires <= MAX_INTEGER, "it expires before it was issued")

    def to_payload(self) -> dict[str, object]:
        """Return the signed JSON values."""
        return {
            "expires": self.expires,
            "format": FORMAT,
            "issued": self.issued,
            "models": list(self.models),
            "people": [person.to_json() for person in self.people],
            "requirements": [requirement.to_json() for requirement in self.requirements],
            "services": {name: [key.to_json() for key in keys] for name, keys in self.services.items()},
            "version": self.version,
        }

    @classmethod
    def from_payload(cls, payload: dict[str, object]) -> TrustDocument:
        """Parse what `to_payload` made.

        Raises:
            IonError: ``bad-trust``, ``bad-key`` or ``bad-node``.
        """
        fields = Fields.of(payload, "trust document", _CODE)
        fields.literal("format", FORMAT)
        listed = fields.inner("services")
        services = {
            name: tuple(TrustedKey.parse(item) for item in listed.items(name))
            for name in SERVICES
            if name in listed.values
        }
        listed.done()
        document = cls(
            version=fields.integer("version"),
            issued=fields.integer("issued"),
            expires=fields.integer("expires"),
            people=tuple(Person.parse(item) for item in fields.items("people")),
            services=services,
            models=fields.texts("models"),
            requirements=tuple(Requirement.parse(item) for item in fields.items("requirements")),
        )
        fields.done()
        return document


@dataclass(frozen=True, slots=True)
class Trust:
    """A trust document under a verified root signature; ``digest`` is that of the envelope's bytes."""

    document: TrustDocument
    digest: str

    def root(self, service: Service) -> TrustRoot:
        """Return the keys of a service with their times.

        Raises:
            IonError: ``trust-empty`` when it has none.
        """
        return _root(self.document.services.get(service, ()))

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
        return next((person for person in self.document.people if name.lower() in person.identities), None)

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
    return Trust(document, answer.digest)


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


def _check(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise IonError(_CODE, f"trust document: {message}")
