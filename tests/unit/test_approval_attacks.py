"""What somebody might try to pass off as a person's word. It is never counted."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ion.canonical import canonical_bytes
from ion.errors import IonError
from ion.evidence.approvals import APPROVAL_TYPE, ApprovalStatement, Given, sign_approval, verify_approval
from ion.evidence.envelope import Unverified, sign
from ion.evidence.in_toto import PAYLOAD_TYPE
from ion.evidence.keys import Signer
from ion.evidence.quorum import MAX_AHEAD_US, ApprovalRule, Standing, standing
from ion.evidence.trust import Person, Trust, TrustDocument, TrustedKey
from ion.evidence.trust_root import Window

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400_000_000
NOW = 1_800_000_000_000_000
MODEL, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
NODE = "ward/scores"
RULE = ApprovalRule("approver", 2)


def signer(number: int) -> Signer:
    return Signer.of(Ed25519PrivateKey.from_private_bytes(number.to_bytes(32)))


ANNA, NEWER, BEN, RITA, DECISION, EVE = (signer(number) for number in range(1, 7))


def key(of: Signer, **window: Any) -> TrustedKey:  # noqa: ANN401 - a window's fields
    return TrustedKey(of.public, Window(**window))


PEOPLE = (
    Person("anna", "Anna", ("approver",), ("anna@ward.example",), (key(ANNA), key(NEWER))),
    Person("ben", "Ben", ("approver", "admin"), (), (key(BEN),)),
    Person("rita", "Rita", ("reader", "auditor"), (), (key(RITA),)),
)


def trust(*people: Person) -> Trust:
    document = TrustDocument(1, NOW - DAY, NOW + 1000 * DAY, people or PEOPLE, {"decision": (key(DECISION),)})
    return Trust(document, MODEL)


def statement(person: str, **changes: object) -> ApprovalStatement:
    said = ApprovalStatement(
        id=f"of-{person.partition('@')[0]}",
        ion="ward",
        node="scores",
        model=MODEL,
        person=person,
        word="approve",
        reason="it was tried",
        issued=NOW - 1000,
        until=NOW + 90 * DAY,
    )
    return replace(said, **changes)  # type: ignore[arg-type]


def said(person: str, by: Signer, **changes: object) -> bytes:
    return sign_approval(statement(person, **changes), by)


def counted(*envelopes: bytes, by: Trust | None = None, submitters: tuple[str, ...] = ("carol",)) -> Standing:
    """Count as the policy, the gate and the audit do."""
    people = by or trust()
    given = [answer for each in envelopes if isinstance(answer := verify_approval(each, people), Given)]
    return standing(given, people, RULE, model=MODEL, node=NODE, at=NOW, submitters=submitters)


BOTH = (said("anna", ANNA), said("ben", BEN))


def without(person: str) -> tuple[Person, ...]:
    return tuple(each for each in PEOPLE if each.id != person)


def windowed(**window: object) -> tuple[Person, ...]:
    return (PEOPLE[0], replace(PEOPLE[1], keys=(key(BEN, **window),)), PEOPLE[2])


def test_two_people_with_two_keys_are_two_people() -> None:
    assert counted(*BOTH).met


ATTEMPTS: dict[str, Callable[[], Standing]] = {
    "nobody": counted,
    "one person": lambda: counted(BOTH[0]),
    "one person twice": lambda: counted(BOTH[0], said("anna", ANNA, id="again", issued=NOW)),
    "the same statement twice": lambda: counted(BOTH[0], BOTH[0]),
    "one person under two keys": lambda: counted(BOTH[0], said("anna", NEWER, id="again")),
    "one person as somebody else": lambda: counted(BOTH[0], said("ben", NEWER)),
    "one person under an alias": lambda: counted(BOTH[0], said("anna@ward.example", NEWER, id="a")),
    "one person in capitals": lambda: counted(BOTH[0], said("ANNA", NEWER)),
    "somebody unknown": lambda: counted(BOTH[0], said("ben", EVE)),
    "somebody who was removed": lambda: counted(*BOTH, by=trust(*without("ben"))),
    "the key that decides": lambda: counted(BOTH[0], said("ben", DECISION)),
    "another role": lambda: counted(BOTH[0], said("rita", RITA)),
    "who submitted it": lambda: counted(*BOTH, submitters=("ben",)),
    "who submitted it, in another spelling": lambda: counted(*BOTH, submitters=("  BEN ",)),
    "who submitted it, by an alias": lambda: counted(*BOTH, submitters=("Anna@Ward.example",)),
    "who submitted it, in wide letters": lambda: counted(*BOTH, submitters=("\uff42\uff45\uff4e",)),
    "another model": lambda: counted(BOTH[0], said("ben", BEN, model=OTHER)),
    "another node": lambda: counted(BOTH[0], said("ben", BEN, node="other")),
    "another ion": lambda: counted(BOTH[0], said("ben", BEN, ion="other")),
    "until a time that is over": lambda: counted(BOTH[0], said("ben", BEN, until=NOW)),
    "from the future": lambda: counted(BOTH[0], said("ben", BEN, issued=NOW + MAX_AHEAD_US + 1)),
    "by a revoked key": lambda: counted(*BOTH, by=trust(*windowed(revoked=NOW - 1000))),
    "by a key that never counted": lambda: counted(*BOTH, by=trust(*windowed(revoked=0))),
    "by a key that had ended": lambda: counted(*BOTH, by=trust(*windowed(until=NOW - 1000))),
    "by a key that began later": lambda: counted(*BOTH, by=trust(*windowed(since=NOW))),
    "withdrawn": lambda: counted(*BOTH, said("ben", BEN, id="b", word="withdraw", issued=NOW)),
    "withdrawn with another key": lambda: counted(*BOTH, said("anna", NEWER, id="b", word="withdraw", issued=NOW)),
    "withdrawn, told in another order": lambda: counted(
        said("ben", BEN, id="b", word="withdraw", issued=NOW), *reversed(BOTH)
    ),
    "rejected by one of them": lambda: counted(*BOTH, said("ben", BEN, id="b", word="reject", issued=NOW)),
    "rejected by a third": lambda: counted(
        *BOTH,
        said("eve", EVE, word="reject"),
        by=trust(*PEOPLE, Person("eve", "Eve", ("approver",), (), (key(EVE),))),
    ),
    "rejected by the submitter": lambda: counted(
        *BOTH,
        said("eve", EVE, word="reject"),
        by=trust(*PEOPLE, Person("eve", "Eve", ("approver",), (), (key(EVE),))),
        submitters=("eve",),
    ),
    "rejected, and the no is over": lambda: counted(
        *BOTH, said("ben", BEN, id="b", word="reject", issued=NOW - 900, until=NOW - 800)
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_is_not_two_people_approving_is_not_counted(attempt: str) -> None:
    assert not ATTEMPTS[attempt]().met


HARMLESS: dict[str, Callable[[], Standing]] = {
    "a key revoked after the signature": lambda: counted(*BOTH, by=trust(*windowed(revoked=NOW - 999))),
    "a no of somebody in another role": lambda: counted(*BOTH, said("rita", RITA, word="reject")),
    "a no about another model": lambda: counted(*BOTH, said("ben", BEN, id="b", word="reject", model=OTHER)),
    "a no that was taken back": lambda: counted(
        BOTH[0], said("ben", BEN, id="b", word="reject", issued=NOW - 900), said("ben", BEN, id="c", issued=NOW - 800)
    ),
    "a withdrawal from before": lambda: counted(*BOTH, said("ben", BEN, id="b", word="withdraw", issued=NOW - 2000)),
    "a third approval": lambda: counted(*BOTH, said("anna", NEWER, id="b", issued=NOW)),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_changes_nothing_about_two_people_approving_does_not(case: str) -> None:
    assert HARMLESS[case]().met


def test_the_end_is_that_of_the_one_who_makes_it_enough() -> None:
    ends = [said("anna", ANNA, until=NOW + 5 * DAY), said("ben", BEN, until=NOW + 9 * DAY)]
    assert counted(*ends).until == NOW + 5 * DAY
    people = trust(*PEOPLE, Person("eve", "Eve", ("approver",), (), (key(EVE),)))
    assert counted(*ends, said("eve", EVE, until=NOW + 7 * DAY), by=people).until == NOW + 7 * DAY


def opened(envelope: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(envelope)
    return found


def refused(envelope: bytes) -> str:
    answer = verify_approval(envelope, trust())
    assert isinstance(answer, Unverified), answer
    return answer.reason


def test_every_bit_of_a_signed_statement_counts() -> None:
    """Signature, key id, payload type, payload and the JSON around them."""
    envelope = BOTH[0]
    for index in range(len(envelope) * 8):
        flipped = bytearray(envelope)
        flipped[index // 8] ^= 1 << (index % 8)
        assert isinstance(verify_approval(bytes(flipped), trust()), Unverified), index


@pytest.mark.parametrize("bit", range(0, 512, 7))
def test_a_bit_of_the_signature_itself_is_not_to_be_flipped(bit: int) -> None:
    envelope = opened(BOTH[0])
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[bit // 8] ^= 1 << (bit % 8)
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    refused(canonical_bytes(envelope))


def edited(**fields: object) -> bytes:
    envelope = opened(BOTH[0])
    envelope["signatures"][0] |= fields
    return canonical_bytes(envelope)


@pytest.mark.parametrize(
    "fields",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"sig": ""},
        {"scheme": "rsa"},
        {"keyid": BEN.public.key_id},
        {"keyid": "anna"},
    ],
    ids=str,
)
def test_an_envelope_does_not_choose_how_it_is_checked(fields: dict[str, object]) -> None:
    refused(edited(**fields))


@pytest.mark.parametrize("count", [0, 2])
def test_an_envelope_has_one_signature(count: int) -> None:
    envelope = opened(BOTH[0])
    envelope["signatures"] *= count
    assert f"{count} signatures" in refused(canonical_bytes(envelope))


def test_a_second_signature_by_somebody_else_makes_nothing_of_it() -> None:
    first, second = opened(said("anna", ANNA)), opened(said("anna", BEN))
    first["signatures"] += second["signatures"]
    assert "2 signatures" in refused(canonical_bytes(first))


@pytest.mark.parametrize("payload_type", ["application/json", "text/plain", PAYLOAD_TYPE + " "])
def test_a_statement_of_another_payload_type_is_none(payload_type: str) -> None:
    refused(sign(statement("anna").to_payload(), payload_type, ANNA))


def test_a_signature_of_another_kind_of_key_is_none() -> None:
    """ECDSA over the same bytes, under the person's own key id."""
    private = ec.generate_private_key(ec.SECP256R1())
    payload = base64.b64decode(opened(BOTH[0])["payload"])
    pae = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    signature = private.sign(pae, ec.ECDSA(hashes.SHA256()))
    refused(edited(sig=base64.b64encode(signature).decode()))
    der = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(IonError, match="not an ed25519 public key"):
        TrustedKey.parse({"der": base64.b64encode(der).decode(), "revoked": None, "since": 0, "until": NOW})


@pytest.mark.parametrize(
    "change",
    [
        {"word": "approves"},
        {"word": ""},
        {"until": 1},
        {"until": 1.5},
        {"reason": "  "},
        {"id": "../anna"},
        {"id": "a:b"},
        {"id": ""},
        {"quorum": 1},
        {"person": ""},
        {"node": "scores/../other"},
    ],
    ids=str,
)
def test_a_statement_in_another_form_is_none(change: dict[str, object]) -> None:
    payload: dict[str, Any] = statement("anna").to_payload()
    payload["predicate"] = payload["predicate"] | change
    refused(sign(payload, PAYLOAD_TYPE, ANNA))


def test_another_kind_of_statement_by_a_person_is_no_approval() -> None:
    payload: dict[str, Any] = statement("anna").to_payload()
    assert payload["predicateType"] == APPROVAL_TYPE
    refused(sign(payload | {"predicateType": "https://slsa.dev/verification_summary/v1"}, PAYLOAD_TYPE, ANNA))
    two = payload["subject"] * 2
    refused(sign(payload | {"subject": two}, PAYLOAD_TYPE, ANNA))
