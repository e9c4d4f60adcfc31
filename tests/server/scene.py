"""A server in this process, and what is sent to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from ion.agent.body import SPOOL_TYPE, frames_of
from ion.clock import now_us
from ion.facts import NodeRunStarted, ParamRecorded
from ion.server.tokens import issue
from ion.testing import written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx
    from starlette.testclient import TestClient

    from ion.records import Record
    from ion.store import GovernanceStore

DAY = 86_400_000_000


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@dataclass
class Scene:
    """A store, and a client of the server on it that sends this token."""

    store: GovernanceStore
    client: TestClient

    def token(
        self, agents: Sequence[str] = ("agent-*",), nodes: Sequence[str] = ("*",), roles: Sequence[str] = ("agent",)
    ) -> str:
        return issue(self.store, roles, agents, nodes, until=now_us() + DAY, by="test")[1]

    def send(
        self, token: str, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None, agent: str = ""
    ) -> httpx.Response:
        ((author, body),) = frames_of(records, blocks or {})
        return self.send_body(token, agent or author, zstd(body))

    def send_body(self, token: str, agent: str, body: bytes, encoding: str = "zstd") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": SPOOL_TYPE, "Content-Encoding": encoding}
        return self.client.post(f"/v1/agents/{agent}/facts", content=body, headers=headers)

    def ask(self, token: str, path: str, **query: object) -> httpx.Response:
        return self.client.get(path, params=query, headers={"Authorization": f"Bearer {token}"})


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def started(run: str, node: str, seq: int = 0, agent: str = "agent-1") -> Record:
    return written(NodeRunStarted(run=run, node=node, node_kind="custom"), seq, agent=agent)


def param(run: str, seq: int, value: object = 1, agent: str = "agent-1") -> Record:
    return written(ParamRecorded(run=run, name="p", value=value), seq, agent=agent)
