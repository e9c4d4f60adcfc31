"""The specifications of evidence: their test vectors, and the verification by hand, on a frozen bundle."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ion.canonical import canonical_bytes, digest_bytes
from ion.evidence import Signer, TrustRoot
from ion.evidence.check_results import CheckStatement, sign_checks, verify_checks
from ion.evidence.parsing import parse_canonical
from ion.evidence.provenance import ProvenanceStatement, sign_provenance, verify_provenance
from tests.docs import blocks as documentation

if TYPE_CHECKING:
    from pathlib import Path

    from ion.evidence.envelope import Unverified

BUNDLE = "docs/spec/bundle.md"
SIGNER = Signer.of(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.mark.parametrize("page", ["docs/spec/provenance.md", "docs/spec/checks.md"])
def test_the_vector_is_signed_to_the_digest_that_is_written(checkout: Path, page: str) -> None:
    text = (checkout / page).read_text("utf-8")
    assert bytes(range(32)).hex() in text
    raw = documentation.marked(page, "vector", "payload").rstrip("\n").encode()
    payload = parse_canonical(raw, 1 << 20, "vector")
    answer: ProvenanceStatement | CheckStatement | Unverified
    if page.endswith("provenance.md"):
        envelope = sign_provenance(ProvenanceStatement.from_payload(payload), SIGNER)
        answer = verify_provenance(envelope, TrustRoot((SIGNER.public,)))
    else:
        envelope = sign_checks(CheckStatement.from_payload(payload), SIGNER)
        answer = verify_checks(envelope, TrustRoot((SIGNER.public,)))
    assert isinstance(answer, ProvenanceStatement | CheckStatement)
    assert canonical_bytes(answer.to_payload()) == raw
    assert re.findall(r"envelope of digest `(sha256:\w{64})`", text) == [digest_bytes(envelope)]


def by_hand(folder: Path) -> subprocess.CompletedProcess[str]:
    script = documentation.marked(BUNDLE, "run", "by-hand")
    return subprocess.run(["bash", "-euc", script], cwd=folder, capture_output=True, text=True, check=False)


def test_a_bundle_is_checked_by_hand_as_written(checkout: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkout / "tests" / "compat" / "bundle-v1" / "people", tmp_path / "bundle")
    done = by_hand(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Signature Verified Successfully") == 3
    decision = parse_canonical((folder / "payload").read_bytes(), 1 << 20, "payload")
    (subject,) = decision["subject"]  # type: ignore[misc]
    assert f"{subject['digest']['sha256']}  manifest.json" in done.stdout
    model = (folder / "manifest.json").read_text().partition('"sha256":"sha256:')[2][:64]
    assert f"{model}  model/model.json" in done.stdout


@pytest.mark.parametrize("file", ["trust.json", "decision.dsse.json", "provenance.dsse.json"])
def test_by_hand_a_changed_statement_does_not_verify(checkout: Path, tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(checkout / "tests" / "compat" / "bundle-v1" / "people", tmp_path / "bundle")
    data = bytearray((folder / file).read_bytes())
    at = data.index(b'"payload":"') + 200
    data[at] = ord("A") if data[at] != ord("A") else ord("B")
    (folder / file).write_bytes(data)
    assert by_hand(folder).returncode != 0
