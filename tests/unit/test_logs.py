"""A log becomes facts: all of it or a counted gap, never a secret, and nobody who logs waits."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

import pytest

import ion
from ion.agent import Client
from ion.agent.redaction import redacted
from ion.errors import IonError
from ion.facts import GapNoted, LogsRecorded, NodeRunEnded
from ion.home import Home
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ion.facts import Fact


@pytest.fixture
def receiver() -> MemoryReceiver:
    return MemoryReceiver()


@pytest.fixture
def client(tmp_path: Path, receiver: MemoryReceiver) -> Iterator[Client]:
    opened = Client(Home(tmp_path), "test", receiver)
    yield opened
    opened.close()


@pytest.fixture
def run(client: Client) -> ion.NodeRun:
    return client.node_run("patient_tests/model", kind="training")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("pipeline.part")
    made.setLevel(logging.DEBUG)
    yield made
    made.handlers.clear()


def entries(receiver: MemoryReceiver) -> list[Mapping[str, object]]:
    return [entry for fact in receiver.facts(LogsRecorded) for entry in fact.entries]


def at(seconds: float, text: str = "x", name: str = "pipeline.part") -> logging.LogRecord:
    record = logging.LogRecord(name, logging.INFO, __file__, 1, text, (), None)
    record.created = seconds
    return record


def test_what_is_logged_before_the_end_of_the_run_is_in_the_store(
    run: ion.NodeRun, receiver: MemoryReceiver, logger: logging.Logger
) -> None:
    logger.addHandler(ion.LogHandler(run))
    logger.debug("not this")
    for number in range(3):
        logger.info("row %d of %s", number, "part")
    run.end()
    assert [(entry["level"], entry["logger"], entry["message"]) for entry in entries(receiver)] == [
        ("INFO", "pipeline.part", f"row {number} of part") for number in range(3)
    ]
    assert all(isinstance(entry["us"], int) and entry["us"] > 1_700_000_000_000_000 for entry in entries(receiver))
    kinds = [type(record.fact) for record in receiver.records]
    assert kinds.index(LogsRecorded) < kinds.index(NodeRunEnded)
    logger.info("after the end")
    run.client.ship()
    assert len(entries(receiver)) == 3


def test_it_arrives_by_itself_too(run: ion.NodeRun, receiver: MemoryReceiver, logger: logging.Logger) -> None:
    arrived = threading.Event()
    taken = receiver.append

    def append(*arguments: object) -> object:
        try:
            return taken(*arguments)  # type: ignore[arg-type]
        finally:
            if entries(receiver):
                arrived.set()

    receiver.append = append  # type: ignore[method-assign]
    logger.addHandler(ion.LogHandler(run))
    logger.info("hello")
    assert arrived.wait(60)


def test_of_an_exception_only_the_kind_is_told(
    run: ion.NodeRun, receiver: MemoryReceiver, logger: logging.Logger
) -> None:
    logger.addHandler(ion.LogHandler(run))
    error = ValueError("row of Mrs Miller, born 1950")
    logger.error("could not read", exc_info=error)
    run.end()
    (entry,) = entries(receiver)
    assert (entry["message"], entry["exception"], entry["level"]) == ("could not read", "ValueError", "ERROR")
    assert "Miller" not in repr(receiver.records)


def test_its_text_is_told_when_that_is_asked_for(
    run: ion.NodeRun, receiver: MemoryReceiver, logger: logging.Logger
) -> None:
    logger.addHandler(ion.LogHandler(run, exceptions=True))
    error = ValueError("no table at postgresql://me:hunter2@db/x")
    logger.error("could not read", exc_info=error)
    run.end()
    assert [entry["message"] for entry in entries(receiver)] == ["could not read: no table at postgresql://***@db/x"]


def test_above_the_rate_every_record_is_counted(run: ion.NodeRun, receiver: MemoryReceiver) -> None:
    handler = ion.LogHandler(run, per_second=10)
    for number in range(250):
        handler.handle(at(1000 + number / 100))  # 100 in a second, for two and a half
    run.end()
    assert len(entries(receiver)) == 30
    gaps = [fact for fact in receiver.facts(GapNoted) if fact.what == "logs"]
    assert sum(gap.count for gap in gaps) == 220
    assert {gap.reason for gap in gaps} == {"more than 10 log records in a second"}
    assert min(gap.first or 0 for gap in gaps) == 1_000_100_000
    assert max(gap.last or 0 for gap in gaps) == 1_002_490_000


def test_a_message_that_cannot_be_formatted_is_a_gap_and_no_exception(
    run: ion.NodeRun, receiver: MemoryReceiver, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", False)  # pytest's own handler would raise
    logger.addHandler(ion.LogHandler(run))
    logger.info("%d rows", "many")
    logger.info("lone \ud800 surrogate")
    run.end()
    assert [entry["message"] for entry in entries(receiver)] == ["lone ? surrogate"]
    assert [fact.count for fact in receiver.facts(GapNoted)] == [1]


def test_a_long_message_says_how_much_was_cut(
    run: ion.NodeRun, receiver: MemoryReceiver, logger: logging.Logger
) -> None:
    logger.addHandler(ion.LogHandler(run))
    logger.info("x" * 2345)
    run.end()
    (entry,) = entries(receiver)
    assert (len(str(entry["message"])), entry["cut"]) == (2000, 345)


def test_what_ion_logs_and_what_is_logged_while_telling_does_not_go_round(
    run: ion.NodeRun, receiver: MemoryReceiver, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = run.client.emit

    def noisy(*arguments: object, **named: object) -> str:
        logging.getLogger("ion.agent").warning("ion says")
        logger.warning("a library says, while a fact is spooled")
        return spool(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(run.client, "emit", noisy)
    handler = ion.LogHandler(run)
    with handler.attached():
        logger.info("told")
        for _ in range(3):
            handler.flush()
        logging.getLogger("ion.agent").warning("ion says, while nothing is told")
    run.client.ship()
    assert [entry["message"] for entry in entries(receiver)] == ["told"]


def test_nothing_is_lost_while_the_disk_is_full(
    run: ion.NodeRun, receiver: MemoryReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = ion.LogHandler(run, per_second=1000)

    def full(*_: object, **__: object) -> str:
        raise IonError("spool-unusable", "no space left")

    with monkeypatch.context() as patched:
        patched.setattr(run.client, "emit", full)
        for number in range(1200):
            handler.handle(at(5, str(number)))
        handler.flush()
        with pytest.raises(IonError):
            run.end()
    run.end()
    assert [entry["message"] for entry in entries(receiver)] == [str(number) for number in range(1000)]
    assert sum(fact.count for fact in receiver.facts(GapNoted)) == 200


def test_a_gap_that_cannot_be_told_yet_is_told_later(
    run: ion.NodeRun, receiver: MemoryReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, handler = run.client.emit, ion.LogHandler(run, per_second=1)

    def no_gap(fact: Fact, **named: str) -> str:
        if isinstance(fact, GapNoted):
            raise IonError("spool-unusable", "no space left")
        return spool(fact, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(run.client, "emit", no_gap)
        for _ in range(5):
            handler.handle(at(5))
        handler.flush()
        handler.handle(at(5.5))
        handler.flush()
    run.end()
    assert len(entries(receiver)) == 1
    assert [fact.count for fact in receiver.facts(GapNoted)] == [5]


def test_a_logger_need_not_wait_for_the_agent(run: ion.NodeRun, receiver: MemoryReceiver) -> None:
    """The lock under which facts are spooled is held by somebody else; logging goes on all the same."""
    handler = ion.LogHandler(run)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with run.client.lock:
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    logged = threading.Thread(target=lambda: [handler.handle(at(7, str(n))) for n in range(50)], daemon=True)
    logged.start()
    logged.join(60)
    hangs = logged.is_alive()
    done.set()
    holder.join()
    assert not hangs
    run.end()
    assert len(entries(receiver)) == 50


def test_a_forked_child_tells_its_own_records_only(run: ion.NodeRun, receiver: MemoryReceiver) -> None:
    handler = ion.LogHandler(run)
    handler.handle(at(1, "of the parent"))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        handler.handle(at(1, "of the child"))
        os.write(writing, repr([entry["message"] for entry in handler._waiting]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 1000) == b"['of the child']"
    run.end()
    assert [entry["message"] for entry in entries(receiver)] == ["of the parent"]


@pytest.mark.parametrize(
    ("said", "recorded"),
    [
        ("loaded 5 rows from https://host/data/v1?x=2", "loaded 5 rows from https://host/data/v1?x=2"),
        ("ratio 3/4 and 1/2/3, GET /health", "ratio 3/4 and 1/2/3, GET /health"),
        ("cannot open /home/ann/data/x.csv: denied", "cannot open <path>: denied"),
        ("in '~/models/a b', (/opt/x/y)", "in '<path> b', (<path>)"),
        ("see file:///srv/secret/x and C:\\Users\\ann\\x", "see <path> and <path>"),
        ("s3://key:pass@bucket/a", "s3://***@bucket/a"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer ***"),
        ("password=hunter2, user=me", "password=***, user=me"),
        ('{"api_key": "abc def", "n": 1}', '{"api_key": ***, "n": 1}'),
        ("DB_PASSWORD='a b' next", "DB_PASSWORD=*** next"),
        ("token eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2ln", "token ***"),
        ("key AKIAABCDEFGHIJKLMNOP used", "key *** used"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY----- after", "*** after"),
    ],
)
def test_what_looks_like_a_secret_or_a_path_is_taken_out(said: str, recorded: str) -> None:
    assert redacted(said) == recorded
