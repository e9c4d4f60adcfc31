"""The ledger, checkpoints and proofs written by the first version verify for ever. Nothing in the folder changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ion.audit.proving import FactProof
from ion.canonical import digest_bytes
from ion.evidence import TrustRoot, load_public
from ion.ledger import (
    Checkpoint,
    Entry,
    Extension,
    Note,
    NoteKey,
    Proof,
    SignedCheckpoint,
    Walk,
    cosigned_at,
    judge,
    verify_chain,
    verify_checkpoint,
)
from ion.records import read_record

FOLDER = Path(__file__).parent / "ledger-v1"
ORIGIN = Checkpoint.parse(Note.parse((FOLDER / "100.note").read_bytes()).text).origin
DIGEST = "sha256:a9fe00b8dcf8aec0d52e1ffca6328382ead8985c0dcc8ef03e2a483866dc3d7b"
"""Of the files in the folder, by name: whoever changes one changes this, too, and has to say why."""


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    lines = [json.loads(line) for line in (FOLDER / "ledger.jsonl").read_text("utf-8").rstrip("\n").split("\n")]
    return [(line["position"], line["record"].encode(), bytes.fromhex(line["link"])) for line in lines]


@pytest.fixture(scope="module")
def trust() -> TrustRoot:
    return TrustRoot((load_public(FOLDER / "log.pub.pem"),))


def believed(name: str, trust: TrustRoot) -> SignedCheckpoint:
    answer = verify_checkpoint((FOLDER / name).read_bytes(), trust, origin=ORIGIN)
    assert isinstance(answer, SignedCheckpoint), answer
    return answer


def test_the_files_are_as_they_were() -> None:
    content = b"".join(path.name.encode() + b"\0" + path.read_bytes() for path in sorted(FOLDER.iterdir()))
    assert digest_bytes(content) == DIGEST


def test_the_records_are_read_and_the_chain_holds(entries: list[Entry]) -> None:
    assert len(entries) == 302
    assert verify_chain(entries, *(entries[-1][0], entries[-1][2])) == []
    assert len({type(read_record(raw).fact).__name__ for _, raw, _ in entries}) == 5


def test_the_checkpoints_hold(entries: list[Entry], trust: TrustRoot) -> None:
    signed = [believed("100.note", trust), believed("301.note", trust)]
    walk = Walk([item.size for item in signed])
    walk.take(entries)
    assert [walk.roots[item.size] for item in signed] == [item.checkpoint.root for item in signed]
    witness = NoteKey.parse((FOLDER / "witness.vkey").read_text())
    assert cosigned_at(signed[1], witness) == 1_700_000_000


def test_the_proofs_hold(entries: list[Entry], trust: TrustRoot) -> None:
    for position in (1, 42, 257):
        proof = Proof.parse((FOLDER / f"fact-{position}.tlog-proof").read_bytes())
        assert proof.position == position
        assert isinstance(proof.check(entries[position - 1][1], trust, origin=ORIGIN), SignedCheckpoint)
        whole = FactProof.parse((FOLDER / f"fact-{position}.json").read_bytes())
        assert whole == FactProof(entries[position - 1][1], proof)
    extension = Extension.parse((FOLDER / "extension.txt").read_bytes())
    old, new = believed("100.note", trust).checkpoint, believed("301.note", trust).checkpoint
    assert judge(old, new, extension.old, extension.hashes) is None


def test_a_flipped_bit_in_any_of_it_is_noticed(entries: list[Entry], trust: TrustRoot) -> None:
    """So that the tests above can fail at all."""
    position, raw, recorded = entries[41]
    changed = [
        *entries[:41],
        (position, raw.replace(b"radius", b"radios").replace(b"run", b"ran"), recorded),
        *entries[42:],
    ]
    assert [problem.position for problem in verify_chain(changed, 302, entries[-1][2])] == [42]
    note = (FOLDER / "301.note").read_bytes().replace(b"\n301\n", b"\n300\n")
    assert not isinstance(verify_checkpoint(note, trust), SignedCheckpoint)
