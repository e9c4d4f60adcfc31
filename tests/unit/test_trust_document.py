"""The trust document: what it must not say, what it must not become, and what does not count as one."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ion.canonical import canonical_bytes, digest_bytes
from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.envelope import Unverified, sign
from ion.evidence.keys import Signer
from ion.evidence.parsing import MAX_INTEGER
from ion.evidence.trust import (
    TRUST_TYPE,
    Person,
    Requirement,
    Trust,
    TrustDocument,
    TrustedKey,
    sign_trust,
    verify_trust,
)
from ion.evidence.trust_changes import (
    CLOCKS_US,
    OVERLAP_US,
    find_key,
    with_person,
    with_persons_key,
    with_requirement,
    with_revocation,
    with_service_key,
    without_person,
)
from ion.evidence.trust_root import TrustRoot, Window

if TYPE_CHECKING:
    from collections.abc import Callable


NOW = 1_800_000_000_000_000
NODE = "patient_tests/predictions"


def signer() -> Signer:
    return Signer.of(Ed25519PrivateKey.generate())


ROOT, DECISION, LEDGER, ANNA, BEN = (signer() for _ in range(5))


def key(of: Signer, **window: Any) -> TrustedKey:  # noqa: ANN401 - a window's fields
    return TrustedKey(of.public, Window(**window))


def document(**changes: Any) -> TrustDocument:  # noqa: ANN401 - a document's fields
    known = TrustDocument(
        version=3,
        issued=NOW,
        expires=NOW + 1_000_000,
        people=(
            Person("anna", "Anna Weber", ("submitter", "approver"), ("anna@example.org",), (key(ANNA),)),
            Person("ben", "Ben", ("approver",), (), (key(BEN, until=NOW + 500_000),)),
        ),
        services={"decision": (key(DECISION),), "ledger": (key(LEDGER),)},
        requirements=(Requirement(NODE, "approver", 2),),
    )
    return replace(known, **changes)


def read(envelope: bytes, root: Signer = ROOT, at: int = NOW) -> Trust | Unverified:
    return verify_trust(envelope, TrustRoot((root.public,)), at)


def refused(make: Callable[[], object], code: str = "bad-trust") -> str:
    with pytest.raises(IonError) as error:
        make()
    assert error.value.code == code
    return error.value.message


# Signed and read ------------------------------------------------------------------------------------


def test_what_the_root_signed_is_read_as_it_was() -> None:
    envelope = sign_trust(document(), ROOT)
    trust = read(envelope)
    assert isinstance(trust, Trust)
    assert trust.document == document()
    assert (trust.digest, trust.signed_by, trust.envelope) == (digest_bytes(envelope), ROOT.public.key_id, envelope)
    person = trust.person("ANNA@example.org")
    assert person is not None
    assert person.id == "anna"
    assert trust.person_of(BEN.public.key_id) == document().people[1]
    assert trust.person_of(DECISION.public.key_id) is None
    assert trust.root("decision").keys == (DECISION.public,)
    assert set(trust.people_root().keys) == {ANNA.public, BEN.public}
    assert trust.requirements(NODE) == (Requirement(NODE, "approver", 2),)
    assert trust.requirements("patient_tests/other") == ()


def test_another_root_or_a_key_the_document_names_itself_does_not_count() -> None:
    for other in (signer(), DECISION, ANNA):
        assert isinstance(read(sign_trust(document(), other)), Unverified)
    assert isinstance(read(sign_trust(document(), ROOT), root=DECISION), Unverified)


def test_it_counts_until_it_expires() -> None:
    envelope = sign_trust(document(), ROOT)
    assert isinstance(read(envelope, at=NOW + 999_999), Trust)
    expired = read(envelope, at=NOW + 1_000_000)
    assert isinstance(expired, Unverified)
    assert "expired" in expired.reason


def test_no_bit_of_it_can_be_flipped() -> None:
    envelope = sign_trust(document(), ROOT)
    taken = [
        (position, bit)
        for position in range(len(envelope))
        for bit in range(8)
        if isinstance(
            read(envelope[:position] + bytes([envelope[position] ^ 1 << bit]) + envelope[position + 1 :]), Trust
        )
    ]
    assert taken == []


def test_a_statement_of_another_type_under_the_root_is_no_trust_document() -> None:
    envelope = sign(document().to_payload(), "application/vnd.in-toto+json", ROOT)
    assert isinstance(read(envelope), Unverified)


def altered(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return an envelope of another payload, signed by the root all the same."""
    payload = deepcopy(json.loads(b64decode(json.loads(sign_trust(document(), ROOT))["payload"])))
    change(payload)
    return sign(payload, TRUST_TYPE, ROOT)


def spare_bits(payload: dict[str, Any]) -> None:
    """Write a key's base64 another way: the last digit's spare bits are set."""
    der = payload["people"][0]["keys"][0]["der"]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    payload["people"][0]["keys"][0]["der"] = der[:-2] + digits[digits.index(der[-2]) + 1] + "="


ALTERATIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "an unknown field": lambda p: p.update(extra=1),
    "an unknown field of a person": lambda p: p["people"][0].update(admin=True),
    "an unknown field of a key": lambda p: p["people"][0]["keys"][0].update(alg="none"),
    "an unknown field of a requirement": lambda p: p["requirements"][0].update(unless="urgent"),
    "another format": lambda p: p.update(format="ion-trust/2"),
    "a missing field": lambda p: p.pop("requirements"),
    "an unknown role": lambda p: p["people"][0].update(roles=["god"]),
    "roles out of order": lambda p: p["people"][0].update(roles=["approver", "submitter"]),
    "a role twice": lambda p: p["people"][1].update(roles=["approver", "approver"]),
    "an unknown service": lambda p: p["services"].update(pointer=[]),
    "a key of another kind": lambda p: p["people"][0]["keys"][0].update(der=b64encode(b"\x30\x00").decode()),
    "a key with a byte more": lambda p: p["people"][0]["keys"][0].update(
        der=b64encode(ANNA.public.der + b"\0").decode()
    ),
    "a window of text": lambda p: p["people"][0]["keys"][0].update(until="never"),
    "a negative time": lambda p: p["people"][0]["keys"][0].update(since=-1),
    "a truth value for a number": lambda p: p.update(version=True),
    "a fraction": lambda p: p.update(version=3.5),
    "version 0": lambda p: p.update(version=0),
    "an end before its beginning": lambda p: p.update(expires=p["issued"]),
    "a key of two people": lambda p: p["people"][1].update(keys=p["people"][0]["keys"]),
    "a key twice": lambda p: p["people"][0].update(keys=p["people"][0]["keys"] * 2),
    "a person with the decision key": lambda p: p["people"][0].update(keys=p["services"]["decision"]),
    "one key for two services": lambda p: p["services"].update(ledger=p["services"]["decision"]),
    "two people of one id": lambda p: p["people"][1].update(id="anna"),
    "an id that is another's alias": lambda p: p["people"][1].update(id="Anna@Example.org"),
    "a name as another, written wider": lambda p: p["people"][1].update(id="\uff41nna"),
    "a name as another, in one sign": lambda p: (
        p["people"][0].update(aliases=["tel"]) or p["people"][1].update(id="\u2121")
    ),
    "a name with a space at its end": lambda p: p["people"][1].update(id="anna "),
    "a name with something unseen in it": lambda p: p["people"][1].update(aliases=["an\u200bna"]),
    "an empty alias": lambda p: p["people"][1].update(aliases=[""]),
    "a name that no index takes": lambda p: p["people"][1].update(id="b" * 201),
    "a quorum of nobody": lambda p: p["requirements"][0].update(quorum=0),
    "a node that is none": lambda p: p["requirements"][0].update(node="predictions"),
    "people as one object": lambda p: p.update(people=p["people"][0]),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_not_even_the_root_signs(name: str) -> None:
    assert isinstance(read(altered(lambda _: None)), Trust)
    assert isinstance(read(altered(ALTERATIONS[name])), Unverified)


def test_base64_of_a_key_has_one_spelling() -> None:
    """Two spellings of one key would be two digests of one document; the envelope's form forbids neither."""
    der = ANNA.public.der
    assert len(der) % 3 == 2, "the last digit has spare bits"
    assert isinstance(read(altered(spare_bits)), Unverified)


def test_a_duplicate_field_is_refused() -> None:
    envelope = json.loads(sign_trust(document(), ROOT))
    payload = b64decode(envelope["payload"]).replace(b'"version":3', b'"version":3,"version":4')
    from securesystemslib.dsse import Envelope

    twice = Envelope(payload, TRUST_TYPE, {})
    twice.sign(ROOT.backend)
    assert isinstance(read(canonical_bytes(twice.to_dict())), Unverified)


def test_a_document_without_keys_of_a_service_or_of_people_gives_no_root() -> None:
    trust = read(sign_trust(document(people=(), services={}), ROOT))
    assert isinstance(trust, Trust)
    refused(lambda: trust.root("decision"), "trust-empty")
    refused(trust.people_root, "trust-empty")


# Changes ----------------------------------------------------------------------------------------------


def windows(changed: TrustDocument, owner: str) -> list[Window]:
    people = {person.id: person.keys for person in changed.people}
    return [each.window for each in people.get(owner) or changed.services[owner]]  # type: ignore[index]


def test_a_person_is_added_and_added_to() -> None:
    carla, second = signer(), signer()
    new = with_person(document(), "carla", name="Carla", roles=["approver"], aliases=["c"], key=carla.public, at=NOW)
    assert new.people[-1] == Person("carla", "Carla", ("approver",), ("c",), (key(carla, since=NOW - CLOCKS_US),))
    more = with_person(
        new, "carla", roles=["auditor", "admin"], aliases=["c", "d"], key=second.public, at=NOW, until=NOW + 9
    )
    person = more.people[-1]
    assert (person.name, person.roles, person.aliases) == ("Carla", ("admin", "auditor"), ("c", "d"))
    assert [each.window.until for each in person.keys] == [MAX_INTEGER, NOW + 9]
    assert more.people[:-1] == document().people
    refused(lambda: with_person(document(), "dora", key=signer().public, at=NOW))


def test_a_key_belongs_to_one_person_or_service() -> None:
    for taken in (ANNA, BEN, DECISION, LEDGER):
        give = partial(with_person, document(), "carla", name="Carla", key=taken.public, at=NOW)
        assert "already" in refused(give, "key-taken")
        refused(partial(with_service_key, document(), "decision", taken.public, NOW), "key-taken")
        refused(partial(with_persons_key, document(), ANNA.public.key_id, taken.public, NOW), "key-taken")


def test_a_removed_person_is_gone_with_all_keys() -> None:
    gone = without_person(document(), "anna")
    assert [person.id for person in gone.people] == ["ben"]
    refused(lambda: find_key(gone, ANNA.public.key_id), "unknown-key")
    refused(lambda: without_person(document(), "Anna"), "unknown-person")


def test_a_node_asks_what_was_asked_last() -> None:
    asked = with_requirement(document(), NODE, "approver", 3)
    assert asked.requirements == (Requirement(NODE, "approver", 3),)
    both = with_requirement(asked, NODE, "admin", 1)
    assert [(each.role, each.quorum) for each in both.requirements] == [("admin", 1), ("approver", 3)]
    assert with_requirement(document(), NODE, "approver", 0).requirements == ()
    refused(lambda: with_requirement(document(), "nowhere", "approver", 1), "bad-node")


def test_a_new_service_key_ends_the_old_ones_after_a_minute_and_what_they_signed_stays_valid() -> None:
    new = signer()
    changed = with_service_key(document(), "decision", new.public, NOW)
    old, fresh = windows(changed, "decision")
    assert old.covers(NOW - 10**9)
    assert old.covers(NOW + OVERLAP_US - 1)
    assert not old.covers(NOW + OVERLAP_US)
    assert fresh.covers(NOW)
    assert not fresh.covers(NOW - CLOCKS_US - 1)
    again = with_service_key(changed, "decision", signer().public, NOW + 10 * OVERLAP_US)
    assert windows(again, "decision")[0] == old, "an end that has passed is not moved"
    assert changed.services["ledger"] == document().services["ledger"]


def test_a_persons_new_key_ends_the_old_one_and_ends_when_that_one_would_have() -> None:
    new = signer()
    changed = with_persons_key(document(), BEN.public.key_id, new.public, NOW)
    old, fresh = windows(changed, "ben")
    assert (old.until, fresh.until) == (NOW + 1, NOW + 500_000)
    assert old.covers(NOW)
    refused(lambda: with_persons_key(changed, BEN.public.key_id, signer().public, NOW + 5), "key-ended")
    refused(lambda: with_persons_key(document(), DECISION.public.key_id, signer().public, NOW), "unknown-key")


def test_a_revocation_is_never_taken_back_only_moved_to_an_earlier_time() -> None:
    revoked = with_revocation(document(), ANNA.public.key_id, NOW)
    (window,) = windows(revoked, "anna")
    assert window.covers(NOW - 1)
    assert not window.covers(NOW)
    for since in (NOW, NOW + 5, MAX_INTEGER):
        refused(partial(with_revocation, revoked, ANNA.public.key_id, since), "already-revoked")
    (earlier,) = windows(with_revocation(revoked, ANNA.public.key_id, 0), "anna")
    assert not earlier.covers(0)
    assert windows(with_revocation(document(), DECISION.public.key_id, NOW), "decision")[0].revoked == NOW


def test_a_new_key_does_not_revive_a_revoked_one() -> None:
    revoked = with_revocation(document(), DECISION.public.key_id, NOW - 1)
    old, _ = windows(with_service_key(revoked, "decision", signer().public, NOW), "decision")
    assert not old.covers(NOW)


def test_a_key_is_found_by_eight_digits_of_its_id_and_by_fewer_not() -> None:
    digits = ANNA.public.key_id.removeprefix("sha256:")
    for text in (ANNA.public.key_id, digits, digits[:8]):
        assert find_key(document(), text)[0] == "anna"
    assert find_key(document(), DECISION.public.key_id)[0] == "decision"
    for text in (digits[:7], "", "sha256:", digits[1:20]):
        refused(partial(find_key, document(), text), "unknown-key")


def test_no_change_alters_the_document_it_starts_from() -> None:
    before = document()
    with_person(before, "anna", name="Other", roles=["admin"], key=signer().public, at=now_us())
    with_service_key(before, "decision", signer().public, NOW)
    with_revocation(before, BEN.public.key_id, 0)
    assert before == document()
