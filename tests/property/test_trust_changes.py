"""Any sequence of changes of the trust document: a signature counts exactly when a plain list of keys says so."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ion.errors import IonError
from ion.evidence.keys import Signer
from ion.evidence.parsing import MAX_INTEGER
from ion.evidence.trust import Trust, TrustDocument, sign_trust, verify_trust
from ion.evidence.trust_changes import (
    CLOCKS_US,
    OVERLAP_US,
    find_key,
    with_person,
    with_persons_key,
    with_revocation,
    with_service_key,
    without_person,
)
from ion.evidence.trust_root import TrustRoot

START = 1_800_000_000_000_000
STEP = 45_000_000  # under the overlap, so that more than one service key counts at a time
SIGNERS = [Signer.of(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in range(1, 9)]
ROOT = Signer.of(Ed25519PrivateKey.from_private_bytes(bytes(32)))
PEOPLE = st.sampled_from(["anna", "ben", "carla"])
KEYS = st.sampled_from(SIGNERS)


@dataclass
class Known:
    """What the list says of one key."""

    owner: str
    since: int
    until: int = MAX_INTEGER
    revoked: int = MAX_INTEGER

    def counts(self, at: int) -> bool:
        return self.since <= at < min(self.until, self.revoked)


class TrustChanges(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.keys: dict[str, Known] = {}
        self.people: set[str] = set()

    @initialize()
    def found(self) -> None:
        self.document = TrustDocument(1, START, MAX_INTEGER)

    @rule(person=PEOPLE, signer=KEYS, steps=st.integers(0, 40))
    def add(self, person: str, signer: Signer, steps: int) -> None:
        self.now += STEP
        until = MAX_INTEGER if not steps else self.now + steps * STEP
        make = partial(
            with_person, self.document, person, name=person, key=signer.public, at=self.now, until=until
        )  # fmt: skip
        if signer.public.key_id in self.keys:
            self.refused(make, "key-taken")
        else:
            self.document = make()
            self.keys[signer.public.key_id] = Known(person, self.now - CLOCKS_US, until)
            self.people.add(person)

    @rule(signer=KEYS)
    def rotate_service(self, signer: Signer) -> None:
        self.now += STEP
        make = partial(with_service_key, self.document, "decision", signer.public, self.now)
        if signer.public.key_id in self.keys:
            self.refused(make, "key-taken")
        else:
            self.document = make()
            for known in self.keys.values():
                if known.owner == "decision":
                    known.until = min(known.until, self.now + OVERLAP_US)
            self.keys[signer.public.key_id] = Known("decision", self.now - CLOCKS_US)

    @rule(which=st.integers(0, 31), new=KEYS)
    def rotate_person(self, which: int, new: Signer) -> None:
        self.now += STEP
        owned = [s for s in SIGNERS if self.keys.get(s.public.key_id, Known("decision", 0)).owner != "decision"]
        old = owned[which % len(owned)] if owned and which < 24 else SIGNERS[which % 8]
        make = partial(with_persons_key, self.document, old.public.key_id, new.public, self.now)
        known = self.keys.get(old.public.key_id)
        if known is None or known.owner == "decision":
            self.refused(make, "unknown-key")
        elif not known.counts(self.now):
            self.refused(make, "key-ended")
        elif new.public.key_id in self.keys:
            self.refused(make, "key-taken")
        else:
            self.document = make()
            self.keys[new.public.key_id] = Known(known.owner, self.now - CLOCKS_US, known.until)
            known.until = min(known.until, self.now + 1)

    @rule(signer=KEYS, ago=st.integers(-2, 4))
    def revoke(self, signer: Signer, ago: int) -> None:
        self.now += STEP
        since = self.now - ago * STEP
        make = partial(with_revocation, self.document, signer.public.key_id, since)
        known = self.keys.get(signer.public.key_id)
        if known is None:
            self.refused(make, "unknown-key")
        elif known.revoked <= since:
            self.refused(make, "already-revoked")
        else:
            self.document = make()
            known.revoked = since

    @rule(person=PEOPLE)
    def remove(self, person: str) -> None:
        make = partial(without_person, self.document, person)
        if person not in self.people:
            self.refused(make, "unknown-person")
        else:
            self.document = make()
            self.people.discard(person)
            self.keys = {key: known for key, known in self.keys.items() if known.owner != person}

    def refused(self, make: partial[TrustDocument], code: str) -> None:
        with pytest.raises(IonError) as error:
            make()
        assert error.value.code == code

    @invariant()
    def a_signature_counts_exactly_when_the_list_says_so(self) -> None:
        trust = verify_trust(sign_trust(self.document, ROOT), TrustRoot((ROOT.public,)), self.now)
        assert isinstance(trust, Trust)
        times = {START - CLOCKS_US, self.now, self.now + 1, self.now - STEP, self.now + 3 * STEP}
        for known in self.keys.values():
            times |= {known.since - 1, known.since, known.until - 1, known.until, known.revoked - 1, known.revoked}
        for signer in SIGNERS:
            key_id = signer.public.key_id
            known = self.keys.get(key_id)
            person = trust.person_of(key_id)
            assert (person.id if person else None) == (known.owner if known and known.owner != "decision" else None)
            if known is None:
                assert not trust.lets_sign("decision", signer.public, self.now)
                continue
            owner, key = find_key(trust.document, key_id)
            assert owner == known.owner
            for at in times:
                assert key.window.covers(at) == known.counts(at)
                assert trust.lets_sign("decision", signer.public, at) == (owner == "decision" and known.counts(at))


TestTrustChanges = TrustChanges.TestCase
TestTrustChanges.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
