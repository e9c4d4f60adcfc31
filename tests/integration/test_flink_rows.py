"""The streaming node's parts that need no engine: row forms, journal, lock, committed files, restart rest."""

from __future__ import annotations

import json
import math
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.agent import open_client, ship_all
from ion.errors import IonError
from ion.evidence import ArtifactStore
from ion.facts import GapNoted, InputsCaptured, PredictionsCommitted, StatisticsRecorded
from ion.serving import CaptureKey
from ion.serving.captured import CapturedRow
from resources.flink.checkpoints import newest_restore_point
from resources.flink.committed import CommittedFiles, captured_texts
from resources.flink.inputs import InputRows
from resources.flink.journal import EpochEntry, Journal, Window
from resources.flink.lock import is_locked, take_lock
from resources.flink.output_files import OutputFiles
from resources.flink.rows import Unscorable, parse_patient, quoted, read_predictions, unquoted
from resources.flink.settings import JobSettings
from resources.flink.windows import WindowFacts
from tests.integration.flink_scene import NODE, Scene, linear_model, signer_at

if TYPE_CHECKING:
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
    assert [list(part.seq) for part in read.ranges()] == [[3, 4], [6], [0, 1]]
    assert read_predictions(b"").ranges() == []


def test_a_file_that_is_cut_short_is_no_prediction_file() -> None:
    with pytest.raises(ValueError, match="cut short"):
        read_predictions(row(1).encode()[:-1])


def test_a_file_whose_rows_trade_a_field_is_no_prediction_file() -> None:
    first, second = row(1).strip(), row(2).strip()
    with pytest.raises(ValueError, match="eight fields"):
        read_predictions(f"{first},{second.replace(',', '', 1)}\n\n".encode())
    with pytest.raises(ValueError, match="eight fields"):
        read_predictions(f"{first},x\n{second.rpartition(',')[0]}\n".encode())


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), st.floats(0, 1))
def test_a_captured_row_reads_back_bit_by_bit(values: list[float], score: float) -> None:
    (text,) = captured_texts([",".join(map(repr, values)).encode()], [repr(score)])
    read = CapturedRow.from_text(text)
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


def test_captured_rows_keep_numbers_as_written_and_stay_readable_when_they_are_not_json() -> None:
    texts = captured_texts([b"1.50,2", b"+1,.5", None, b"3,4\r"], ["0.5", "0.25", "0.1", "1e-05"])
    assert b"1.50,2" in texts[0]
    assert texts[2] == b""
    rows = [CapturedRow.from_text(text) for text in texts if text]
    assert [(item.inputs, item.score) for item in rows] == [((1.5, 2.0), 0.5), ((1.0, 0.5), 0.25), ((3.0, 4.0), 1e-05)]


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
    key = CaptureKey.generate()
    for _ in range(2):  # the second time as if the journal had been lost
        scene.folders.journal.unlink(missing_ok=True)
        journal = Journal(scene.folders.journal)
        journal.epoch_opened(EpochEntry(EPOCH, "run", model, 0))
        client = open_client(scene.home, name="flink", ship=False)
        facts = WindowFacts(client, ArtifactStore(scene.home.artifacts), scene.folders.bins)
        files = CommittedFiles(settings, "run", client, journal, key, facts)
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
    assert len(scene.facts(StatisticsRecorded)) == 5
    assert scene.facts(GapNoted) == []
    scene.store.close()


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
    CommittedFiles(settings, "run", client, journal, CaptureKey.generate(), facts).tell_new(last=True)
    client.close()
    journal.close()
    whats = {fact.what for fact in scene.facts(GapNoted)}
    assert whats == {"epoch", "captured inputs", "output rows", "statistics"}
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
