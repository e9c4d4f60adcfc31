"""``ion audit witness``: a second pair of eyes on the head of the ledger."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown
from ion.cli.auditing.given import LogKeys, contents, file_argument, log_options
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.files import write_atomic
from ion.evidence.keys import load_signer
from ion.evidence.trust import load_trust
from ion.ledger import Checkpoint, Extension, Note, NoteKey, Refusal, cosign, verify_checkpoint
from ion.ledger.note import COSIGNATURE
from ion.ledger.proof import MAX_PROOF_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from ion.audit.witnessing import Witness
    from ion.evidence.trust_root import TrustRoot
    from ion.ledger import SignedCheckpoint


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the witness was shown: a head, the keys of its log, and a proof from ``old`` records on."""

    signed: SignedCheckpoint
    trust: TrustRoot
    old: int
    proof: tuple[bytes, ...]


@click.command(name="witness")
@click.argument("checkpoint", type=file_argument, required=False)
@click.option("--state", type=file_argument, required=True, help="The witness's own memory; made on first use.")
@click.option("--consistency", "proof_file", type=file_argument, help="What `ion audit consistency` wrote.")
@click.option("--sign", "signer_uri", help="Cosign with this key (a signer URI, e.g. file:/keys/witness.pem).")
@click.option("--name", default="ion-witness", show_default=True, help="Under this name.")
@click.option("-o", "--output", type=file_argument, help="Write the cosigned note to this file.")
@log_options
@json_option
def command(
    checkpoint: Path | None,
    state: Path,
    proof_file: Path | None,
    signer_uri: str | None,
    name: str,
    output: Path | None,
    log: LogKeys,
    *,
    as_json: bool,
) -> None:
    """Accept a head of the ledger if it extends the last one seen; exit with 1 if it was rolled back or forked.

    CHECKPOINT is a note, or a file that `ion audit consistency` wrote, which holds note and proof. Without it the
    store here is asked. The log's key is given the first time and remembered. A first head is taken as it is.

    Example: ion audit witness --state witness.json for-the-witness.txt --key ledger.pub.pem
    """
    from ion.audit.witnessing import Witness

    memory, keys = Witness(state), log.read()
    heard = _of_store(memory, keys) if checkpoint is None else _of_file(memory, keys, checkpoint, proof_file)
    if isinstance(heard, Refusal):
        refusal: Refusal | None = heard
        told: dict[str, object] = {"ok": False}
    else:
        before = memory.seen(heard.signed.checkpoint.origin)
        refusal = memory.see(heard.signed, heard.trust, heard.old, heard.proof)
        told = _told(heard.signed, before.checkpoint.size if before else None)
        if refusal is None:
            told |= _cosigned(heard.signed, signer_uri, name)
    if refusal is not None:
        told |= {"ok": False, "refused": {"kind": refusal.kind, "message": refusal.message}}
    elif output is not None:
        write_atomic(output.resolve(), str(told["note"]).encode())
    _tell(told, refusal, as_json=as_json)
    if refusal is not None:
        did_not_hold()


def _told(signed: SignedCheckpoint, seen: int | None) -> dict[str, object]:
    head = signed.checkpoint
    return {"ok": True, "origin": head.origin, "size": head.size, "root": head.root.hex(), "seen": seen}


def _tell(told: dict[str, object], refusal: Refusal | None, *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    elif refusal is not None:
        console().print(f"✗ {refusal.kind}: {shown(refusal.message)}", style="red")
    else:
        extends = "the first head seen" if told["seen"] is None else f"extends the {told['seen']} seen before"
        console().print(shown(f"✓ {told['origin']}: {told['size']} records, {extends}"), style="green")
        if told["key"]:
            console().print(shown(f"  cosigned by {told['key']}"), soft_wrap=True)


def _of_file(memory: Witness, keys: TrustRoot | None, path: Path, proof_file: Path | None) -> _Heard | Refusal:
    data = contents(path, MAX_PROOF_FILE)
    whole = Extension.parse(data) if data.startswith(b"old ") else None
    note = data if whole is None else whole.checkpoint
    given = Extension.parse(contents(proof_file, MAX_PROOF_FILE)) if proof_file is not None else whole
    if given is not None and Note.parse(given.checkpoint).text != Note.parse(note).text:
        raise IonError("wrong-proof", "the proof is of another checkpoint", "`ion audit consistency` makes one")
    origin = Checkpoint.parse(Note.parse(note).text).origin
    verified = _verified(memory, keys, note, origin)
    if isinstance(verified, Refusal):
        return verified
    return _Heard(*verified, *((given.old, given.hashes) if given is not None else (0, ())))


def _of_store(memory: Witness, keys: TrustRoot | None) -> _Heard | Refusal:
    from ion.audit.proving import extension, newest_checkpoint

    with opened() as asked:
        newest = newest_checkpoint(asked.store, asked.home)
        origin = newest.checkpoint.origin
        seen = memory.seen(origin)
        if keys is None and seen is None:
            keys = load_trust(asked.home).root("ledger")
        verified = _verified(memory, keys, newest.note.to_bytes(), origin)
        if isinstance(verified, Refusal):
            return verified
        if seen is None or seen.checkpoint.size > newest.size:
            return _Heard(*verified, 0, ())
        try:
            made = extension(asked.store, seen.checkpoint.size, newest)
        except IonError as error:
            if error.code == "ledger-altered":
                return Refusal("rolled-back", error.message)
            raise
        return _Heard(*verified, made.old, made.hashes)


def _verified(
    memory: Witness, keys: TrustRoot | None, note: bytes, origin: str
) -> tuple[SignedCheckpoint, TrustRoot] | Refusal:
    seen = memory.seen(origin)
    trust = keys if keys is not None else seen.trust if seen is not None else None
    if trust is None:
        raise IonError("no-log-key", "nothing says which log is to be believed", "give --key or --trust the first time")
    answer = verify_checkpoint(note, trust, origin=origin)
    return Refusal("unverified", answer.reason) if isinstance(answer, Unverified) else (answer, trust)


def _cosigned(signed: SignedCheckpoint, signer_uri: str | None, name: str) -> dict[str, object]:
    """Return the note, with the witness's cosignature if it has a key, and the key that checks it."""
    if signer_uri is None:
        return {"note": signed.note.to_bytes().decode(), "key": None}
    signer = load_signer(signer_uri)
    made = cosign(signed, name, signer, int(time.time()))
    return {"note": made.note.to_bytes().decode(), "key": str(NoteKey.of(name, signer.public, COSIGNATURE))}
