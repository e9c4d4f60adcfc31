"""``ion bring`` brings what stands from a server and says what it refused; ``ion agent`` keeps it so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ion.cli import run
from tests.unit.bringing_scene import TOKEN, Elsewhere, Server, running
from tests.unit.test_gate_scene import NODE, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene.set_up(tmp_path / "governance")
    made.point()
    return made


@pytest.fixture
def server(scene: Scene) -> Iterator[Server]:
    with running(Server(scene)) as made:
        yield made


@pytest.fixture
def there(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    made = Elsewhere.at(tmp_path / "elsewhere")
    monkeypatch.setenv("ION_HOME", str(made.home.root))
    monkeypatch.setenv("ION_STORE_URL", server.url)
    monkeypatch.setenv("ION_AGENT_TOKEN", TOKEN)
    return made


def test_what_stands_is_brought_once(scene: Scene, there: Elsewhere, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bring", NODE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"nodes": [{"node": NODE, "in_place": True}], "refused": []}
    assert there.pointer.read_bytes() == scene.pointer.read_bytes()


def test_a_refusal_is_named_and_the_command_did_not_hold(
    scene: Scene, server: Server, there: Elsewhere, capsys: pytest.CaptureFixture[str]
) -> None:
    server.lies[scene.artifacts.put_model(scene.files).digest] = b"other bytes"
    assert run(["bring", NODE, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(each["node"], each["step"]) for each in told["refused"]] == [(NODE, "manifest")]
    assert not there.pointer.exists()


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("url", "code"),
    [("", "bad-store-url"), ("http://127.0.0.1:1", "receiver-unreachable"), ("http://a.example", "insecure-url")],
)
def test_without_a_server_it_says_so(
    url: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ION_STORE_URL", url)
    assert run(["bring", NODE, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def test_the_agent_of_a_host_brings_what_its_nodes_serve_with(scene: Scene, there: Elsewhere) -> None:
    process = subprocess.Popen([sys.executable, "-m", "ion.cli", "agent", "--node", NODE], env=os.environ)
    try:
        wait_for(there, scene)
        scene.halt(serial=2)
        wait_for(there, scene)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def wait_for(there: Elsewhere, scene: Scene) -> None:
    give_up = time.monotonic() + 120
    while not (there.pointer.exists() and there.pointer.read_bytes() == scene.pointer.read_bytes()):
        assert time.monotonic() < give_up
        time.sleep(0.02)
