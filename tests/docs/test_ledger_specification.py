"""The test vectors of tree, checkpoint and proofs, computed with the code and, where it is short, without it."""

from __future__ import annotations

import hashlib
import re
import subprocess
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest

from ion.evidence import TrustRoot, load_public
from ion.ledger import (
    Extension,
    NoteKey,
    Proof,
    SignedCheckpoint,
    cosigned_at,
    leaf_hash,
    verify_checkpoint,
)
from ion.ledger.merkle import Tree, verify_consistency

if TYPE_CHECKING:
    from pathlib import Path


def vector(page: Path, name: str) -> bytes:
    """Return the code block that follows ``<!-- vector: name -->``."""
    found = re.search(rf"<!-- vector: {re.escape(name)} -->\n```\w*\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert found, f"no vector {name} in {page.name}"
    return found[1].encode()


@pytest.fixture
def page(docs: Path) -> Path:
    return docs / "spec" / "checkpoint.md"


@pytest.fixture
def records(docs: Path) -> list[bytes]:
    return [vector(docs / "spec" / "ledger.md", f"record-{number}").rstrip(b"\n") for number in (1, 2)]


@pytest.fixture
def trust(page: Path, tmp_path: Path) -> TrustRoot:
    (tmp_path / "key.pem").write_bytes(vector(page, "ledger.pub.pem"))
    return TrustRoot((load_public(tmp_path / "key.pem"),))


def test_the_tree_is_as_specified(docs: Path, records: list[bytes]) -> None:
    text = (docs / "spec" / "ledger.md").read_text("utf-8").partition("| leaf hash |")[2]
    written = re.findall(r"^\| (?:\d|root) \| `(\w{64})` \|", text, re.MULTILINE)
    plain = [hashlib.sha256(b"\0" + raw).digest() for raw in records]
    root = hashlib.sha256(b"\1" + plain[0] + plain[1]).digest()
    tree = Tree(map(leaf_hash, records))
    assert written == [*(leaf.hex() for leaf in plain), root.hex()]
    assert written == [tree.node(0, 0).hex(), tree.node(0, 1).hex(), tree.root().hex()]


def test_the_checkpoint_verifies_with_its_witness(page: Path, records: list[bytes], trust: TrustRoot) -> None:
    signed = verify_checkpoint(vector(page, "checkpoint"), trust, origin="dagster-ion/store-0123456789ab")
    assert isinstance(signed, SignedCheckpoint)
    assert signed.checkpoint.root == Tree(map(leaf_hash, records)).root()
    log, witness = (NoteKey.parse(line) for line in vector(page, "keys").decode().splitlines())
    assert log.public() == trust.keys[0]
    assert cosigned_at(signed, witness) == 1_800_000_000
    name, key = log.name.encode(), b64decode(str(log).split("+", 2)[2])
    assert log.key_id == hashlib.sha256(name + b"\n" + key).digest()[:4]


def test_openssl_verifies_the_checkpoint_as_described(page: Path, tmp_path: Path) -> None:
    text, _, lines = vector(page, "checkpoint").partition(b"\n\n")
    (tmp_path / "text").write_bytes(text + b"\n")
    (tmp_path / "signature").write_bytes(b64decode(lines.split()[2])[4:])
    (tmp_path / "ledger.pub.pem").write_bytes(vector(page, "ledger.pub.pem"))
    (command,) = re.findall(r"^    (openssl .*)$", page.read_text("utf-8"), re.MULTILINE)
    assert subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_the_proofs_hold(page: Path, records: list[bytes], trust: TrustRoot) -> None:
    proof = Proof.parse(vector(page, "proof"))
    assert isinstance(proof.check(records[0], trust), SignedCheckpoint)
    assert not isinstance(proof.check(records[1], trust), SignedCheckpoint)
    extension = Extension.parse(vector(page, "extension"))
    tree = Tree(map(leaf_hash, records))
    assert verify_consistency(extension.old, 2, extension.hashes, tree.root(1), tree.root())
