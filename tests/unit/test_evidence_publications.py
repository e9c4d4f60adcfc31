"""Published policy sets: the documented form, signed and read back, and nothing else taken for one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ion.canonical import digest_json
from ion.errors import IonError
from ion.evidence import TrustRoot, Unverified, create_key, load_signer
from ion.evidence.envelope import sign
from ion.evidence.parsing import MAX_INTEGER
from ion.evidence.publications import (
    PUBLICATION_TYPE,
    PublicationStatement,
    sign_publication,
    verify_publication,
)
from ion.evidence.shared_secret import MLFLOW_STORAGE, MLFLOW_WEBHOOK, NOTIFICATIONS, shared_secret
from ion.evidence.trust_root import Window
from ion.home import Home

if TYPE_CHECKING:
    from pathlib import Path

    from ion.evidence import Signer

T = 1_800_000_000_000_001
CONTENT = {"name": "clinical", "parameters": {"margin": 0.01}}
PUBLISHED = PublicationStatement("policies.catalog:clinical", CONTENT, "anna", T)
PAYLOAD = {
    "by": "anna",
    "content": CONTENT,
    "digest": digest_json(CONTENT),
    "format": "ion-policy-set/1",
    "published": T,
    "reference": "policies.catalog:clinical",
}


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    create_key(tmp_path / "key.pem")
    return load_signer(f"file:{tmp_path / 'key.pem'}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("ION_MLFLOW_WEBHOOK_SECRET", "ION_NOTIFY_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "home").make()


def code_of(action: object) -> str:
    with pytest.raises(IonError) as caught:
        action()  # type: ignore[operator]
    return caught.value.code


def test_a_publication_is_signed_in_the_documented_form_and_read_back(signer: Signer) -> None:
    assert PUBLISHED.to_payload() == PAYLOAD
    assert PUBLICATION_TYPE == "application/vnd.dagster-ion.policy-set+json"
    assert verify_publication(sign_publication(PUBLISHED, signer), TrustRoot((signer.public,))) == PUBLISHED


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha256:" + "0" * 64},
        {"content": {"name": "other"}},
        {"format": "ion-policy-set/2"},
        {"more": 1},
        {"published": -1},
        {"published": "now"},
        {"by": 7},
        {"reference": None},
    ],
)
def test_a_signed_payload_that_is_no_publication_is_refused(signer: Signer, change: dict[str, object]) -> None:
    envelope = sign({**PAYLOAD, **change}, PUBLICATION_TYPE, signer)
    assert isinstance(verify_publication(envelope, TrustRoot((signer.public,))), Unverified)
    assert code_of(lambda: PublicationStatement.from_payload({**PAYLOAD, **change})) == "bad-publication"


@pytest.mark.parametrize("name", sorted(PAYLOAD))
def test_a_publication_that_lacks_a_field_is_refused(name: str) -> None:
    rest = {key: value for key, value in PAYLOAD.items() if key != name}
    assert code_of(lambda: PublicationStatement.from_payload(rest)) == "bad-publication"


@pytest.mark.parametrize(
    "change", [{"reference": ""}, {"by": ""}, {"published": -1}, {"published": MAX_INTEGER + 1}], ids=str
)
def test_a_publication_without_name_publisher_or_time_is_not_signed(signer: Signer, change: dict[str, object]) -> None:
    assert code_of(lambda: sign_publication(replace(PUBLISHED, **change), signer)) == "bad-publication"  # type: ignore[arg-type]


@pytest.mark.parametrize("published", [0, MAX_INTEGER])
def test_the_first_and_the_last_time_can_be_published(signer: Signer, published: int) -> None:
    statement = replace(PUBLISHED, published=published)
    assert verify_publication(sign_publication(statement, signer), TrustRoot((signer.public,))) == statement


def test_a_publication_counts_only_by_a_trusted_key_in_its_time_and_of_its_type(signer: Signer, tmp_path: Path) -> None:
    create_key(tmp_path / "other.pem")
    other = load_signer(f"file:{tmp_path / 'other.pem'}")
    envelope = sign_publication(PUBLISHED, signer)
    assert verify_publication(envelope, TrustRoot((other.public,))) == Unverified("no trusted key signed it")
    late = TrustRoot((signer.public,), {signer.public.key_id: Window(T + 1, T + 2)})
    assert verify_publication(envelope, late) == Unverified("the key that signed it did not count at the time")
    in_time = TrustRoot((signer.public,), {signer.public.key_id: Window(T, T + 2)})
    assert verify_publication(envelope, in_time) == PUBLISHED
    elsewhere = sign(PAYLOAD, "application/json", signer)
    assert isinstance(verify_publication(elsewhere, TrustRoot((signer.public,))), Unverified)


def test_a_secret_is_made_once_for_its_owner_only(home: Home) -> None:
    made = shared_secret(home, MLFLOW_STORAGE)
    path = home.keys / "mlflow-storage"
    assert len(made) == 43
    assert path.read_text() == made + "\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert home.keys.stat().st_mode & 0o777 == 0o700
    assert shared_secret(home, MLFLOW_STORAGE) == shared_secret(home, MLFLOW_STORAGE, make=False) == made
    assert shared_secret(home, NOTIFICATIONS) != made


def test_where_none_is_made_a_missing_secret_is_an_error(home: Home) -> None:
    assert code_of(lambda: shared_secret(home, NOTIFICATIONS, make=False)) == "secret-missing"
    assert not (home.keys / "notifications").exists()


@pytest.mark.parametrize(
    ("name", "variable"), [(MLFLOW_WEBHOOK, "ION_MLFLOW_WEBHOOK_SECRET"), (NOTIFICATIONS, "ION_NOTIFY_SECRET")]
)
def test_a_secret_of_the_environment_comes_first(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    shared_secret(home, name)
    monkeypatch.setenv(variable, "x" * 16)
    assert shared_secret(home, name) == "x" * 16
    monkeypatch.setenv(variable, "x" * 15)
    assert code_of(lambda: shared_secret(home, name)) == "bad-secret"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"x" * 15, "bad-secret"),
        (b"x" * 8 + b" " + b"x" * 8, "bad-secret"),
        ("ü".encode() * 16, "bad-secret"),
        (b"x" * 1025, "file-too-large"),
        (b"", "bad-secret"),
    ],
    ids=["short", "white", "not text", "long", "empty"],
)
def test_what_is_no_secret_is_refused(home: Home, content: bytes, code: str) -> None:
    home.keys.mkdir(mode=0o700)
    path = home.keys / "notifications"
    path.write_bytes(content)
    path.chmod(0o600)
    assert code_of(lambda: shared_secret(home, NOTIFICATIONS)) == code


@pytest.mark.parametrize("size", [16, 1023])
def test_a_secret_has_sixteen_characters_and_more(home: Home, size: int) -> None:
    home.keys.mkdir(mode=0o700)
    path = home.keys / "notifications"
    path.write_bytes(b"x" * size + b"\n")
    path.chmod(0o600)
    assert shared_secret(home, NOTIFICATIONS) == "x" * size
    path.chmod(0o640)
    assert code_of(lambda: shared_secret(home, NOTIFICATIONS)) == "key-permissions"


def test_a_folder_in_the_place_of_the_secret_is_said(home: Home) -> None:
    (home.keys / "notifications").mkdir(parents=True)
    assert code_of(lambda: shared_secret(home, NOTIFICATIONS)) in {"key-unwritable", "not-a-file"}
