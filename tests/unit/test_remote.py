"""Facts over HTTP with nothing but the core installed: what the server says decides, and nothing is dropped."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import zstandard

import ion
from ion.agent import Client, remote
from ion.agent.body import frames_of
from ion.agent.frames import read_stream
from ion.agent.remote import RemoteReceiver, checked_url
from ion.agent.shipping import is_shipped, ship_all
from ion.agent.spool import SpoolWriter
from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.evidence.captures import CaptureKey
from ion.facts import GapNoted, InputsCaptured, NodeRunStarted
from ion.home import Home
from ion.records import read_record
from ion.testing import written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Stub(ThreadingHTTPServer):
    """A server that answers what the test says, 200 and all accepted otherwise, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.got: list[tuple[str, str, dict[str, str], bytes]] = []
        self.newest: dict[str, int] = {}
        self.connections = 0
        self.drop_next = False
        self.hang_up_after = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def facts(self) -> list[object]:
        bodies = [body for _, path, _, body in self.got if path.endswith("/facts")]
        return [read_record(frame.record).fact for body in bodies for frame in read_stream(io.BytesIO(body))]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def handle_one_request(self) -> None:
        if self.server.drop_next:
            self.server.drop_next, self.close_connection = False, True
            self.rfile.readline()
            return
        super().handle_one_request()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "zstd":
            body = zstandard.ZstdDecompressor().decompress(body)
        self.server.got.append((self.command, self.path, dict(self.headers), body))
        told = list(read_stream(io.BytesIO(body))) if self.path.endswith("/facts") else []
        agent = self.path.removesuffix("/facts")
        seqs = [json.loads(frame.record)["seq"] for frame in told]
        self.server.newest[agent] = max([*seqs, self.server.newest.get(agent, -1)])
        usual = {"accepted": len(told), "known": 0, "conflicts": 0, "acknowledged": self.server.newest[agent]}
        status, headers, data = (
            self.server.answers.pop(0) if self.server.answers else (200, {}, json.dumps(usual).encode())
        )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = self.server.hang_up_after

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def receiver(stub: Stub) -> Iterator[RemoteReceiver]:
    found = RemoteReceiver(stub.url, "ion1_secret", seconds=10)
    yield found
    found.close()


def gap(number: int, agent: str = "agent-1") -> GapNoted:
    return GapNoted(scope=agent, what="x", count=number, reason="")


def refusal(code: str, message: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "hint": ""}}).encode()


def test_facts_go_as_frames_with_the_token_over_one_connection(stub: Stub, receiver: RemoteReceiver) -> None:
    records = [written(gap(number), number) for number in range(3)]
    assert receiver.append(records) == remote.Taken(3, 0, 0, 2)
    receiver.append(records)
    assert receiver.acknowledged("agent-1") == 2
    assert stub.facts() == [gap(0), gap(1), gap(2)] * 2
    assert [(method, path) for method, path, _, _ in stub.got] == [
        ("POST", "/v1/agents/agent-1/facts"),
        ("POST", "/v1/agents/agent-1/facts"),
        ("GET", "/v1/agents/agent-1"),
    ]
    assert {headers["Authorization"] for _, _, headers, _ in stub.got} == {"Bearer ion1_secret"}
    assert stub.connections == 1


def test_each_agent_is_told_at_its_own_address(stub: Stub, receiver: RemoteReceiver) -> None:
    mixed = [written(gap(0, name), agent=name) for name in ("a", "a", "b", "a")]
    assert receiver.append(mixed).accepted == 4
    assert [path for _, path, _, _ in stub.got] == [f"/v1/agents/{name}/facts" for name in ("a", "b", "a")]


def test_large_batches_go_in_parts_that_each_begin_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ion.agent.body._MOST_BYTES", 1000)
    records = [written(gap(number), number) for number in range(20)]
    bodies = [body for _, body in frames_of(records, {})]
    assert len(bodies) > 3
    assert all(len(body) <= 1000 for body in bodies)
    raws = [frame.record for body in bodies for frame in read_stream(io.BytesIO(body))]
    assert raws == [record.raw for record in records]


def test_a_block_travels_with_the_fact_that_names_it_and_no_other_is_dropped() -> None:
    bodies = [b"one", b"two"]
    facts = [
        InputsCaptured(epoch="e", run="r", first=0, last=0, rows=1, key="k", block=digest_bytes(body))
        for body in bodies
    ]
    records = [written(gap(0), 0), *(written(fact, number) for number, fact in enumerate(facts, 1))]
    blocks = {digest_bytes(body): body for body in (*bodies, b"named by none")}
    ((_, body),) = frames_of(records, blocks)
    assert [frame.block for frame in read_stream(io.BytesIO(body))] == [b"named by none", b"one", b"two"]


def test_a_server_that_is_busy_is_left_alone_until_it_said_to_come(stub: Stub, receiver: RemoteReceiver) -> None:
    stub.answers = [(429, {"Retry-After": "30"}, refusal("server-busy", "too much"))]
    for _ in range(2):
        with pytest.raises(IonError) as caught:
            receiver.append([written(gap(0))])
        assert caught.value.code == "receiver-busy"
    assert len(stub.got) == 1
    receiver._not_before = 0.0
    assert receiver.append([written(gap(0))]).accepted == 1


def test_the_wait_is_at_least_what_was_asked_bounded_and_not_the_same_for_all() -> None:
    waits = {remote._pause("4") for _ in range(50)}
    assert all(4 <= wait <= 6 for wait in waits)
    assert len(waits) > 10
    assert remote._pause("999999") <= 90
    assert all(1 <= remote._pause(text) <= 1.5 for text in ("", "soon", "-3"))


@pytest.mark.parametrize(
    ("status", "data", "code"),
    [
        (400, refusal("bad-body", "damaged"), "receiver-refused"),
        (400, refusal("spool-corrupt", "x"), "receiver-refused"),  # no word of a server makes an agent drop its spool
        (400, refusal("foreign-agent", "x"), "receiver-refused"),
        (401, refusal("token-refused", "revoked"), "receiver-refused"),
        (403, refusal("not-permitted", "x"), "receiver-refused"),
        (500, b"oops", "receiver-refused"),
        (301, b"", "receiver-refused"),
        (200, b"<html>", "receiver-refused"),
        (200, b"[]", "receiver-refused"),
        (503, refusal("store-unreachable", "x"), "receiver-busy"),
        (502, b"", "receiver-busy"),
    ],
)
def test_whatever_the_server_answers_the_facts_stay_until_it_takes_them(
    stub: Stub, receiver: RemoteReceiver, tmp_path: Path, status: int, data: bytes, code: str
) -> None:
    writer = SpoolWriter(tmp_path / "spool", "agent-1")
    writer.append(written(gap(0)).raw)
    writer.close()
    stub.answers = [(status, {"Location": "http://elsewhere.invalid/"}, data)]
    with pytest.raises(IonError) as caught:
        ship_all(tmp_path / "spool", receiver)
    assert caught.value.code == code
    assert not is_shipped(tmp_path / "spool" / "agent-1")
    receiver._not_before = 0.0
    assert ship_all(tmp_path / "spool", receiver) == 1
    assert not (tmp_path / "quarantine").exists()


def test_a_kept_connection_that_was_closed_meanwhile_is_opened_again(stub: Stub, receiver: RemoteReceiver) -> None:
    receiver.append([written(gap(0))])
    stub.drop_next = True
    assert receiver.append([written(gap(1), 1)]).accepted == 1
    stub.hang_up_after = True
    for number in range(2, 5):
        assert receiver.append([written(gap(number), number)]).accepted == 1


def test_a_server_that_is_not_there_is_told_and_everything_stays(tmp_path: Path) -> None:
    client = Client(Home(tmp_path), "program", RemoteReceiver("http://127.0.0.1:1", "t", seconds=5))
    client.emit(gap(0))
    assert not client.ship()
    assert "[receiver-unreachable]" in client.last_trouble
    client.close()
    assert (tmp_path / "spool" / client.agent / "facts-00000000").stat().st_size > 0


def test_capture_keys_go_before_the_facts(stub: Stub, receiver: RemoteReceiver) -> None:
    key = CaptureKey.generate("tag")
    receiver.keep_capture_keys([key])
    receiver.keep_capture_keys([])
    ((method, path, _, body),) = stub.got
    assert (method, path) == ("POST", "/v1/capture-keys")
    assert json.loads(body) == {"keys": [[key.key_id, key.secret.hex(), "tag"]]}


@pytest.mark.parametrize("url", ["http://governance.internal", "http://10.0.0.1:8765", "http://localhost.evil.example"])
def test_nothing_goes_to_another_machine_in_the_clear(url: str) -> None:
    with pytest.raises(IonError) as caught:
        RemoteReceiver(url, "t")
    assert caught.value.code == "insecure-url"


@pytest.mark.parametrize("url", ["https://", "ftp://h", "https://h:x", "https://u:p@h", "https://h?x=1", "https://h#f"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(IonError) as caught:
        checked_url(url)
    assert caught.value.code == "bad-store-url"


def test_addresses_are_read_as_they_are_written() -> None:
    assert checked_url("https://governance.internal/ion/") == (True, "governance.internal", 443, "/ion")
    assert checked_url("http://[::1]:8765") == (False, "::1", 8765, "")
    assert checked_url("http://localhost") == (False, "localhost", 80, "")


def test_without_a_token_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ION_STORE_URL", "https://governance.internal")
    with pytest.raises(IonError) as caught:
        ion.open_client(Home(tmp_path))
    assert caught.value.code == "no-token"
    with pytest.raises(IonError) as caught:
        _ = Home(tmp_path).store_url
    assert caught.value.code == "store-elsewhere"


def test_a_token_in_a_file_may_change_while_the_program_runs(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    receiver = RemoteReceiver(stub.url, token_file=file)
    receiver.append([written(gap(0))])
    file.write_text("second\n")
    receiver.append([written(gap(0))])
    assert [headers["Authorization"] for _, _, headers, _ in stub.got] == ["Bearer first", "Bearer second"]
    for wrong in ("", "two\nlines"):
        file.write_text(wrong)
        with pytest.raises(IonError) as caught:
            receiver.append([written(gap(0))])
        assert caught.value.code == "no-token"
    receiver.close()


PROGRAM = """
import sys
for name in ("sqlalchemy", "pandas", "dagster", "httpx", "starlette"):
    sys.modules[name] = None
import ion
with ion.node_run("readmission/score") as run:
    run.param("threshold", 0.5)
"""


def test_a_program_reports_to_a_server_with_nothing_else_installed(stub: Stub, tmp_path: Path) -> None:
    environment = {
        **os.environ, "ION_HOME": str(tmp_path / ".ion"), "ION_STORE_URL": stub.url, "ION_AGENT_TOKEN": "ion1_x"
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [type(fact).__name__ for fact in stub.facts()] == ["NodeRunStarted", "ParamRecorded", "NodeRunEnded"]
    assert list((tmp_path / ".ion" / "spool").iterdir()) == []


def test_a_forked_child_reports_over_a_connection_of_its_own(stub: Stub, tmp_path: Path) -> None:
    client = Client(Home(tmp_path), "program", RemoteReceiver(stub.url, "t"))
    client.emit(gap(0))
    assert client.ship()
    child = os.fork()
    if child == 0:
        client.emit(gap(1))
        client.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    client.emit(gap(2))
    assert client.ship()
    client.close()
    assert sorted(fact.count for fact in stub.facts() if isinstance(fact, GapNoted)) == [0, 1, 2]
    assert stub.connections == 2
    assert not any(isinstance(fact, NodeRunStarted) for fact in stub.facts())


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        receiver = RemoteReceiver(f"http://127.0.0.1:{silent.getsockname()[1]}", "t", seconds=0.2)
        began = time.monotonic()
        with pytest.raises(IonError) as caught:
            receiver.append([written(gap(0))])
        assert caught.value.code == "receiver-unreachable"
        assert time.monotonic() - began < 60
