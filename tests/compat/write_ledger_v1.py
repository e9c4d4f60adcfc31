"""Made ``tests/compat/ledger-v1/`` once; what is there stays as it is. Run it only to read how it came to be."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from ion.audit.checkpoints import Checkpoints
from ion.audit.proving import prove
from ion.clock import Stamp
from ion.evidence import TrustRoot, create_key, load_signer, write_public
from ion.facts import AlertRaised, CheckEvaluated, GapNoted, ParamRecorded
from ion.ledger import Extension, NoteKey, cosign
from ion.ledger.note import COSIGNATURE
from ion.records import write_record
from ion.store import open_store

FOLDER = Path(__file__).parent / "ledger-v1"
COUNT, OLD = 300, 100


def facts() -> list[AlertRaised | CheckEvaluated | GapNoted | ParamRecorded]:
    """Return records of several kinds, with what canonical JSON has to get right."""
    made: list[AlertRaised | CheckEvaluated | GapNoted | ParamRecorded] = []
    for number in range(COUNT):
        results = [{"expectation": "not_null", "success": True, "share": 1 / (number + 3)}]
        check = CheckEvaluated(
            run="run",
            asset="a/b",
            name="check",
            dataset="sha256:" + "0" * 64,
            passed=True,
            severity="ERROR",
            results=results,
        )
        param = ParamRecorded(
            run="run", name="größe € \u2028", value=[number, 1e21, -0.5, None, {"b": 1, "a": "\u20ac"}]
        )
        alert = AlertRaised(scope="ward/score", alert="drift", message=f"radius moved by {number}")
        gap = GapNoted(scope="agent", what="spool bytes", count=number, reason="the disk failed")
        made.append((check, param, alert, gap)[number % 4])
    return made


def main() -> None:
    """Write the ledger as JSON lines, two checkpoints (one of them cosigned), proofs, and the public keys."""
    if FOLDER.exists() and any(FOLDER.iterdir()):
        sys.exit("frozen: there is one already")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_public(FOLDER / "log.pub.pem", create_key(root / "log.pem"))
        create_key(root / "witness.pem")
        signer, witness = load_signer(f"file:{root / 'log.pem'}"), load_signer(f"file:{root / 'witness.pem'}")
        store = open_store(f"sqlite:///{root / 'store.db'}")
        checkpoints = Checkpoints(store, root / "checkpoints", signer, TrustRoot((signer.public,)))
        records = [
            write_record(fact, fact_id=f"fact-{seq}", agent="agent", seq=seq, stamp=Stamp(1_700_000_000_000_000 + seq))
            for seq, fact in enumerate(facts())
        ]
        store.append(records[:OLD])
        old = checkpoints.make()
        store.append(records[OLD:])
        new = checkpoints.make()
        assert old is not None
        assert new is not None
        cosigned = cosign(new, "witness.example/w1", witness, 1_700_000_000)
        (FOLDER / "witness.vkey").write_text(f"{NoteKey.of('witness.example/w1', witness.public, COSIGNATURE)}\n")
        (FOLDER / f"{old.size}.note").write_bytes(old.note.to_bytes())
        (FOLDER / f"{new.size}.note").write_bytes(cosigned.note.to_bytes())
        extension = Extension(old.size, store.ledger.tree().consistency(old.size, new.size), cosigned.note.to_bytes())
        (FOLDER / "extension.txt").write_bytes(extension.to_bytes())
        for position in (1, 42, 257):
            made = prove(store, str(position), cosigned)
            (FOLDER / f"fact-{position}.tlog-proof").write_bytes(made.proof.to_bytes())
            (FOLDER / f"fact-{position}.json").write_text(
                json.dumps(made.to_json(), indent=2, ensure_ascii=False) + "\n"
            )
        with (FOLDER / "ledger.jsonl").open("w") as file:
            for position, raw, link in store.ledger.entries():
                line = {"position": position, "record": raw.decode(), "link": link.hex()}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        store.close()


if __name__ == "__main__":
    main()
