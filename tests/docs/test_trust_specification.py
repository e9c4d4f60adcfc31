"""The test vectors of trust.md, approval.md and policy-set.md, read with the code and checked with openssl as told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.evidence.approvals import Given, verify_approval
from ion.evidence.public_keys import load_public
from ion.evidence.publications import PublicationStatement, verify_publication
from ion.evidence.trust import Trust, TrustDocument, verify_trust
from ion.evidence.trust_root import TrustRoot
from tests.docs.test_specification import vector

if TYPE_CHECKING:
    from pathlib import Path


def test_the_trust_document_is_read_as_specified(docs: Path, tmp_path: Path) -> None:
    page = docs / "spec" / "trust.md"
    root, envelope = tmp_path / "root.pub.pem", vector(page, "trust").encode()
    root.write_text(vector(page, "trust-root") + "\n")
    public = load_public(root)
    trust = verify_trust(envelope, TrustRoot((public,)), 1_800_000_000_000_000)
    assert isinstance(trust, Trust)
    assert b64decode(json.loads(envelope)["payload"]).decode() == vector(page, "trust-payload")
    text = page.read_text("utf-8")
    assert f"`{public.key_id}`" in text
    assert f"`{digest_bytes(envelope)}`" in text
    anna = trust.person("anna@example.org")
    assert anna is not None
    assert (anna.id, trust.document.version) == ("anna", 2)


def test_openssl_verifies_it_with_the_commands_of_the_page(docs: Path, tmp_path: Path) -> None:
    page = docs / "spec" / "trust.md"
    (tmp_path / "root.pub.pem").write_text(vector(page, "trust-root") + "\n")
    (tmp_path / "trust.json").write_text(vector(page, "trust"))
    commands = re.findall(r"^\$ (python3 -c .*|openssl .*)$", page.read_text("utf-8"), re.MULTILINE)
    assert len(commands) == 2
    script = "\n".join(commands).replace("python3", sys.executable, 1)
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Signature Verified Successfully", done.stderr


def test_a_publication_is_read_as_specified(docs: Path, tmp_path: Path) -> None:
    page = docs / "spec" / "policy-set.md"
    (tmp_path / "key.pem").write_text(vector(page, "publication-key") + "\n")
    root = TrustRoot((load_public(tmp_path / "key.pem"),))
    said = verify_publication(vector(page, "publication").encode(), root)
    assert isinstance(said, PublicationStatement)
    assert f"`{said.digest}`" in page.read_text("utf-8")


def test_an_approval_is_read_as_specified_under_the_trust_document_of_its_page(docs: Path) -> None:
    page, envelope = docs / "spec" / "approval.md", vector(docs / "spec" / "approval.md", "approval").encode()
    document = TrustDocument.from_payload(json.loads(vector(docs / "spec" / "trust.md", "trust-payload")))
    given = verify_approval(envelope, Trust(document, digest_bytes(b"")))
    assert isinstance(given, Given), given
    assert (given.statement.person, given.statement.word) == ("anna", "approve")
    assert b64decode(json.loads(envelope)["payload"]).decode() == vector(page, "approval-payload")
    text = page.read_text("utf-8")
    assert f"`{given.key_id}`" in text
    assert f"`{given.digest}`" in text


def test_openssl_verifies_the_approval_with_the_commands_of_its_page(docs: Path, tmp_path: Path) -> None:
    page = docs / "spec" / "approval.md"
    (tmp_path / "anna.pub.pem").write_text(vector(page, "approval-key") + "\n")
    (tmp_path / "approval.json").write_text(vector(page, "approval"))
    commands = re.findall(r"^\$ (python3 -c .*|openssl .*)$", page.read_text("utf-8"), re.MULTILINE)
    assert len(commands) == 2
    script = "\n".join(commands).replace("python3", sys.executable, 1)
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Signature Verified Successfully", done.stderr
