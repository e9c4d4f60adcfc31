"""A server in this process, on SQLite and on PostgreSQL."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a successor of httpx that is not in use here
    from starlette.testclient import TestClient

from ion.home import Home
from ion.server import Bounds, server_app
from ion.store import open_store
from tests.server.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def served(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scene]]:
    """Call with bounds for a scene whose server has them."""
    monkeypatch.setenv("ION_STORE_URL", store_url)
    store = open_store(store_url)
    clients: list[TestClient] = []

    def serve(bounds: Bounds | None = None) -> Scene:
        client = TestClient(server_app(Home(tmp_path), bounds), raise_server_exceptions=False)
        clients.append(client.__enter__())
        return Scene(store, client)

    yield serve
    for client in clients:
        client.__exit__()
    store.close()


@pytest.fixture
def scene(served: Callable[..., Scene]) -> Scene:
    """A server with the usual bounds."""
    return served()
