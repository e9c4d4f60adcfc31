"""What the root signs: people with their roles and keys, the keys of services, what nodes ask of people.

Values only; `ion.evidence.trust` signs and verifies them. Format: docs/spec/trust.md.
"""

from __future__ import annotations

import unicodedata
from base64 import b64decode, b64encode
from dataclasses import field
from typing import TYPE_CHECKING, Literal, get_args

from ion.errors import IonError
from ion.evidence.parsing import MAX_INTEGER, Fields
from ion.evidence.public_keys import PublicKey
from ion.evidence.trust_root import Window
from ion.ids import checked_node
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "ion-trust/1"
MAX_NAME = 200
"""Characters of a person's id or alias: facts are found by it."""
_CODE = "bad-trust"

Role = Literal["reader", "submitter", "approver", "admin", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)
Service = Literal["decision", "ledger"]
SERVICES: tuple[Service, ...] = get_args(Service)


def identity(name: str) -> str:
    """Return a name as names are compared: no difference of case, width or composition hides who somebody is."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


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
        """Every name of this person, as `identity` has them."""
        return frozenset(identity(name) for name in (self.id, *self.aliases))

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
            IonError: ``bad-trust``.
        """
        fields = Fields.of(value, "requirement", _CODE)
        found = cls(fields.text("node"), fields.choice("role", ROLES), fields.integer("quorum"))
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
            _check(bool(person.name.strip()), "a person has no name")
            for name in (person.id, *person.aliases):
                plain = name == name.strip() and name.isprintable() and 0 < len(name) <= MAX_NAME
                _check(plain, f"a name that cannot be told from another: {name!r:.50}")
            known += [key.public.key_id for key in person.keys]
        for keys in self.services.values():
            known += [key.public.key_id for key in keys]
        _check(len(set(known)) == len(known), "a key is listed twice: a key belongs to one person or service")
        taken = [name for person in self.people for name in person.identities]
        _check(len(set(taken)) == len(taken), "two people go by the same name")
        for requirement in self.requirements:
            checked_node(requirement.node)
            _check(requirement.quorum > 0, "a requirement asks for nobody")
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
        """Parse exactly what `to_payload` makes.

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
        _check(document.to_payload() == payload, "it is not in the one form it is signed in")
        return document


def _check(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise IonError(_CODE, f"trust document: {message}")
