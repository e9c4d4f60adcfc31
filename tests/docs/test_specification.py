"""The test vectors of the specifications, computed with the code and, where it is short, without it."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest

from ion.ids import PredictionId
from ion.ledger import GENESIS, link
from ion.records import read_record
from ion.serving.scorer import LinearScorer

if TYPE_CHECKING:
    from pathlib import Path


def vector(page: Path, name: str) -> str:
    """Return the code block that follows ``<!-- vector: name -->``, without its last line end."""
    found = re.search(rf"<!-- vector: {name} -->\n```\w*\n(.*?)\n```", page.read_text("utf-8"), re.DOTALL)
    assert found, f"no vector {name} in {page.name}"
    return found[1]


@pytest.fixture
def records(docs: Path) -> list[bytes]:
    """The two records of ledger.md."""
    return [vector(docs / "spec" / "ledger.md", f"record-{number}").encode() for number in (1, 2)]


def test_the_records_are_canonical_facts(records: list[bytes]) -> None:
    for number, raw in enumerate(records):
        record = read_record(raw)
        assert (record.agent, record.seq, record.stamp.counter) == ("agent-1", number, number)


def test_the_links_follow(docs: Path, records: list[bytes]) -> None:
    rows = re.findall(
        r"^\| \d \| `(\w{64})` \| `(\w{64})` \|", (docs / "spec" / "ledger.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) == len(records)
    ours, plain = GENESIS, bytes(32)
    for raw, (digest, written) in zip(records, rows, strict=True):
        ours = link(ours, raw)
        plain = hashlib.sha256(plain + hashlib.sha256(raw).digest()).digest()
        assert hashlib.sha256(raw).hexdigest() == digest
        assert ours.hex() == plain.hex() == written


def test_a_changed_record_has_another_link(records: list[bytes]) -> None:
    assert link(GENESIS, records[0]) != link(GENESIS, records[0].replace(b"moved", b"stood"))


def reported(raws: list[bytes]) -> bytes:
    """Return the body in which an agent reports these records over HTTP (receiver.md)."""
    from ion.agent.body import frames_of
    from ion.canonical import digest_bytes
    from ion.records import read_record

    ((_, body),) = frames_of([read_record(raw) for raw in raws], {digest_bytes(b"abc"): b"abc"})
    return body


def test_the_spool_is_written_and_read_as_specified(docs: Path, tmp_path: Path, records: list[bytes]) -> None:
    from ion.agent.segments import read_frames
    from ion.agent.spool import SpoolWriter

    lines = [row.split() for row in vector(docs / "spec" / "spool.md", "spool").splitlines()]
    heads, size, digest = [row[-1] for row in lines[:3]], int(lines[3][-1]), lines[4][-1]
    writer = SpoolWriter(tmp_path, "agent-1")
    writer.append(records[0], b"abc")
    writer.append(records[1])
    writer.close()
    data = (tmp_path / "agent-1" / "facts-00000000").read_bytes()
    assert reported(records) == data[108:]
    second = 108 + 76 + len(records[0]) + 3
    assert [data[:108].hex(), data[108:184].hex(), data[second : second + 76].hex()] == heads
    assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)
    assert heads[0].endswith(hashlib.sha256(data[:76]).hexdigest())
    own = hashlib.sha256(data[108:120] + records[0] + b"abc").digest()
    assert heads[1].endswith(own.hex() + hashlib.sha256(bytes(32) + own).hexdigest())
    frames = list(read_frames(tmp_path / "agent-1"))
    assert [(frame.record, frame.block) for frame in frames] == [(records[0], b"abc"), (records[1], b"")]


def test_points_are_packed_as_specified(docs: Path) -> None:
    import numpy as np

    from ion.points import Points, leaf_digest, read_column, write_column

    *columns, digest = [line.split()[-1] for line in vector(docs / "spec" / "points.md", "points").splitlines()]
    loss = Points(np.array([1_000_000, 2_000_000, 3_000_000]), np.array([0.5, 0.25, 0.125]))
    rows = Points(np.array([1_000_000]), np.array([100.0]))
    assert [write_column(each).hex() for each in (loss, rows)] == columns
    assert read_column(bytes.fromhex(columns[0])).digest() == loss.digest()
    plain = [hashlib.sha256(each.times.tobytes() + each.values.tobytes()).digest() for each in (loss, rows)]
    assert leaf_digest(plain) == digest == "sha256:" + hashlib.sha256(b"".join(plain)).hexdigest()


def test_the_model_scores_as_specified(docs: Path) -> None:
    page = docs / "spec" / "model-ion-linear.md"
    text = page.read_text("utf-8")
    scorer = LinearScorer.from_bytes(vector(page, "model").encode())
    assert scorer.to_bytes().decode() == vector(page, "model")
    assert f"`{scorer.digest}`" in text
    rows = re.findall(r"^\| `([\d.,]+)` \| `([\d.]+)` \| `(0x[^`]+)` \| `(\w+)` \|", text, re.MULTILINE)
    assert len(rows) == 3
    for row, shown, bits, label in rows:
        values = [float(value) for value in row.split(",")]
        score = scorer.score_row(values)
        assert (repr(score), score.hex(), scorer.label(score)) == (shown, bits, label)
        assert float(scorer.score(np.array([values]))[0]).hex() == bits


def test_an_output_row_is_read_as_specified(docs: Path) -> None:
    from resources.flink.columns import read_predictions
    from resources.flink.rows import quoted, unquoted

    page = docs / "spec" / "predictions.md"
    (row,) = read_predictions(vector(page, "prediction").encode() + b"\n")
    identity, file = str(PredictionId(row.epoch, row.seq)), row.file
    assert str(PredictionId.parse(identity)) == identity
    assert f"prediction `{identity}`, about line {row.line} of `{unquoted(file)}`" in page.read_text("utf-8")
    assert quoted(unquoted(file)) == file


def test_the_reasons_to_set_a_row_aside_are_those_of_the_code(docs: Path) -> None:
    from resources.flink.rows import Reason, Unscorable, parse_patient

    text = (
        (docs / "spec" / "predictions.md").read_text("utf-8").partition("| reason | the row |")[2].partition("\n\n")[0]
    )
    reasons = re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)
    assert reasons == list(get_args(Reason))
    rows = [" ", "1", "1,2,3", "1,x", "1,nan"]
    assert [found.reason for row in rows if isinstance(found := parse_patient(row, 2), Unscorable)] == reasons


def test_a_captured_row_is_read_as_specified() -> None:
    from ion.serving.captured import CapturedRow, capture_aad

    text = CapturedRow((1.5, 2.0), 0.25).to_text()
    assert json.loads(text) == {"inputs": [1.5, 2], "score": 0.25}
    for written in (b"1.5,2;0.25", text.encode()):
        assert CapturedRow.from_text(written) == CapturedRow((1.5, 2.0), 0.25)
    assert capture_aad("0193f3a2-7c93-7911-8a6e-06ff3ee1fb94", 1024) == b"0193f3a2-7c93-7911-8a6e-06ff3ee1fb94:1024"


def test_a_capture_block_is_as_specified() -> None:
    """Take a block apart by the specification alone."""
    import zstandard
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from ion.serving import CaptureKey, seal

    keys = [CaptureKey("one", bytes(range(32))), CaptureKey("two", bytes(32))]
    block = seal(["a", "b", "c"], [keys[0], keys[1], keys[0]], b"place")
    assert block[:8] == b"IONCAP2\n"
    size, rows, sections = struct.unpack("<3I", block[8:20])
    header, offset, entries = block[: 12 + size], 20, []
    for _ in range(sections):
        length = block[offset]
        name, nonce = block[offset + 1 : offset + 1 + length], block[offset + 1 + length : offset + 13 + length]
        entries.append(
            (name.decode(), nonce, *struct.unpack("<2I", block[offset + 13 + length : offset + 21 + length]))
        )
        offset += 21 + length
    assert struct.unpack(f"<{rows}H", block[offset : len(header)]) == (0, 1, 0)
    offset, bound, opened = len(header), hashlib.sha256(header).digest() + b"place", []
    for key, (name, nonce, held, sealed) in zip(keys, entries, strict=True):
        assert name == key.key_id
        plain = AESGCM(key.secret).decrypt(nonce, block[offset : offset + sealed], bound)
        lines = zstandard.ZstdDecompressor().decompress(plain).split(b"\n")
        assert len(lines) == held
        opened.append(lines)
        offset += sealed
    assert (opened, offset) == ([[b"a", b"c"], [b"b"]], len(block))


def test_a_packed_capture_block_is_as_specified() -> None:
    """Take a block of columns apart by the specification alone."""
    import numpy as np
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from ion.serving.capture import seal_columns
    from ion.serving.keyring import CaptureKey

    key = CaptureKey("one", bytes(range(32)))
    block = seal_columns(b"-1.5,2e+3\n0.25,7", np.array([0.25, 1e-7]), key, b"place")
    assert block[:8] == b"IONCAP3\n"
    size, rows, sections = struct.unpack("<3I", block[8:20])
    assert (rows, sections) == (2, 1)
    header, nonce = block[: 12 + size], block[20 + 4 : 20 + 16]
    bound = hashlib.sha256(header).digest() + b"place"
    plain = AESGCM(key.secret).decrypt(nonce, block[len(header) :], bound)
    assert struct.unpack("<2d", plain[:16]) == (0.25, 1e-7)
    text = "".join("0123456789.,-+e\n"[half] for byte in plain[16:] for half in divmod(byte, 16))
    assert text == "-1.5,2e+3\n0.25,7"


def test_a_person_is_tagged_as_specified(docs: Path) -> None:
    from ion.serving.subject import SubjectTags

    told = dict(line.split() for line in vector(docs / "spec" / "captures.md", "tag").splitlines())
    assert SubjectTags(bytes.fromhex(told["pepper"])).tag(told["node"], told["identifier"]) == told["tag"]


def test_a_figure_is_written_as_specified(docs: Path, tmp_path: Path) -> None:
    from dataclasses import asdict

    from ion.agent import Client
    from ion.facts import FigureRecorded
    from ion.home import Home
    from ion.testing import MemoryReceiver

    receiver = MemoryReceiver()
    client = Client(Home(tmp_path), "test", receiver)
    run = client.node_run("wines/taste", kind="custom", run_id="r")
    run.matrix("confusion", [[50, 3], [4, 43]], rows=["no", "yes"], columns=["no", "yes"])
    client.close()
    (told,) = receiver.facts(FigureRecorded)
    assert asdict(told) == json.loads(vector(docs / "spec" / "figures.md", "figure"))


def test_the_listing_of_a_retention_is_written_as_specified(docs: Path) -> None:
    from ion.canonical import digest_bytes
    from ion.store.listing import write_listing

    page = docs / "spec" / "retention.md"
    told = vector(page, "listing").encode()
    assert write_listing("captures", [15, 12]) == told
    assert f"`{digest_bytes(told)}`" in page.read_text("utf-8")
