"""A governance server that can be made to lie, and the home of a node that reaches it by URL alone."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from ion.agent.fetching import ServerLink
from ion.canonical import digest_bytes
from ion.evidence import ArtifactStore, write_public
from ion.evidence.trust import trust_file
from ion.home import Home
from ion.serving import Gate, pointer_path
from ion.serving.bringing import Bringer
from ion.serving.erased import erased_path
from ion.serving.standing import Standing
from tests.unit.test_gate_scene import NODE, ROOT, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ion.facts import AdmissionRefused

TOKEN = "ion1_secret"  # noqa: S105 - of a server that takes any


@dataclass
class Server:
    """Serves a scene as `ion server` does; ``lies`` maps the end of a path to what is answered instead."""

    scene: Scene
    lies: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def standing(self) -> Standing:
        def digest(path: Path) -> str | None:
            return digest_bytes(path.read_bytes()) if path.exists() else None

        pointer = self.scene.pointer.read_bytes() if self.scene.pointer.exists() else None
        return Standing(NODE, pointer, digest(self.scene.trust), digest(erased_path(Home(self.scene.home))))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        self.asked.append(path)
        assert handler.headers["Authorization"] == f"Bearer {TOKEN}"
        lie = next((lie for end, lie in self.lies.items() if path.endswith(end)), None)
        if callable(lie):
            lie(handler)
            return
        tag = ""
        if lie is not None:
            body = lie
        elif path.endswith("/pointer"):
            give_up = time.monotonic() + int(query.removeprefix("wait=") or 0)
            while (standing := self.standing()).tag == handler.headers["If-None-Match"] and time.monotonic() < give_up:
                time.sleep(0.01)
            body, tag = standing.to_bytes(), standing.tag
        elif path == "/v1/trust":
            body = self.scene.trust.read_bytes()
        elif path == "/v1/erased":
            body = erased_path(Home(self.scene.home)).read_bytes()
        else:
            file = self.scene.artifacts.path(path.rpartition("/")[2])
            if not file.exists():
                respond(handler, b'{"error": {"message": "none"}}', status=404)
                return
            body = file.read_bytes()
        unchanged = bool(tag) and tag == handler.headers["If-None-Match"]
        respond(handler, b"" if unchanged else body, status=304 if unchanged else 200, tag=tag)


def respond(
    handler: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, tag: str = "", length: int | None = None
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    if tag:
        handler.send_header("ETag", tag)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def running(server: Server, port: int = 0) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            pass

    listener = Listener(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{listener.server_address[1]}"
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


@dataclass
class Elsewhere:
    """The home of a node on another machine: nothing is in it but the root's public key."""

    home: Home
    told: list[AdmissionRefused] = field(default_factory=list)
    links: list[ServerLink] = field(default_factory=list)

    @classmethod
    def at(cls, root: Path) -> Elsewhere:
        there = cls(Home(root).make())
        there.home.root_public.parent.mkdir(parents=True)
        write_public(there.home.root_public, ROOT.public)
        return there

    @property
    def pointer(self) -> Path:
        return pointer_path(self.home.root, NODE)

    @property
    def refused(self) -> list[str]:
        """The steps at which something was refused."""
        return [fact.step for fact in self.told]

    def bringer(self, url: str, node: str = NODE) -> Bringer:
        def token() -> str:
            return TOKEN

        links = ServerLink(url, token, seconds=5.0), ServerLink(url, token, seconds=5.0)
        self.links += links
        return Bringer(self.home, node, *links, self.told.append)

    def close(self) -> None:
        for link in self.links:
            link.close()

    def gate(self, clock: Callable[[], int]) -> Gate:
        state = self.home.root / "gate.json"
        artifacts = ArtifactStore(self.home.artifacts)
        return Gate(self.pointer, artifacts, trust_file(self.home), NODE, state, clock=clock)
