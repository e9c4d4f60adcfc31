"""Notes, checkpoints, cosignatures and proofs as files: one form each, and nothing else is believed."""

from __future__ import annotations

import subprocess
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.errors import IonError
from ion.evidence import TrustRoot, Unverified, create_key, load_signer
from ion.evidence.trust_root import Window
from ion.ledger import (
    Checkpoint,
    Extension,
    Note,
    NoteKey,
    Proof,
    SignedCheckpoint,
    cosign,
    cosigned_at,
    inclusion_proof,
    leaf_hash,
    sign_checkpoint,
    verify_checkpoint,
)
from ion.ledger.merkle import MAX_PROOF, Tree
from ion.ledger.note import COSIGNATURE, MAX_NOTE, MAX_SIGNATURES
from ion.ledger.proof import MAX_PROOF_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.evidence import Signer

ORIGIN = "dagster-ion/store-0123456789ab"
RAWS = [b"record %d" % number for number in range(11)]
TREE = Tree(map(leaf_hash, RAWS))
HEAD = Checkpoint(ORIGIN, len(RAWS), TREE.root())

# Of other programs: the example of the signed-note libraries.
FOREIGN_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOREIGN_NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("log", "other", "witness"):
        create_key(folder / f"{name}.pem")
    return {name: load_signer(f"file:{folder / name}.pem") for name in ("log", "other", "witness")}


@pytest.fixture
def log(keys: dict[str, Signer]) -> Signer:
    return keys["log"]


@pytest.fixture
def trust(log: Signer) -> TrustRoot:
    return TrustRoot((log.public,))


@pytest.fixture
def note(log: Signer) -> bytes:
    return sign_checkpoint(HEAD, log)


def believed(data: bytes, trust: TrustRoot, **options: object) -> SignedCheckpoint:
    answer = verify_checkpoint(data, trust, **options)  # type: ignore[arg-type]
    assert isinstance(answer, SignedCheckpoint), answer
    return answer


def reason(data: bytes, trust: TrustRoot, **options: object) -> str:
    answer = verify_checkpoint(data, trust, **options)  # type: ignore[arg-type]
    assert isinstance(answer, Unverified)
    return answer.reason


# Notes ---------------------------------------------------------------------------------------------


def test_a_note_of_another_program_is_read_and_its_signature_holds() -> None:
    note, key = Note.parse(FOREIGN_NOTE.encode()), NoteKey.parse(FOREIGN_KEY)
    (line,) = note.by(key)
    assert key.holds(line.signature, note.text.encode())
    assert note.to_bytes().decode() == FOREIGN_NOTE
    assert str(key) == FOREIGN_KEY
    assert not key.holds(line.signature, b"This is another message.\n")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"\n\n", b"text", b"text\n", b"text\n\n", b"text\n\n\xe2\x80\x94 name QUJDRA==\n",
        b"text\n\n\xe2\x80\x94 name QUJDREU=", b"text\n\n- name QUJDREU=\n", b"text\n\n\xe2\x80\x94 na+me QUJDREU=\n",
        b"text\n\n\xe2\x80\x94  QUJDREU=\n", b"text\n\n\xe2\x80\x94 name QUJDREU\n",
        b"text\n\n\xe2\x80\x94 name QUJDREV=\n",
        b"te\rxt\n\n\xe2\x80\x94 name QUJDREU=\n", b"te\0xt\n\n\xe2\x80\x94 name QUJDREU=\n",
        b"te\xffxt\n\n\xe2\x80\x94 name QUJDREU=\n", b"text\n\n\xe2\x80\x94 name QUJDREU=\n\n",
        b"text\n\n\xe2\x80\x94 name QUJDREU=\nmore\n", b"text\n\n\xe2\x80\x94 name QUJDREU= more\n",
    ],
)  # fmt: skip
def test_other_forms_are_no_note(data: bytes) -> None:
    with pytest.raises(IonError, match="bad-note"):
        Note.parse(data)


def test_a_note_is_bounded(note: bytes) -> None:
    line = note.splitlines(keepends=True)[-1]
    assert len(Note.parse(note + line * (MAX_SIGNATURES - 1)).signatures) == MAX_SIGNATURES
    with pytest.raises(IonError, match="bad-note"):
        Note.parse(note + line * MAX_SIGNATURES)
    with pytest.raises(IonError, match="bad-note"):
        Note.parse(b"x" * MAX_NOTE + note)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1), st.integers(1, 3))
def test_a_note_is_read_as_it_was_written(text: str, lines: int) -> None:
    key = NoteKey(ORIGIN, 1, bytes(32))
    note = Note(f"{text}\n" * lines, ()).with_signature(key, b"12345")
    assert Note.parse(note.to_bytes()) == note


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\u2003b", "a\nb", "x" * 201])
def test_a_name_that_a_note_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(IonError, match="bad-note-key"):
        NoteKey(name, 1, bytes(32))


@pytest.mark.parametrize("text", ["", "name", "name+00000000+", FOREIGN_KEY[:-4], FOREIGN_KEY.replace("foo", "bar")])
def test_a_key_whose_id_is_not_its_own_is_refused(text: str) -> None:
    with pytest.raises(IonError, match="bad-note-key"):
        NoteKey.parse(text)


def test_the_text_of_a_note_may_hold_empty_lines() -> None:
    """The last empty line parts text and signatures."""
    key = NoteKey(ORIGIN, 1, bytes(32))
    note = Note("Ognuno sta solo:\n\ned è subito sera.\n", ()).with_signature(key, b"12345")
    assert Note.parse(note.to_bytes()) == note
    assert Note.parse(note.to_bytes()).text.count("\n") == 3


def test_a_key_of_another_type_or_size_is_refused() -> None:
    for kind, key in ((2, bytes(32)), (0, bytes(32)), (1, bytes(31)), (4, bytes(33)), (2, bytes(31))):
        with pytest.raises(IonError, match="bad-note-key"):
            NoteKey("name", kind, key)
    with pytest.raises(IonError, match="bad-note-key"):
        NoteKey.parse(FOREIGN_KEY + "+more")
    assert NoteKey.parse(FOREIGN_KEY).public().der[-32:] == NoteKey.parse(FOREIGN_KEY).key


def test_a_note_of_the_largest_size_is_read(log: Signer) -> None:
    whole = sign_checkpoint(HEAD, log)
    text = "x" * (MAX_NOTE - len(whole)) + HEAD.text()
    note = Note(text, Note.parse(whole).signatures).to_bytes()
    assert len(note) == MAX_NOTE
    assert Note.parse(note).text == text
    with pytest.raises(IonError, match="larger than 65536 bytes"):
        Note.parse(b"x" + note)


NOTE_SAID = {
    b"": "it has no signature",
    b"a\xff\n\n": "it is not UTF-8",
    b"a\tb\n\n": "it holds control characters",
    b"a\n\nb\n": "one of its signature lines is of another form",
    b"a\n\n\xe2\x80\x94 n QUJDREU= x\n": "one of its signature lines is of another form",
    b"a\n\n\xe2\x80\x94 n QUJD!REU=\n": "one of its signature lines is of another form",
    b"a\n\n" + b"\xe2\x80\x94 n QUJDREU=\n" * (MAX_SIGNATURES + 1): "it has more than 100 signatures",
}
PROOF_SAID = {
    b"": "it has no checkpoint",
    b"\xff\n\n": "it has no checkpoint",
    b"c2sp.org/tlog-proof@v1\n\n": "its first lines are of another form",
    b"c2sp.org/tlog-proof@v1\n7\n\n": "its first lines are of another form",
    b"c2sp.org/tlog-proof@v1\nextra eA==\n\n": "its first lines are of another form",
    b"c2sp.org/tlog-proof@v2\nindex 7\n\n": "its first lines are of another form",
    b"c2sp.org/tlog-proof@v1\nindex 7\nx\n\n": "one of its lines is no hash",
    b"c2sp.org/tlog-proof@v1\nindex 7\n" + b"x\n" * 64 + b"\n": "it has more than 63 hashes",
    b"x" * (MAX_PROOF_FILE + 1): f"it is larger than {MAX_PROOF_FILE} bytes",
}


def said(parse: Callable[[bytes], object], data: bytes) -> tuple[str, str, str]:
    with pytest.raises(IonError) as raised:
        parse(data)
    return raised.value.code, raised.value.message, raised.value.hint


@pytest.mark.parametrize("data", NOTE_SAID)
def test_what_is_wrong_with_a_note_is_said(data: bytes) -> None:
    hint = "c2sp.org/signed-note describes the form"
    assert said(Note.parse, data) == ("bad-note", f"not a signed note: {NOTE_SAID[data]}", hint)


@pytest.mark.parametrize("data", PROOF_SAID)
def test_what_is_wrong_with_a_proof_is_said(data: bytes) -> None:
    hint = "make it with `ion audit prove` or `ion audit consistency`"
    assert said(Proof.parse, data) == ("bad-proof", f"not a proof: {PROOF_SAID[data]}", hint)


def test_what_else_is_wrong_is_said(trust: TrustRoot, note: bytes) -> None:
    proof = "not a proof: its first line is not that of a consistency proof"
    assert said(Extension.parse, b"7\n\n")[:2] == ("bad-proof", proof)
    hint = "c2sp.org/tlog-checkpoint describes the form"
    told = ("bad-checkpoint", "the note is no checkpoint: origin, size, root hash", hint)
    assert said(lambda data: Checkpoint.parse(data.decode()), b"x") == told
    hint = "write it as NAME+ID+KEY, as `ion audit checkpoint` and `ion audit witness` print it"
    told = ("bad-note-key", "not an ed25519 key of a note: 'a b'", hint)
    assert said(lambda key: NoteKey("a b", 1, key), bytes(32)) == told
    wrong = FOREIGN_KEY.replace("530d903a", "00000000").encode()
    told = ("bad-note-key", "the key of example.com/foo does not have the id 00000000", "copy it whole")
    assert said(lambda text: NoteKey.parse(text.decode()), wrong) == told
    assert reason(b"", trust) == "not a signed note: it has no signature"
    assert reason(note, trust, origin="x") == f"the checkpoint is of the log {ORIGIN!r}, not x"
    answer = Proof(1, (), note).check(b"x", trust)
    assert answer == Unverified("these bytes are not record 1 of the 11 that the checkpoint signs")
    assert isinstance(proof_of(1, note).check(RAWS[0], trust, origin="another"), Unverified)


# Checkpoints ---------------------------------------------------------------------------------------


def test_a_checkpoint_is_three_lines_and_verifies(note: bytes, trust: TrustRoot) -> None:
    signed = believed(note, trust, origin=ORIGIN)
    assert signed.checkpoint == HEAD
    assert signed.size == len(RAWS)
    origin, size, root, empty, line = note.decode().splitlines()
    assert (origin, size, b64decode(root), empty) == (ORIGIN, "11", HEAD.root, "")
    assert line.startswith(f"\u2014 {ORIGIN} ")
    assert len(note) < 300


@pytest.mark.parametrize(
    "text",
    [
        "", "a\n", "a\n1\n", f"a\n1\n{'A' * 43}=", f"a\n01\n{'A' * 43}=\n", f"a\n-1\n{'A' * 43}=\n",
        f"\n1\n{'A' * 43}=\n",
        f"a\n1 \n{'A' * 43}=\n", f"a\n\u0661\n{'A' * 43}=\n", f"a\n{2**63}\n{'A' * 43}=\n", f"a\n1\n{'A' * 42}==\n",
        f"a\n1\n{'A' * 42}B=\n", f"a\n1\n{'A' * 44}\n", f"a\n1\n{'A' * 43}=\nextension\n", f"a\n1\n{'A' * 43}=\n\n",
    ],
)  # fmt: skip
def test_other_texts_are_no_checkpoint(text: str) -> None:
    with pytest.raises(IonError, match="bad-checkpoint"):
        Checkpoint.parse(text)


def test_every_flipped_bit_of_a_checkpoint_is_refused(note: bytes, trust: TrustRoot) -> None:
    for at in range(len(note)):
        for bit in range(8):
            changed = note[:at] + bytes([note[at] ^ 1 << bit]) + note[at + 1 :]
            reason(changed, trust, origin=ORIGIN)


def test_a_checkpoint_of_another_log_or_key_is_refused(note: bytes, keys: dict[str, Signer], trust: TrustRoot) -> None:
    assert "not dagster-ion/other" in reason(note, trust, origin="dagster-ion/other")
    assert "no key" in reason(note, TrustRoot((keys["other"].public,)))
    forged = Note.parse(note)
    right = NoteKey.of(ORIGIN, trust.keys[0])
    forged = Note(forged.text, ()).with_signature(right, keys["other"].sign(forged.text.encode()))
    assert "does not hold" in reason(forged.to_bytes(), trust)


def test_a_signature_for_another_purpose_is_no_signature_of_the_log(note: bytes, log: Signer, trust: TrustRoot) -> None:
    """The log's key used as a witness's: another type, so another key id, so nobody's word on the head."""
    signed = believed(note, trust)
    cosigned = cosign(signed, ORIGIN, log, 1)
    only = Note(cosigned.note.text, cosigned.note.signatures[1:])
    assert "no key" in reason(only.to_bytes(), trust)


def test_one_signature_that_does_not_hold_spoils_the_note(note: bytes, log: Signer, trust: TrustRoot) -> None:
    good = Note.parse(note)
    bad = Note(good.text, ()).with_signature(NoteKey.of(ORIGIN, log.public), log.sign(b"another"))
    assert "does not hold" in reason(Note(good.text, good.signatures + bad.signatures).to_bytes(), trust)


def test_signatures_of_strangers_are_passed_over(note: bytes, keys: dict[str, Signer], trust: TrustRoot) -> None:
    stranger = NoteKey.of("example.org/stranger", keys["other"].public)
    more = Note.parse(note).with_signature(stranger, b"nonsense")
    assert believed(more.to_bytes(), trust).checkpoint == HEAD


def test_a_revoked_key_counts_only_for_what_it_is_known_to_have_signed_before(note: bytes, log: Signer) -> None:
    revoked = TrustRoot((log.public,), {log.public.key_id: Window(revoked=1000)})
    believed(note, revoked, at=999)
    assert "counts" in reason(note, revoked, at=1000)
    assert "counts" in reason(note, revoked), "nothing says when it was signed"
    believed(note, TrustRoot((log.public,), {log.public.key_id: Window(until=1000)}))


def test_a_size_may_be_as_large_as_the_form_allows() -> None:
    largest = Checkpoint("a", 2**63 - 1, bytes(32))
    assert Checkpoint.parse(largest.text()) == largest


def test_openssl_verifies_a_checkpoint(note: bytes, log: Signer, tmp_path: Path) -> None:
    text, _, line = note.decode().rpartition("\n\n")
    (tmp_path / "text").write_text(text + "\n")
    (tmp_path / "signature").write_bytes(b64decode(line.split()[2])[4:])
    (tmp_path / "key.pem").write_bytes(log.public.to_pem())
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "text"]
    asked = [*command, "-sigfile", "signature"]
    assert subprocess.run(asked, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "text").write_text(text + " \n")
    assert subprocess.run(asked, cwd=tmp_path, capture_output=True, check=False).returncode != 0


# Witnesses -----------------------------------------------------------------------------------------


def test_a_cosignature_verifies_with_its_time(note: bytes, keys: dict[str, Signer], trust: TrustRoot) -> None:
    name, witness = "witness.example/w1", keys["witness"]
    cosigned = cosign(believed(note, trust), name, witness, 1_679_315_147)
    assert cosigned.checkpoint == HEAD
    again = believed(cosigned.note.to_bytes(), trust)
    key = NoteKey.of(name, witness.public, COSIGNATURE)
    assert cosigned_at(again, key) == 1_679_315_147
    assert cosigned_at(again, NoteKey.of(name, keys["other"].public, COSIGNATURE)) is None
    assert cosigned_at(again, NoteKey.of("another", witness.public, COSIGNATURE)) is None
    assert cosigned_at(again, NoteKey.of(ORIGIN, keys["log"].public)) is None, "the log is not its own witness"
    assert cosigned_at(believed(note, trust), key) is None


def test_every_flipped_bit_of_a_cosignature_is_noticed(note: bytes, keys: dict[str, Signer], trust: TrustRoot) -> None:
    key = NoteKey.of("w", keys["witness"].public, COSIGNATURE)
    cosigned = cosign(believed(note, trust), "w", keys["witness"], 5)
    line = cosigned.note.by(key)[0]
    for at in range(8 * len(line.signature)):
        changed = (int.from_bytes(line.signature) ^ 1 << at).to_bytes(len(line.signature))
        note_changed = cosigned.note.with_signature(key, changed)
        assert cosigned_at(SignedCheckpoint(cosigned.checkpoint, note_changed), key) is None


# Proofs as files -----------------------------------------------------------------------------------


def proof_of(position: int, note: bytes) -> Proof:
    return Proof(position, tuple(inclusion_proof(TREE, position - 1, len(RAWS))), note)


def test_a_proof_is_read_as_it_was_written_and_holds(note: bytes, trust: TrustRoot) -> None:
    for position, raw in enumerate(RAWS, 1):
        written = proof_of(position, note).to_bytes()
        assert written.startswith(b"c2sp.org/tlog-proof@v1\nindex %d\n" % (position - 1))
        read = Proof.parse(written)
        assert read == proof_of(position, note)
        assert isinstance(read.check(raw, trust, origin=ORIGIN), SignedCheckpoint)
        assert isinstance(read.check(raw + b" ", trust), Unverified)


def test_opaque_extra_data_is_passed_over(note: bytes, trust: TrustRoot) -> None:
    written = proof_of(3, note).to_bytes().replace(b"index", b"extra " + b64encode(b"anything") + b"\nindex")
    assert isinstance(Proof.parse(written).check(RAWS[2], trust), SignedCheckpoint)


def test_every_flipped_bit_of_a_proof_is_refused(note: bytes, trust: TrustRoot) -> None:
    written = proof_of(7, note).to_bytes()
    for at in range(len(written)):
        for bit in range(8):
            changed = written[:at] + bytes([written[at] ^ 1 << bit]) + written[at + 1 :]
            try:
                answer = Proof.parse(changed).check(RAWS[6], trust)
            except IonError as error:
                assert error.code == "bad-proof"  # noqa: PT017 - either of two answers is right
            else:
                assert isinstance(answer, Unverified)


@settings(max_examples=300)
@given(st.binary(max_size=400), st.integers(0, 400), st.integers(0, 400))
def test_no_bytes_make_a_proof_reader_fail_otherwise(inserted: bytes, first: int, last: int) -> None:
    whole = Proof(7, tuple(inclusion_proof(TREE, 6, len(RAWS))), b"a\n1\n\n\xe2\x80\x94 n QUJDREU=\n").to_bytes()
    for parse in (Proof.parse, Extension.parse, Note.parse):
        try:
            parse(whole[:first] + inserted + whole[last:])
        except IonError as error:
            assert error.code in {"bad-proof", "bad-note"}  # noqa: PT017 - most pass, as they may


def test_proofs_are_bounded(note: bytes) -> None:
    Proof.parse(Proof(1, (bytes(32),) * MAX_PROOF, note).to_bytes())
    with pytest.raises(IonError, match="bad-proof"):
        Proof.parse(Proof(1, (bytes(32),) * (MAX_PROOF + 1), note).to_bytes())
    with pytest.raises(IonError, match="bad-proof"):
        Proof.parse(proof_of(1, note).to_bytes() + b"x" * MAX_PROOF_FILE)
    with pytest.raises(IonError, match="bad-proof"):
        Extension.parse(Extension(1, (bytes(32),) * (MAX_PROOF + 1), note).to_bytes())


def test_an_extension_is_read_as_it_was_written(note: bytes) -> None:
    for hashes in ((), (bytes(32), HEAD.root)):
        extension = Extension(5, hashes, note)
        assert extension.to_bytes().startswith(b"old 5\n")
        assert Extension.parse(extension.to_bytes()) == extension


@pytest.mark.parametrize("line", [b"old 05", b"old -1", b"new 5", b"old", b"old 5 "])
def test_other_forms_are_no_extension(line: bytes, note: bytes) -> None:
    with pytest.raises(IonError, match="bad-proof"):
        Extension.parse(line + b"\n\n" + note)
