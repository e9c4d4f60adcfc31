"""``ion audit prove``, ``check`` and ``consistency``: proofs made from the store, and checked without it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown
from ion.cli.auditing.given import LogKeys, contents, file_argument, log_options
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.files import write_atomic
from ion.evidence.trust import load_trust
from ion.ledger import NoteKey, Proof, cosigned_at, verify_checkpoint
from ion.ledger.checkpoint import number
from ion.ledger.note import MAX_NOTE
from ion.records import read_record

if TYPE_CHECKING:
    from pathlib import Path

    from ion.cli.answering import Opened
    from ion.ledger import SignedCheckpoint

_MAX_RECORD = 16 << 20
output_option = click.option("-o", "--output", type=file_argument, help="Write it to this file instead.")


@click.command(name="prove")
@click.argument("fact")
@output_option
@click.option("--record", "record_file", type=file_argument, help="Write the record's bytes to this file.")
@click.option("--checkpoint", "note", type=file_argument, help="Prove it under this note, e.g. one with cosignatures.")
@json_option
def prove(fact: str, output: Path | None, record_file: Path | None, note: Path | None, *, as_json: bool) -> None:
    """Prove that FACT (its position, or its id) is in the ledger.

    The proof is of the form c2sp.org/tlog-proof and is about the record's bytes, which --record writes.
    With --json, proof and record are in one document.

    Example: ion audit prove 1 -o decision.tlog-proof --record decision.json
    """
    from ion.audit.proving import prove as make

    with opened() as asked:
        made = make(asked.store, fact, _checkpoint(asked, note))
    if record_file is not None:
        _write(record_file, made.raw)
    if as_json and output is None:
        print_json(made.to_json())
    elif as_json and output is not None:
        _write(output, json.dumps(made.to_json(), indent=2, ensure_ascii=False).encode() + b"\n")
        print_json({"position": made.proof.position, "output": str(output)})
    elif output is not None:
        _write(output, made.proof.to_bytes())
        console().print(f"fact {made.proof.position} is proven in {shown(output)}")
    else:
        click.echo(made.proof.to_bytes().decode(), nl=False)


@click.command(name="consistency")
@click.argument("old")
@click.argument("new", required=False)
@output_option
@json_option
def consistency(old: str, new: str | None, output: Path | None, *, as_json: bool) -> None:
    """Prove that the ledger at NEW begins with the ledger at OLD: what a witness elsewhere asks for.

    OLD is a number of records; NEW is the number of records of a checkpoint, by default the newest one. The form
    is that of c2sp.org/tlog-witness: proof and checkpoint in one file.

    Example: ion audit consistency 0 -o for-the-witness.txt
    """
    from ion.audit.proving import extension, newest_checkpoint

    with opened() as asked:
        signed = newest_checkpoint(asked.store, asked.home, _size(new) if new else 0)
        made = extension(asked.store, _size(old), signed)
    if output is not None:
        _write(output, made.to_bytes())
    if as_json:
        print_json({"old": made.old, "new": signed.size, "text": made.to_bytes().decode()})
    elif output is None:
        click.echo(made.to_bytes().decode(), nl=False)
    else:
        console().print(f"{signed.size} records begin with {made.old}: proven in {shown(output)}")


@click.command(name="check")
@click.argument("proof", type=file_argument)
@click.option("--record", "record_file", type=file_argument, help="The record's bytes; not needed for a JSON proof.")
@click.option("--witness", "witnesses", multiple=True, help="NAME+ID+KEY of a witness who must have cosigned.")
@log_options
@json_option
def check(proof: Path, record_file: Path | None, witnesses: tuple[str, ...], log: LogKeys, *, as_json: bool) -> None:
    """Check a PROOF that a record is in a ledger, without store or network. Exits with 1 when it does not hold.

    Give the log's key by --key or --trust: it must come to you by another way than the proof.

    Example: ion audit check decision.tlog-proof --record decision.json --key ledger.pub.pem
    """
    keys = log.read()
    if keys is None:
        raise IonError("no-log-key", "nothing says which log is to be believed", "give --key or --trust")
    raw, parsed = _given(proof, record_file)
    answer = parsed.check(raw, keys)
    reason = answer.reason if isinstance(answer, Unverified) else ""
    told: dict[str, object] = {"ok": not reason, "reason": reason, "position": parsed.position}
    if not isinstance(answer, Unverified):
        cosigned = {name: cosigned_at(answer, NoteKey.parse(name)) for name in witnesses}
        lacking = [name.partition("+")[0] for name, seconds in cosigned.items() if seconds is None]
        if lacking:
            told |= {"ok": False, "reason": f"not cosigned by {', '.join(lacking)}"}
        head = answer.checkpoint
        told |= {"origin": head.origin, "size": head.size, "root": head.root.hex(), "witnesses": cosigned}
        record = read_record(raw)
        told |= {"kind": type(record.fact).__name__, "agent": record.agent, "us": record.stamp.us, "id": record.id}
    if as_json:
        print_json(told)
    elif told["ok"]:
        line = (
            f"✓ a {told['kind']} by {told['agent']} is record {told['position']} of {told['size']} in {told['origin']}"
        )
        console().print(shown(line), style="green")
    else:
        console().print(f"✗ {shown(told['reason'])}", style="red")
    if not told["ok"]:
        did_not_hold()


def _given(proof: Path, record_file: Path | None) -> tuple[bytes, Proof]:
    from ion.audit.proving import FactProof

    data = contents(proof, _MAX_RECORD)
    if data.lstrip()[:1] == b"{":
        whole = FactProof.parse(data)
        if record_file is not None and contents(record_file, _MAX_RECORD) != whole.raw:
            raise IonError("usage", "the proof holds another record than --record", "leave --record out")
        return whole.raw, whole.proof
    if record_file is None:
        raise IonError("usage", "the proof does not hold the record", "give its bytes with --record")
    return contents(record_file, _MAX_RECORD), Proof.parse(data)


def _checkpoint(asked: Opened, note: Path | None) -> SignedCheckpoint:
    from ion.audit.proving import newest_checkpoint

    if note is None:
        return newest_checkpoint(asked.store, asked.home)
    trust = load_trust(asked.home).root("ledger")
    answer = verify_checkpoint(contents(note, MAX_NOTE), trust, origin=asked.store.ledger.origin())
    if isinstance(answer, Unverified):
        raise IonError("no-checkpoint", f"{note} is no checkpoint of this ledger: {answer.reason}", "name another file")
    return answer


def _size(text: str) -> int:

    size = number(text)
    if size is None:
        raise IonError("usage", f"not a number of records: {text!r:.80}", "write digits")
    return size


def _write(path: Path, data: bytes) -> None:

    try:
        write_atomic(path.resolve(), data)
    except OSError as error:
        raise IonError("cannot-write", f"cannot write {path}: {error.strerror}", "check the path") from error
