"""The database goes away under a running server, and comes back: nobody is told a lie, and nothing fails for good."""

from __future__ import annotations

import socket
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # as in conftest.py
    from starlette.testclient import TestClient

from ion.facts import ParamRecorded
from ion.home import Home
from ion.server import server_app
from ion.store import open_store
from tests.server.scene import Scene, code, param, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Line:
    """A TCP port before a database's socket; ``cut`` closes what is open and answers nobody until ``mend``."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self._up = True
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            if not self._up:
                one.close()
                continue
            other = socket.socket(socket.AF_UNIX)
            other.connect(self._target)
            self._open += [one, other]
            for source, sink in ((one, other), (other, one)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self._up = False
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def mend(self) -> None:
        self._up = True

    def close(self) -> None:
        self.cut()
        self._listening.close()


@pytest.fixture
def line(postgres: Callable[[], str]) -> Iterator[tuple[Line, str, str]]:
    """A line to a fresh database, the address through it, and the address without."""
    direct = postgres()
    parts = urlsplit(direct)
    made = Line(parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432")
    yield made, f"postgresql://postgres@127.0.0.1:{made.port}{parts.path}?connect_timeout=5", direct
    made.close()


def test_a_database_that_goes_away_is_told_with_503_and_used_again_when_it_is_back(
    line: tuple[Line, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, through, direct = line
    monkeypatch.setenv("ION_STORE_URL", through)
    store = open_store(direct)
    with TestClient(server_app(Home(tmp_path)), raise_server_exceptions=False) as client:
        scene = Scene(store, client)
        token, reader = scene.token(), scene.token(roles=["reader"])
        told = [started("r", "i/n")]
        assert scene.send(token, told).status_code == 200
        for number in range(1, 4):
            wire.cut()
            told.append(param("r", number))
            for _ in range(3):
                response = scene.send(token, told)
                assert code(response) == (503, "store-unreachable"), response.text
                assert "Retry-After" in response.headers
            assert code(scene.ask(reader, "/v1/facts")) == (503, "store-unreachable")
            ready = client.get("/ready")
            assert code(ready) == (503, "store-unreachable")
            assert str(wire.port) not in ready.text  # where the store is, is nobody's business
            assert client.get("/health").status_code == 200
            wire.mend()
            assert scene.send(token, told).json()["accepted"] == 1
            assert client.get("/ready").status_code == 200
    assert [record.fact.value for record in store.find(ParamRecorded, "r")] == [1] * 3
    store.close()
