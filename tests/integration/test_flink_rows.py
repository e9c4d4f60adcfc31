"""The streaming node's parts that need no engine: row forms, journal, lock, committed files, restart rest."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.agent import open_client, ship_all
from ion.errors import IonError
from ion.evidence import ArtifactStore
from ion.evidence.captures import row_key
from ion.facts import GapNoted, InputsCaptured, PredictionsCommitted, RowsQuarantined, StatisticsRecorded
from ion.replay import Eraser
from ion.serving import CaptureKey, open_block, open_row
from ion.serving.capture import seal_columns
from ion.serving.captured import CapturedRow, capture_aad
from ion.serving.subject import SubjectTags
from resources.flink.checkpoints import newest_restore_point
from resources.flink.columns import read_predictions
from resources.flink.committed import CommittedFiles
from resources.flink.inputs import InputRows, ScoredInputs
from resources.flink.journal import EpochEntry, Journal, Window
from resources.flink.lock import is_locked, take_lock
from resources.flink.output_files import OutputFiles
from resources.flink.rows import Prediction, Unscorable, parse_patient, quoted, unquoted
from resources.flink.sealing import RowKeys
from resources.flink.settings import JobSettings
from resources.flink.windows import EpochRows, WindowFacts
from tests.integration.flink_scene import NODE, Scene, linear_model, signer_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EPOCH = "01a1fc11-21ec-7aa4-a9a0-2eb450b4067c"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_every_row_of_finite_numbers_is_read_back_exactly(values: list[float]) -> None:
    assert parse_patient(",".join(map(repr, values)), 3) == values


@given(st.text())
def test_no_text_makes_the_parser_raise_or_return_what_is_not_finite(text: str) -> None:
    parsed = parse_patient(text, 2)
    assert isinstance(parsed, Unscorable) or (len(parsed) == 2 and all(map(math.isfinite, parsed)))


@given(st.text(min_size=1))
def test_a_quoted_name_breaks_no_row_and_comes_back(name: str) -> None:
    assert not set(quoted(name)) & {",", "\n", "\r"}
    assert unquoted(quoted(name)) == name


def row(seq: int, epoch: str = EPOCH, file: str = "a.csv", line: int = 1, model: str = "sha256:" + "0" * 64) -> str:
    return f"{epoch},{seq},{model},{line},{1000 + seq},0.25,benign,{file}\n"


def test_a_range_ends_where_the_sequence_jumps_or_the_epoch_changes() -> None:
    other = EPOCH.replace("0", "1")
    read = read_predictions("".join([row(3), row(4), row(6), row(0, other), row(1, other)]).encode())
    assert [part.seq.tolist() for part, _ in read.ranges()] == [[3, 4], [6], [0, 1]]
    assert [part.epoch for part, _ in read.ranges()] == [EPOCH, EPOCH, other]
    assert [part.seq.tolist() for part, _ in read.ranges([0, 1, 3, 5])] == [[3], [4], [6], [0, 1]]
    assert read_predictions(b"").ranges() == []


def test_a_file_that_is_cut_short_is_no_prediction_file() -> None:
    with pytest.raises(ValueError, match="cut short"):
        read_predictions(row(1).encode()[:-1])


def test_a_file_whose_rows_trade_a_field_is_no_prediction_file() -> None:
    first, second = row(1).strip(), row(2).strip()
    with pytest.raises(ValueError, match="8 columns"):
        read_predictions(f"{first},{second.replace(',', '', 1)}\n\n".encode())
    with pytest.raises(ValueError, match="8 columns"):
        read_predictions(f"{first},x\n{second.rpartition(',')[0]}\n".encode())


PREDICTIONS = st.builds(
    Prediction,
    epoch=st.sampled_from([EPOCH, EPOCH.replace("0", "1"), "short"]),
    seq=st.integers(0, 2**53 - 1),
    model=st.sampled_from(["sha256:" + "0" * 64, "sha256:" + "1" * 64]),
    line=st.integers(1, 10**9),
    us=st.integers(0, 2**53 - 1),
    score=st.floats(0, 1),
    label=st.sampled_from(["benign", "malignant", ""]),
    file=st.sampled_from(["a.csv", "b.csv", "day%2C1.csv"]),
)


@given(st.lists(PREDICTIONS, max_size=30))
def test_predictions_are_read_back_as_written_whole_and_by_columns(rows: list[Prediction]) -> None:
    data = "".join(f"{','.join(map(str, each))}\n" for each in rows).encode()
    read = read_predictions(data)
    assert list(read) == rows
    columns = zip(read.seq.tolist(), read.line.tolist(), read.us.tolist(), strict=True)
    assert [(each.seq, each.line, each.us) for each in rows] == list(columns)
    assert [score.hex() for score in read.score.tolist()] == [each.score.hex() for each in rows]
    assert [read.label[index] for index in range(len(rows))] == [each.label for each in rows]
    assert [part.model for part, _ in read.ranges()] == [next(iter(part)).model for part, _ in read.ranges()]
    lines = [(piece.file, line) for piece in read.pieces() for line in range(piece.first, piece.last + 1)]
    assert lines == [(each.file, each.line) for each in rows]
    for part, pieces in read.ranges():
        assert pieces == part.pieces()
    parts = [list(part) for part, _ in read.ranges()]
    assert list(chain(*parts)) == rows
    follows = [(a.epoch, a.model, a.seq + 1) == (b.epoch, b.model, b.seq) for part in parts for a, b in pairwise(part)]
    broken = [
        (a[-1].epoch, a[-1].model, a[-1].seq + 1) == (b[0].epoch, b[0].model, b[0].seq) for a, b in pairwise(parts)
    ]
    assert all(follows)
    assert not any(broken)


@pytest.mark.parametrize("field", ["", "x", "1.5", "-1", "+1", "1_0", "9" * 19, "é"])
def test_a_sequence_that_is_no_whole_number_is_no_prediction_file(field: str) -> None:
    with pytest.raises(ValueError, match=r"conversion error|too large"):
        read_predictions(row(7).replace(",7,", f",{field},").encode())


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), st.floats(0, 1))
def test_a_captured_row_reads_back_bit_by_bit(values: list[float], score: float) -> None:
    key, text = CaptureKey.generate(), ",".join(map(repr, values))
    (row,) = open_block(seal_columns(text.encode(), np.array([score]), key, b""), key, b"")
    read = CapturedRow.from_text(row)
    assert [number.hex() for number in (*read.inputs, read.score)] == [number.hex() for number in (*values, score)]


def test_input_lines_are_found_in_one_piece_and_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "a,b.csv").write_bytes(b"1\n2\n3\n")
    rows = InputRows(tmp_path)
    name = quoted("a,b.csv")
    assert rows.rows(name, [1, 2, 3]) == [b"1", b"2", b"3"]
    assert rows.rows(name, [3, 1, 9, 0]) == [b"3", b"1", None, None]
    assert rows.rows(name, [1, 3, 3]) == [b"1", b"3", b"3"]
    assert rows.rows(name, [3, 2, 5]) == [b"3", b"2", None]
    assert rows.rows("gone", [1, 2]) == [None, None]
    assert [rows.span(name, 1, 3), rows.span(name, 2, 2), rows.span(name, 2, 4)] == [b"1\n2\n3", b"2", None]
    assert [rows.span(name, 0, 1), rows.span(name, 3, 1), rows.span("gone", 1, 1)] == [None] * 3
    (tmp_path / "cut").write_bytes(b"1\n2")
    assert rows.rows("cut", [1, 2, 3]) == [b"1", b"2", None]


def test_output_files_are_found_once_each_in_every_folder(tmp_path: Path) -> None:
    folders = JobSettings(str(tmp_path), NODE).folders.make()
    output = OutputFiles(folders)
    for name in ("predictions/h1/a", "predictions/h1/.b", "quarantine/h1/c", "predictions/.tmp/d"):
        path = folders.root / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert output.fresh({"quarantine/h1/c"}, now=True) == ["predictions/h1/a"]
    (folders.predictions / "h2").mkdir()
    (folders.predictions / "h2" / "e").touch()
    (folders.predictions / "h1" / ".b").rename(folders.predictions / "h1" / "b")
    assert sorted(output.fresh(set(), now=True)) == ["predictions/h1/b", "predictions/h2/e"]
    assert output.fresh(set(), now=True) == []
    output.forget()
    assert len(output.fresh(set(), now=True)) == 4


def test_a_folder_that_was_quiet_is_listed_again_when_it_changes(tmp_path: Path) -> None:
    folders = JobSettings(str(tmp_path), NODE).folders.make()
    folder = folders.predictions / "h1"
    folder.mkdir()
    (folder / "a").touch()
    hour_ago = time.time() - 3600
    os.utime(folder, (hour_ago, hour_ago))
    output = OutputFiles(folders)
    assert output.fresh(set()) == ["predictions/h1/a"]
    (folder / "b").touch()
    assert output.fresh(set(), now=True) == ["predictions/h1/b"]


def test_captured_rows_keep_numbers_as_written_and_one_that_is_gone_is_an_empty_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1.50,2\n+1,.5\n3,4\r\n")
    lines = [("a.csv", 1), ("a.csv", 2), ("gone.csv", 1), ("a.csv", 3), ("a.csv", 1)]
    rows = read_predictions("".join(row(seq, file=file, line=line) for seq, (file, line) in enumerate(lines)).encode())
    scored = ScoredInputs(InputRows(tmp_path), rows.pieces(), rows.score)
    assert scored.missing == 1
    assert scored.inputs == b"1.50,2\n+1,.5\n\n3,4\r\n1.50,2"
    assert scored.scores.tolist() == [0.25] * 5
    assert scored.some(5) == scored.some(9) == [b"1.50,2", b"+1,.5", b"3,4\r", b"1.50,2"]
    assert scored.some(1) == [b"+1,.5"]
    assert set(scored.some(3)) < set(scored.some(5))
    assert scored.some(0) == []
    found = [CapturedRow.from_text(text + b";0.25") for text in scored.inputs.split(b"\n") if text]
    assert [item.inputs for item in found] == [(1.5, 2.0), (1.0, 0.5), (3.0, 4.0), (1.5, 2.0)]


def test_the_journal_reads_back_what_it_wrote_and_drops_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.run_started("r")
    journal.epoch_opened(EpochEntry("e", "r", "m", 0))
    journal.files_told(["a", "b", "c"])
    journal.window_began(Window("w", ("a", "b")))
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"told": ["d"')
    again = Journal(path)
    assert (again.open_runs, list(again.open_epochs), again.unwindowed) == (["r"], ["e"], ["c"])
    assert again.open_windows == {"w": Window("w", ("a", "b"))}
    again.window_told("w")
    again.epoch_closed("e")
    again.run_ended("r")
    again.close()
    last = Journal(path)
    assert (last.open_runs, last.open_epochs, last.open_windows) == ([], {}, {})
    assert "e" in last.epochs


def test_a_damaged_journal_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "j").write_text('{"tld": []}\n')
    with pytest.raises(IonError, match="journal") as caught:
        Journal(tmp_path / "j")
    assert caught.value.code == "journal-unusable"


def test_the_lock_is_held_once_and_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    handle = take_lock(path)
    assert handle is not None
    assert is_locked(path)
    assert take_lock(path) is None
    os.close(handle)
    assert not is_locked(path)


def test_settings_survive_the_command_line_and_refuse_nonsense(tmp_path: Path) -> None:
    settings = JobSettings(str(tmp_path), NODE, parallelism=2, capture_share=0.5)
    assert JobSettings.parse(settings.arguments()) == settings
    assert "home" not in settings.config()
    with pytest.raises(IonError, match="parallelism"):
        JobSettings(str(tmp_path), NODE, parallelism=0)


def test_only_a_complete_checkpoint_is_a_place_to_restore_from(tmp_path: Path) -> None:
    folders = JobSettings(str(tmp_path), NODE).folders.make()
    (folders.checkpoints / "job" / "chk-2").mkdir(parents=True)
    assert newest_restore_point(folders) is None
    for index, folder in enumerate(["job/chk-1", "job/chk-3"]):
        (folders.checkpoints / folder).mkdir(parents=True)
        mark = folders.checkpoints / folder / "_metadata"
        mark.touch()
        os.utime(mark, (index, index))
    assert newest_restore_point(folders) == folders.checkpoints / "job" / "chk-3"


def test_telling_the_same_files_again_changes_nothing_in_the_store(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    settings = JobSettings(str(scene.home.root), NODE, window_s=0.001)
    model = scene.artifacts.put_model({"model.json": linear_model(1)}).digest
    name = scene.feed(5)
    rows = "".join(row(seq, file=name, line=seq + 1, model=model) for seq in range(5))
    folder = scene.folders.predictions / "2026-01-01--00"
    folder.mkdir()
    (folder / "predictions-1-0.csv").write_text(rows)
    (folder / ".predictions-1-1.csv.inprogress").write_text(row(9))
    for _ in range(2):  # the second time as if the journal had been lost
        scene.folders.journal.unlink(missing_ok=True)
        journal = Journal(scene.folders.journal)
        journal.epoch_opened(EpochEntry(EPOCH, "run", model, 0))
        client = open_client(scene.home, name="flink", ship=False)
        facts = WindowFacts(client, ArtifactStore(scene.home.artifacts), scene.folders.bins)
        files = CommittedFiles(settings, "run", client, journal, RowKeys(settings, client), facts)
        files.resume()
        assert files.tell_new(last=True) == 1
        assert files.tell_new(last=True) == 0
        client.close()
        journal.close()
    ship_all(scene.home.spool, scene.store)
    (committed,) = scene.facts(PredictionsCommitted)
    assert (committed.first, committed.last) == (0, 4)
    assert committed.sources == [{"file": name, "first": 1, "last": 5, "rows": 5}]
    assert len(scene.facts(InputsCaptured)) == 1
    (statistics,) = scene.facts(StatisticsRecorded)
    assert len(statistics.series) == 5
    assert scene.facts(GapNoted) == []
    scene.store.close()


@pytest.mark.parametrize("sizes", [[2500], [700, 700, 1, 1099], [1000, 1000, 500], [1] * 3])
def test_a_point_is_told_for_every_thousand_rows_and_the_rest_with_the_time_of_its_last(sizes: list[int]) -> None:
    rows = EpochRows(EpochEntry(EPOCH, "run", "model", 0))
    first = 0
    for size in sizes:
        part = read_predictions("".join(row(first + index) for index in range(size)).encode())
        rows.add(part)
        first += size
    ends = [*range(999, first, 1000), *([first - 1] if first % 1000 else [])]
    assert {end: 1000 + end for end in ends}.items() <= rows.times.items()
    assert rows.count == first
    assert [score for scores in rows.scores for score in scores.tolist()] == [0.25] * first


def test_a_removed_input_or_output_file_becomes_a_gap_not_a_failure(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    settings = JobSettings(str(scene.home.root), NODE)
    folder = scene.folders.predictions / "2026-01-01--00"
    folder.mkdir()
    (folder / "predictions-1-0.csv").write_text(row(0, file="gone.csv"))
    (folder / "predictions-1-1.csv").write_text("not a row\n")
    journal = Journal(scene.folders.journal)
    client = open_client(scene.home, name="flink", ship=False)
    facts = WindowFacts(client, ArtifactStore(scene.home.artifacts), scene.folders.bins)
    CommittedFiles(settings, "run", client, journal, RowKeys(settings, client), facts).tell_new(last=True)
    client.close()
    journal.close()
    whats = {fact.what for fact in scene.facts(GapNoted)}
    assert whats == {"epoch", "captured inputs", "output rows", "statistics"}
    scene.store.close()


@pytest.mark.parametrize("damage", ["", "epo", "\n", "x,y"])
def test_files_of_one_look_are_told_one_by_one_and_a_damaged_one_hides_nothing(tmp_path: Path, damage: str) -> None:
    scene = Scene(tmp_path)
    settings = JobSettings(str(scene.home.root), NODE, window_s=0.001)
    model = scene.artifacts.put_model({"model.json": linear_model(1)}).digest
    inputs = scene.feed(9)
    folder = scene.folders.predictions / "2026-01-01--00"
    folder.mkdir()
    for number in range(3):  # the sequence goes on from file to file
        rows = (row(seq, file=inputs, line=seq + 1, model=model) for seq in range(3 * number, 3 * number + 3))
        path = folder / f"predictions-1-{number}.csv"
        path.write_text("".join(rows) + (damage if number == 1 else ""))
        os.utime(path, (number, number))
    journal = Journal(scene.folders.journal)
    journal.epoch_opened(EpochEntry(EPOCH, "run", model, 0))
    client = open_client(scene.home, name="flink", ship=False)
    facts = WindowFacts(client, ArtifactStore(scene.home.artifacts), scene.folders.bins)
    files = CommittedFiles(settings, "run", client, journal, RowKeys(settings, client), facts)
    flush, failures = client.flush, [IonError("spool-unusable", "no space")]

    def fails_once() -> None:
        if failures:
            raise failures.pop()
        flush()

    client.flush = fails_once  # type: ignore[method-assign]
    with pytest.raises(IonError, match="no space"):
        files.tell_new(last=True)
    assert files.tell_new(last=True) == 3
    client.flush = flush  # type: ignore[method-assign]
    client.close()
    journal.close()
    told = [0, 2] if damage else [0, 1, 2]
    committed = sorted(scene.facts(PredictionsCommitted), key=lambda fact: fact.first)
    assert [(fact.first, fact.last, fact.file[-5]) for fact in committed] == [
        (3 * number, 3 * number + 2, str(number)) for number in told
    ]
    assert [fact.sources for fact in committed] == [
        [{"file": inputs, "first": 3 * number + 1, "last": 3 * number + 3, "rows": 3}] for number in told
    ]
    assert sorted((fact.first, fact.rows) for fact in scene.facts(InputsCaptured)) == [(3 * n, 3) for n in told]
    assert [fact.what for fact in scene.facts(GapNoted)] == (["output rows"] if damage else [])
    (statistics,) = scene.facts(StatisticsRecorded)
    points = {name: scene.store.points("run", name) for name in ("predictions", "mean_score")}
    assert statistics.epoch == EPOCH
    assert points["predictions"].values.tolist() == [3.0 * len(told)]  # counted once, though told twice
    scene.store.close()


@dataclass
class Telling:
    """A job's reading of committed files, without the engine; its rows begin with a patient."""

    scene: Scene
    files: int = 0

    def __post_init__(self) -> None:
        settings = JobSettings(str(self.scene.home.root), NODE, subject="patient", window_s=0.001)
        self.model = self.scene.artifacts.put_model({"model.json": linear_model(1)}).digest
        self.journal = Journal(self.scene.folders.journal)
        self.journal.epoch_opened(EpochEntry(EPOCH, "run", self.model, 0))
        self.client = open_client(self.scene.home, name="flink", ship=False)
        facts = WindowFacts(self.client, ArtifactStore(self.scene.home.artifacts), self.scene.folders.bins)
        self.committed = CommittedFiles(
            settings, "run", self.client, self.journal, RowKeys(settings, self.client), facts
        )

    def tell(self, patients: list[str], aside: str = "") -> None:
        """Commit a file of rows of these patients (and one that could not be scored) and tell it."""
        name = self.scene.feed([*(f"{patient},1,2,3,{index}" for index, patient in enumerate(patients)), aside])
        first = self.files * 100
        rows = "".join(row(first + i, file=name, line=i + 1, model=self.model) for i in range(len(patients)))
        for kind, text in (("predictions", rows), ("quarantine", f"{EPOCH},{len(patients) + 1},short,{name}\n")):
            folder = self.scene.folders.root / kind / "2026-01-01--00"
            folder.mkdir(exist_ok=True)
            if kind == "predictions" or aside:
                (folder / f"{kind}-1-{self.files}.csv").write_text(text)
        self.files += 1
        self.committed.tell_new(last=True)
        self.client.flush()

    def row_of(self, seq: int) -> tuple[str, bytes | None]:
        """Return the key id of a captured row, and the row while the store has its key."""
        for fact in self.scene.facts(InputsCaptured):
            if fact.first <= seq <= fact.last:
                assert fact.key == ""
                block = self.scene.store.block(fact.block) or b""
                key_id = row_key(block, seq - fact.first)
                key = self.scene.store.capture_key(key_id)
                aad = capture_aad(EPOCH, fact.first)
                return key_id, None if key is None else open_row(block, key, seq - fact.first, aad)
        raise AssertionError(seq)

    def erase(self, patient: str) -> int:
        return len(Eraser(self.scene.store, self.scene.home, reason="r", by="b").subject(NODE, patient).keys)

    def close(self) -> None:
        self.client.close()
        self.journal.close()
        self.scene.store.close()


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Telling]:
    made = Telling(Scene(tmp_path, subject="patient"))
    yield made
    made.close()


def test_each_patients_rows_are_sealed_apart_and_no_row_says_whose_it_is(telling: Telling) -> None:
    telling.tell(["ann", "bob", "ann"])
    (ann, text), (bob, _), (again, _) = (telling.row_of(seq) for seq in range(3))
    assert ann == again != bob
    assert text == b"1,2,3,0;0.25"
    assert CapturedRow.from_text(text).inputs == (1.0, 2.0, 3.0, 0.0)
    assert telling.scene.facts(GapNoted) == []
    key = telling.scene.store.capture_key(ann)
    assert key is not None
    assert key.subject == SubjectTags.of(telling.scene.home).tag(NODE, "ann")


def test_an_erased_patient_is_gone_and_gets_another_key_from_the_running_job(telling: Telling) -> None:
    telling.tell(["ann", "bob"])
    before, _ = telling.row_of(0)
    assert telling.erase("ann") == 1
    telling.tell(["ann", "bob"])
    after, text = telling.row_of(100)
    assert telling.row_of(0) == (before, None)
    assert after != before
    assert text is not None
    assert telling.row_of(1)[0] == telling.row_of(101)[0]
    assert telling.erase("ann") == 1
    assert [telling.row_of(seq)[1] is None for seq in (0, 1, 100, 101)] == [True, False, True, False]


def test_a_row_that_could_not_be_scored_is_erased_with_the_patient_it_begins_with(telling: Telling) -> None:
    telling.tell(["bob"], aside="ann,1,2")
    (fact,) = telling.scene.facts(RowsQuarantined)
    block = telling.scene.store.block(fact.block) or b""
    key = telling.scene.store.capture_key(row_key(block, 0))
    assert key is not None
    assert json.loads(open_row(block, key, 0, fact.file_digest.encode()))["row"] == "ann,1,2"
    assert telling.erase("ann") == 1
    assert telling.scene.store.capture_key(key.key_id) is None


def test_the_job_gets_from_the_definition_whether_rows_begin_with_a_person(tmp_path: Path) -> None:
    for subject in ("", "patient"):
        scene = Scene(tmp_path / (subject or "nobody"), subject=subject)
        assert scene.deployment.subject(scene.store) == subject
        scene.store.close()


def test_a_refused_job_rests_until_there_is_another_pointer(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    (tmp_path / "foreign").mkdir()
    foreign = signer_at(tmp_path / "foreign")
    scene.promote(1, serial=1, signer=foreign)
    status = {"state": "refused", "pid": 1, "run": "r", "error": ""}
    now = scene.pointer.stat().st_mtime_ns // 1000 + 1_000_000
    scene.folders.status.write_text(json.dumps({**status, "started": now, "heartbeat": now}))
    assert not scene.deployment.start(scene.store)
    assert not is_locked(scene.folders.lock)
    assert scene.deployment._rests()
    os.utime(scene.pointer, (now / 1e6 + 10, now / 1e6 + 10))
    assert not scene.deployment._rests()
    scene.store.close()
