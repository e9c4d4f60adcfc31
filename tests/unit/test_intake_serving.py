"""An intake hears programs of its own user and nobody else, and no one sender can stop the others."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.agent import Client
from ion.agent.intake import Intake, serve_intake
from ion.agent.intake.peers import check_peer
from ion.agent.intake.taking import LONGEST_LINE
from ion.errors import IonError
from ion.facts import GapNoted, ParamRecorded
from ion.home import Home
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
LINES = "application/x-ndjson"
POST = "POST /v1/facts HTTP/1.1\nHost: localhost:PORT\n"
EVENT = {
    "eventType": "START", "eventTime": "2026-01-02T03:04:05Z", "producer": "test",
    "job": {"namespace": "n", "name": "j"}, "run": {"runId": "01a1fe27-d542-76eb-a6d4-224192641dfe"},
}  # fmt: skip


@pytest.fixture
def receiver() -> MemoryReceiver:
    return MemoryReceiver()


@pytest.fixture
def client(tmp_path: Path, receiver: MemoryReceiver) -> Iterator[Client]:
    opened = Client(Home(tmp_path), "intake", receiver)
    yield opened
    opened.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "intake.sock"


@pytest.fixture
def intake(client: Client, place: Path) -> Iterator[Intake]:
    with serve_intake(client, socket=place, port=0) as served:
        yield served


def line(value: object = 1) -> bytes:
    fact = {"ion": 1, "kind": "ParamRecorded", "body": {"run": "r", "name": "n", "value": value}}
    return json.dumps(fact).encode() + b"\n"


def connected(place: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(str(place))
    return connection


def answers(connection: socket.socket, data: bytes = b"", *, end: bool = True) -> list[dict[str, object]]:
    """Send, and return every answer until the other end closes."""
    connection.sendall(data)
    if end:
        connection.shutdown(socket.SHUT_WR)
    with connection, connection.makefile("rb") as file:
        return [json.loads(text) for text in file]


def request(port: int, text: str, body: bytes = b"") -> tuple[int, str, list[dict[str, object]]]:
    """Send a request as it is written here; return the status, the head and the answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(text.replace("\n", "\r\n").replace("PORT", str(port)).encode() + body)
        with connection.makefile("rb") as file:
            head, _, rest = file.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), [json.loads(answer) for answer in rest.splitlines()]


def posted(port: int, body: bytes, *fields: str, path: str = "/v1/facts", content: str = LINES) -> int:
    more = "".join(f"{field}\n" for field in fields)
    head = f"POST {path} HTTP/1.1\nHost: 127.0.0.1:PORT\nContent-Type: {content}\nContent-Length: {len(body)}\n{more}\n"
    return request(port, head, body)[0]


def recorded(client: Client, receiver: MemoryReceiver) -> list[object]:
    client.ship()
    return [fact.value for fact in receiver.facts(ParamRecorded)]


def test_lines_over_the_socket_are_answered_in_order(
    intake: Intake, place: Path, client: Client, receiver: MemoryReceiver
) -> None:
    assert intake.port
    with connected(place) as connection, connection.makefile("rb") as file:
        for number in range(3):  # a program that waits for each answer
            connection.sendall(line(number))
            assert json.loads(file.readline())["ok"]
    told = [line(3), b"bad\n", b"\n", line(4)[:-1]]  # one that does not; the last line has no end
    assert [answer["ok"] for answer in answers(connected(place), b"".join(told))] == [True, False, True]
    assert recorded(client, receiver) == [0, 1, 2, 3, 4]


def test_lines_may_be_posted_over_the_loopback_interface(
    intake: Intake, client: Client, receiver: MemoryReceiver
) -> None:
    body = line(1) + b"bad\n" + line(2)
    head = f"POST /v1/facts HTTP/1.1\nHost: localhost:PORT\nContent-Type: {LINES}\nContent-Length: {len(body)}\n\n"
    status, _, told = request(intake.port, head, body)
    assert (status, [answer["ok"] for answer in told]) == (200, [True, False, True])
    assert recorded(client, receiver) == [1, 2]


def test_lines_may_be_posted_over_the_socket_too(intake: Intake, place: Path) -> None:
    assert intake.port
    command = ["curl", "--silent", "--unix-socket", str(place), "-H", f"Content-Type: {LINES}", "--data-binary", "@-"]
    done = subprocess.run(
        [*command, "http://localhost/v1/facts"], input=line(1) * 9000, capture_output=True, check=True
    )
    assert [json.loads(answer)["ok"] for answer in done.stdout.splitlines()] == [True] * 9000


def test_an_event_is_posted_at_the_path_that_openlineage_names(intake: Intake) -> None:
    path, content = "/api/v1/lineage", "application/json; charset=utf-8"
    assert posted(intake.port, json.dumps(EVENT).encode(), path=path, content=content) == 200
    assert posted(intake.port, b'{"dataset": {}}', path=path, content=content) == 422
    assert posted(intake.port, b"nonsense", path=path, content=content) == 422


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"{POST}Content-Type: {LINES}\n", 411),
        (f"{POST}Content-Type: {LINES}\nTransfer-Encoding: chunked\n", 411),
        (f"{POST}Content-Type: {LINES}\nContent-Length: 99999999\n", 413),
        (f"{POST}Content-Type: {LINES}\nContent-Length: -1\n", 411),
        (f"{POST}Content-Length: 0\nContent-Length: 5\n", 400),
        (f"{POST}Content-Encoding: gzip\nContent-Type: {LINES}\n", 415),
        ("POST /v1/facts HTTP/1.1\n", 403), ("POST /v1/facts HTTP/1.1\nHost: localhost\n", 403),
        ("GET /v1/facts HTTP/1.1\nHost: localhost:PORT\n", 405), ("POST / HTTP/1.1\nHost: localhost:PORT\n", 404),
        ("nonsense\n", 400), (f"{POST} bad\n", 400),
        ("GET / HTTP/1.1\nHost: localhost:PORT\nX: " + "x" * 20_000 + "\n", 413),
    ],
)  # fmt: skip
def test_a_request_that_is_not_of_its_form_is_refused(intake: Intake, head: str, status: int) -> None:
    assert request(intake.port, f"{head}\n")[0] == status


def test_a_page_in_a_browser_cannot_tell_facts(intake: Intake, client: Client, receiver: MemoryReceiver) -> None:
    fact = line()
    for field in ("Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Referer: http://e/"):
        assert posted(intake.port, fact, field) == 403
    for content in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/json"):
        assert posted(intake.port, fact, content=content) == 415  # all that a page may send without asking, and more
    rebound = (
        f"POST /v1/facts HTTP/1.1\nHost: evil.example:PORT\nContent-Type: {LINES}\nContent-Length: {len(fact)}\n\n"
    )
    assert request(intake.port, rebound, fact)[0] == 403
    asked = "OPTIONS /v1/facts HTTP/1.1\nHost: localhost:PORT\nAccess-Control-Request-Method: POST\n\n"
    status, head, _ = request(intake.port, asked)
    assert status == 405
    assert "access-control" not in head.lower()
    assert recorded(client, receiver) == []


def test_the_socket_is_its_owners_alone(intake: Intake, place: Path) -> None:
    assert intake.port
    found = place.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user may enter; pytest keeps its own to itself."""
    with tempfile.TemporaryDirectory(prefix="ion-intake-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_another_users_program_is_not_heard(client: Client, receiver: MemoryReceiver, open_folder: Path) -> None:
    """Also when somebody opened the socket's mode, and over the loopback interface, which knows no modes."""
    place = open_folder / "s"
    with serve_intake(client, socket=place, port=0) as intake:
        place.chmod(0o666)
        another_users_program(place, intake.port)
    assert recorded(client, receiver) == [1, 1]


def another_users_program(place: Path, port: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    command = ["curl", "--silent", "-H", f"Content-Type: {LINES}", "--data-binary", line().decode()]
    over_socket = [*command, "--unix-socket", str(place), "--http0.9", "http://localhost/v1/facts"]
    over_port = [*command, f"http://127.0.0.1:{port}/v1/facts"]
    for known in (over_socket, over_port):
        assert json.loads(subprocess.run(known, capture_output=True, check=True).stdout)["ok"]
        foreign = subprocess.run(known, capture_output=True, check=True, user=NOBODY, group=NOBODY, extra_groups=[])
        assert json.loads(foreign.stdout)["code"] == "foreign-peer"


def test_who_cannot_be_told_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other end is gone: the kernel then calls it root's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        check_peer(ours)  # type: ignore[arg-type] - a socket is all that asyncio's has of it
        monkeypatch.setattr("ion.agent.intake.peers.Path.read_text", lambda *_: "header\n")
        with ours, theirs, pytest.raises(IonError) as caught:
            check_peer(ours)  # type: ignore[arg-type]
    assert caught.value.code == "foreign-peer"


def test_a_program_on_an_ipv6_socket_is_known_too(intake: Intake) -> None:
    """As Java opens them."""
    with socket.socket(socket.AF_INET6) as connection:
        connection.connect(("::ffff:127.0.0.1", intake.port))
        body = line()
        head = f"POST /v1/facts HTTP/1.1\r\nHost: localhost:{intake.port}\r\nContent-Type: {LINES}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_line_that_is_too_long_is_refused_and_the_next_is_taken(
    intake: Intake, place: Path, client: Client, receiver: MemoryReceiver
) -> None:
    assert intake.port
    told = answers(connected(place), line("x" * LONGEST_LINE) + line(2))
    assert [(answer["ok"], answer.get("code")) for answer in told] == [(False, "line-too-long"), (True, None)]
    assert recorded(client, receiver) == [2]


@pytest.mark.parametrize("begun", [b'{"ion": 1, ', b"x" * (LONGEST_LINE + 1), b"POST /v1/facts HTTP/1.1\r\n"])
def test_who_does_not_finish_is_let_go(client: Client, place: Path, begun: bytes) -> None:
    with Intake(client, socket=place, slow=0.2):
        connection = connected(place)
        connection.sendall(begun)
        with connection, connection.makefile("rb") as file:
            told = file.read()
    assert b'"too-slow"' in told


def test_who_does_not_read_its_answers_is_let_go_and_stops_nobody(
    client: Client, place: Path, receiver: MemoryReceiver
) -> None:
    with Intake(client, socket=place, slow=0.2):
        with connected(place) as deaf, pytest.raises((BrokenPipeError, ConnectionResetError)):
            deaf.sendall(b"{}\n" * 2_000_000)
        assert answers(connected(place), line())[0]["ok"]
    assert recorded(client, receiver) == [1]


def test_a_quiet_connection_ends_without_a_word(client: Client, place: Path, receiver: MemoryReceiver) -> None:
    with Intake(client, socket=place, idle=0.2):
        assert [answer["ok"] for answer in answers(connected(place), line(), end=False)] == [True]
        assert answers(connected(place), end=False) == []
    client.ship()
    assert receiver.facts(GapNoted) == []


def test_connections_are_counted(intake: Intake, place: Path) -> None:
    assert intake.port
    held = [connected(place) for _ in range(64)]
    for connection in held:  # each is being served
        connection.sendall(line())
        assert connection.recv(1000)
    assert [answer["code"] for answer in answers(connected(place), line())] == ["intake-busy"]
    for connection in held:
        connection.close()


def test_what_was_refused_shows_in_a_gap_when_the_intake_ends(
    client: Client, place: Path, receiver: MemoryReceiver
) -> None:
    with serve_intake(client, socket=place, port=0) as intake:
        posted(intake.port, line(), "Origin: http://evil.example")
        answers(connected(place), b"bad\nbad\n")
    client.ship()
    gaps = receiver.facts(GapNoted)
    assert sum(gap.count for gap in gaps) == 3
    assert {(gap.scope, gap.what) for gap in gaps} == {(client.agent, "refused lines")}


def test_an_intake_ends_quietly_while_programs_are_connected(
    client: Client, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve_intake(client, socket=place):
        waiting, halfway = connected(place), connected(place)
        waiting.sendall(line())
        assert waiting.recv(1000)
        halfway.sendall(line()[:5])
    with waiting, halfway:
        assert waiting.recv(1000) == b""
    assert caplog.records == []


def test_two_intakes_do_not_share_a_socket_and_one_left_behind_is_replaced(client: Client, place: Path) -> None:
    with serve_intake(client, socket=place):
        with pytest.raises(IonError) as caught:
            serve_intake(client, socket=place)
        assert caught.value.code == "socket-taken"
        assert answers(connected(place), line())[0]["ok"]
    assert not place.exists()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(place))
    left.close()
    with serve_intake(client, socket=place):
        assert answers(connected(place), line())[0]["ok"]


def test_what_is_no_socket_is_left_alone(client: Client, place: Path, tmp_path: Path) -> None:
    place.write_text("mine")
    for path in (place, tmp_path / "gone" / "s", tmp_path / ("x" * 120)):
        with pytest.raises(IonError) as caught:
            serve_intake(client, socket=path)
        assert caught.value.code == "socket-place"
    assert place.read_text() == "mine"


def test_a_port_that_is_taken_is_said_and_the_socket_given_back(client: Client, place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(IonError) as caught:
            serve_intake(client, socket=place, port=other.getsockname()[1])
        assert caught.value.code == "port-occupied"
    with serve_intake(client, socket=place, port=0) as intake:
        assert intake.port


def test_many_programs_tell_at_once_and_every_acknowledged_line_is_there(
    intake: Intake, place: Path, client: Client, receiver: MemoryReceiver
) -> None:
    assert intake.port
    ids = [str(uuid.uuid4()) for _ in range(400)]
    connections = [connected(place) for _ in range(8)]
    for number, connection in enumerate(connections):
        for identity in ids[number::8]:
            fact = {"run": "r", "name": "n", "value": identity}
            connection.sendall(
                json.dumps({"ion": 1, "id": identity, "kind": "ParamRecorded", "body": fact}).encode() + b"\n"
            )
    told = [answer for connection in connections for answer in answers(connection)]
    assert all(answer["ok"] for answer in told)
    assert {answer["id"] for answer in told} == set(ids)
    assert sorted(map(str, recorded(client, receiver))) == sorted(ids)
