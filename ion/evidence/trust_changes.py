"""Changes of a trust document, each a function from one to the next; who signs the result is not said here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.parsing import MAX_INTEGER
from ion.evidence.trust_document import ROLES, SERVICES, Person, Requirement, TrustedKey
from ion.evidence.trust_root import Window

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ion.evidence.public_keys import PublicKey
    from ion.evidence.trust_document import Role, Service, TrustDocument

CLOCKS_US = 60_000_000
"""How far clocks may be apart: a new key counts from this much before it was named."""
OVERLAP_US = 60_000_000
"""How long a replaced key of a service still counts: what is being signed at this moment stays valid."""


def with_person(
    document: TrustDocument,
    person: str,
    *,
    name: str = "",
    roles: Collection[Role] = (),
    aliases: Collection[str] = (),
    key: PublicKey | None = None,
    at: int,
    until: int = MAX_INTEGER,
) -> TrustDocument:
    """Add a person, or to a known person what is given: roles replace those before, aliases and a key are added.

    Raises:
        IonError: ``key-taken`` when the key is somebody's already, ``bad-trust`` for a new person without a name.
    """
    before = _person(document, person)
    known = before or Person(person, name, (), (), ())
    changed = replace(
        known,
        name=name or known.name,
        roles=tuple(role for role in ROLES if role in roles) if roles else known.roles,
        aliases=tuple(dict.fromkeys((*known.aliases, *aliases))),
        keys=(*known.keys, *_new_key(document, key, at, until)),
    )
    return replace(document, people=_swapped(document.people, before, changed))


def without_person(document: TrustDocument, person: str) -> TrustDocument:
    """Remove a person with all keys: nothing this person ever signed counts any more.

    Raises:
        IonError: ``unknown-person``.
    """
    gone = _known_person(document, person)
    return replace(document, people=tuple(each for each in document.people if each is not gone))


def with_requirement(document: TrustDocument, node: str, role: Role, quorum: int) -> TrustDocument:
    """Ask ``quorum`` people in a role for every model of ``ion/node``; 0 asks for none any more.

    Raises:
        IonError: ``bad-node``.
    """
    others = tuple(item for item in document.requirements if (item.node, item.role) != (node, role))
    asked = (Requirement(node, role, quorum),) if quorum else ()
    return replace(document, requirements=tuple(sorted((*others, *asked), key=lambda each: (each.node, each.role))))


def with_service_key(document: TrustDocument, service: Service, key: PublicKey, at: int) -> TrustDocument:
    """Let a service sign with a new key; the ones before count for `OVERLAP_US` more, what they signed stays valid.

    Raises:
        IonError: ``key-taken``.
    """
    closed = _closed(document.services.get(service, ()), at + OVERLAP_US)
    added = _new_key(document, key, at, MAX_INTEGER)
    return replace(document, services={**document.services, service: (*closed, *added)})


def with_persons_key(document: TrustDocument, old_key_id: str, key: PublicKey, at: int) -> TrustDocument:
    """Let a person sign with a new key instead of the one named, as long as that one would have counted.

    What the old key signed stays valid.

    Raises:
        IonError: ``key-taken``, ``key-ended`` when the old one counts no more, ``unknown-key`` when it is no person's.
    """
    for person in document.people:
        for old in [each for each in person.keys if each.public.key_id == old_key_id]:
            if not old.window.covers(at):
                hint = "`ion trust add` gives the person another"
                raise IonError("key-ended", f"the key {old_key_id} of {person.id} counts no more", hint)
            kept = [each for each in person.keys if each is not old]
            added = _new_key(document, key, at, old.window.until)
            changed = replace(person, keys=(*kept, *_closed([old], at + 1), *added))
            return replace(document, people=_swapped(document.people, person, changed))
    raise IonError("unknown-key", f"the trust document names nobody with the key {old_key_id}", "`ion trust show`")


def with_revocation(document: TrustDocument, key_id: str, since: int) -> TrustDocument:
    """Believe no signature of a key from ``since`` on (µs UTC); 0 says that none was ever to be believed.

    A revocation is never taken back or moved later.

    Raises:
        IonError: ``unknown-key``, ``already-revoked``.
    """
    owner, key = find_key(document, key_id)
    if key.window.revoked is not None and key.window.revoked <= since:
        raise IonError("already-revoked", f"the key {key_id} of {owner} is revoked from an earlier time on")
    revoked = TrustedKey(key.public, replace(key.window, revoked=since))
    return replace(
        document,
        people=tuple(replace(each, keys=_exchanged(each.keys, key, revoked)) for each in document.people),
        services={name: _exchanged(keys, key, revoked) for name, keys in document.services.items()},
    )


def find_key(document: TrustDocument, text: str) -> tuple[str, TrustedKey]:
    """Return (whose, key) of a key id or its first eight hexadecimal digits or more.

    Raises:
        IonError: ``unknown-key``, also when several begin so.
    """
    wanted = text.removeprefix("sha256:")
    found = [
        (owner, key)
        for owner, keys in owners(document)
        for key in keys
        if len(wanted) >= 8 and key.public.key_id.removeprefix("sha256:").startswith(wanted)  # noqa: PLR2004 - as said
    ]
    if len(found) != 1:
        reason = "none" if not found else "more than one"
        raise IonError("unknown-key", f"{reason} of the trusted keys is {text!r}", "`ion trust show` lists their ids")
    return found[0]


def owners(document: TrustDocument) -> list[tuple[str, tuple[TrustedKey, ...]]]:
    """Return who has which keys: the services by their names, then the people by their ids."""
    services = [(str(name), document.services.get(name, ())) for name in SERVICES]
    return [*services, *((person.id, person.keys) for person in document.people)]


def _new_key(document: TrustDocument, key: PublicKey | None, at: int, until: int) -> tuple[TrustedKey, ...]:
    if key is None:
        return ()
    for owner, keys in owners(document):
        if any(each.public == key for each in keys):
            hint = "a key belongs to one person or service; make another with `ion keys new`"
            raise IonError("key-taken", f"the key {key.key_id} is {owner}'s already", hint)
    return (TrustedKey(key, Window(since=max(0, at - CLOCKS_US), until=until)),)


def _closed(keys: Iterable[TrustedKey], until: int) -> tuple[TrustedKey, ...]:
    return tuple(
        TrustedKey(key.public, replace(key.window, until=max(key.window.since, min(key.window.until, until))))
        for key in keys
    )


def _exchanged(keys: tuple[TrustedKey, ...], old: TrustedKey, new: TrustedKey) -> tuple[TrustedKey, ...]:
    return tuple(new if key == old else key for key in keys)


def _swapped(people: tuple[Person, ...], before: Person | None, after: Person) -> tuple[Person, ...]:
    return (*people, after) if before is None else tuple(after if each is before else each for each in people)


def _person(document: TrustDocument, person: str) -> Person | None:
    return next((each for each in document.people if each.id == person), None)


def _known_person(document: TrustDocument, person: str) -> Person:
    found = _person(document, person)
    if found is None:
        known = ", ".join(each.id for each in document.people) or "nobody"
        raise IonError("unknown-person", f"the trust document does not know {person!r}", f"it knows {known}")
    return found
