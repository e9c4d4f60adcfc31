"""Servers as processes of their own, and programs that report to them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 120.0
"""Seconds until something that must happen counts as not happening."""

REPORTER = """
import sys, threading
import ion
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
client = ion.open_client(name=sys.argv[1])
print(client.agent, flush=True)
told = 1  # that the run started
run = client.node_run("wines/score", kind="custom")
while not stop.is_set():
    run.param("p", told)
    told += 1
    stop.wait(0.001)
client.close()
print(told, flush=True)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@dataclass
class Server:
    """``ion server`` on a port of this machine; killed and started again as a test likes."""

    home: Path
    store_url: str
    port: int
    more: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self.more else ''}://127.0.0.1:{self.port}"

    def start(self) -> Server:
        environment = {**os.environ, "ION_HOME": str(self.home), "ION_STORE_URL": self.store_url}
        command = [sys.executable, "-m", "ion.cli", "server", "--port", str(self.port), *self.more]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        wait_for(self.listens, "the server to listen")
        return self

    def listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def ready(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/ready", timeout=30) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def reporter(name: str, url: str, token: str, home: Path) -> subprocess.Popen[str]:
    """Start a program that tells facts until its input closes, then prints how many; its agent's name comes first."""
    environment = {**os.environ, "ION_HOME": str(home), "ION_STORE_URL": url, "ION_AGENT_TOKEN": token}
    return subprocess.Popen(
        [sys.executable, "-c", REPORTER, name],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
