"""Records: what an author writes is what anyone reads, and nothing else is read."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from ion.canonical import canonical_bytes
from ion.clock import Stamp
from ion.errors import IonError
from ion.facts import KINDS, Fact, GapNoted, MessageSent, ModelRecorded, StatisticsRecorded
from ion.records import read_record, write_record
from ion.testing import written

STATISTICS = StatisticsRecorded(run="r", series=[{"name": "auc", "n": 2, "first": 1, "last": 2}], digest="d", epoch="e")


def test_a_record_comes_back_as_it_was_written() -> None:
    record = written(STATISTICS, 3, us=12)
    read = read_record(record.raw)
    assert (read.id, read.agent, read.seq, read.stamp) == ("agent-1:3", "agent-1", 3, Stamp(12))
    assert read.fact == STATISTICS
    assert read.digest == record.digest


def test_large_floats_are_read_back_although_json_writes_them_as_integers() -> None:
    record = written(replace(STATISTICS, series=[{"large": [float(2**53), 1e20, -1e18]}]))
    assert b"100000000000000000000" in record.raw
    assert read_record(record.raw).fact == record.fact


@pytest.mark.parametrize(
    "fact",
    [
        replace(STATISTICS, digest=5),
        replace(STATISTICS, series="12"),
        GapNoted(scope="r", what="w", count=True, reason=""),
        GapNoted(scope="r" * 301, what="w", count=1, reason=""),
        GapNoted(scope="r\0", what="w", count=1, reason=""),
        MessageSent(message="m", run="r", sender="s", receiver="x", message_kind="k", subject=None),  # type: ignore[arg-type]
    ],
    ids=["text", "list", "bool", "long", "nul", "none"],
)
def test_a_program_that_tells_something_of_a_wrong_form_hears_it_at_once(fact: Fact) -> None:
    """Spooled, it would make the whole spool unreadable; in a subject, PostgreSQL would refuse it for ever."""
    with pytest.raises(IonError) as caught:
        written(fact)
    assert caught.value.code == "bad-fact"


@pytest.mark.parametrize(("name", "value"), [("fact_id", "a b"), ("agent", ""), ("agent", "x" * 201), ("seq", -1)])
def test_identity_and_author_have_a_form(name: str, value: object) -> None:
    arguments: dict[str, object] = {"fact_id": "i", "agent": "a", "seq": 0, "stamp": Stamp(1), name: value}
    with pytest.raises(IonError) as caught:
        write_record(STATISTICS, **arguments)  # type: ignore[arg-type]
    assert caught.value.code == "bad-fact"


def edited(**changes: object) -> bytes:
    return canonical_bytes({**json.loads(written(replace(STATISTICS, series=[{"half": 0.5}])).raw), **changes})


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"null", b"\xff\xfe", b"{", b"NaN", b"[" * 100_000, b'{"kind":[]}',
        edited(kind="Fact"), edited(kind="Unknown"), edited(extra=1), edited(seq="0"), edited(seq=True),
        edited(us=-1), edited(body={}), edited(body=[]), edited(id=""), edited(agent=7), edited(counter=1.5),
        edited(body={"run": "r", "series": 1, "digest": "d", "epoch": ""}),
        edited(body={"run": "r", "series": [], "digest": "d", "epoch": "", "more": 1}),
        edited().replace(b'"agent"', b' "agent"'),
        edited().replace(b"0.5", b"NaN"),
        edited().replace(b"0.5", b"9007199254740993"),
        edited().decode().encode("utf-16"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_as_a_bad_fact(raw: bytes) -> None:
    with pytest.raises(IonError) as caught:
        read_record(raw)
    assert caught.value.code == "bad-fact"


def test_every_fact_is_found_by_subjects_that_are_its_fields() -> None:
    assert len(KINDS) > 25
    for name, kind in KINDS.items():
        assert set(kind.SUBJECTS) <= {item.name for item in fields(kind)}, name
        assert kind.SUBJECTS, f"{name} could never be found again"


def test_the_members_of_a_mapping_are_subjects_and_empty_ones_are_not() -> None:
    model = ModelRecorded(
        run="r", node="i/n", model="m", name="", format="f", size=1, features=(), label="", input_schema=(),
        output_schema=(), metrics={}, datasets={"training": "d1", "heldout": "d2", "none": ""},
    )  # fmt: skip
    assert model.subjects() == {"r", "i/n", "m", "d1", "d2"}
