"""Which trust document was in force when: in the record, and never back behind it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from ion.decision.trust_noted import note_trust
from ion.errors import IonError
from ion.evidence import load_signer, load_trust
from ion.evidence.key_folder import file_uri
from ion.evidence.trust_changes import with_requirement
from ion.evidence.trust_signing import TrustPlace
from ion.facts import TrustChanged
from ion.testing import SERVING, Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.evidence import Trust


@pytest.fixture
def deployment(tmp_path: Path, store_url: str) -> Iterator[Deployment]:
    made = Deployment.make(tmp_path / "home", store_url)
    yield made
    made.close()


def next_trust(deployment: Deployment, quorum: int) -> Trust:
    root = load_signer(file_uri(deployment.home.keys / "root.pem"))
    change = partial(with_requirement, node=SERVING, role="approver", quorum=quorum)
    return TrustPlace.of(deployment.home).sign(root, change)


def versions(deployment: Deployment) -> list[int]:
    return [record.fact.version for record in deployment.store.find(TrustChanged)]


def test_each_document_is_recorded_once_by_whoever_comes_first(deployment: Deployment) -> None:
    first = load_trust(deployment.home)
    assert note_trust(deployment.store, first) is True
    assert note_trust(deployment.store, first) is False
    second = next_trust(deployment, 2)
    assert note_trust(deployment.store, second, by="dr_house", reason="two shall look") is True
    assert note_trust(deployment.store, second) is False
    (_, record) = deployment.store.find(TrustChanged)
    fact = record.fact
    assert (fact.version, fact.digest, fact.by, fact.reason) == (2, second.digest, "dr_house", "two shall look")
    assert fact.envelope.encode() == second.envelope


def test_an_older_document_put_back_is_refused_and_not_recorded(deployment: Deployment) -> None:
    first = load_trust(deployment.home)
    second = next_trust(deployment, 2)
    note_trust(deployment.store, first)
    note_trust(deployment.store, second)
    deployment.home.trust_document.write_bytes(first.envelope)
    with pytest.raises(IonError) as error:
        note_trust(deployment.store, load_trust(deployment.home))
    assert error.value.code == "trust-older"
    assert versions(deployment) == [1, 2]


def test_two_documents_of_one_version_do_not_follow_each_other(deployment: Deployment) -> None:
    before = deployment.home.trust_document.read_bytes()
    note_trust(deployment.store, next_trust(deployment, 2))
    deployment.home.trust_document.write_bytes(before)
    other = next_trust(deployment, 1)
    with pytest.raises(IonError) as error:
        note_trust(deployment.store, other)
    assert error.value.code == "trust-older"
    assert versions(deployment) == [2]
