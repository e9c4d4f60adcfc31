"""What agents send: spool frames with their blocks, and the keys that seal some of them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from ion.agent.body import SPOOL_TYPE, block_name
from ion.agent.frames import read_stream
from ion.errors import IonError
from ion.evidence.captures import CaptureKey
from ion.records import read_record
from ion.server.bounds import content, read_body
from ion.server.endpoint import Asked, Endpoint
from ion.store.permission import SHIPPING

if TYPE_CHECKING:
    from ion.records import Record
    from ion.server.bounds import Holding
    from ion.server.endpoint import Answer

_LONGEST_NAME = 255


async def take_facts(asked: Asked) -> Answer:
    """Take frames of one agent; all or nothing but for what it may not say."""
    agent = asked.path["agent"]
    if not agent.startswith(SHIPPING):  # whose word counts depends on what it tells
        asked.by.require_agent(agent)
    with asked.deployment.load.holding() as holding:
        body = await read_body(asked.request, asked.deployment.bounds, holding)
        return await run_in_threadpool(_take, asked, agent, body, holding)


async def take_keys(asked: Asked) -> Answer:
    """Keep capture keys: ``{"keys": [[id, secret as hex, subject tag], …]}``."""
    with asked.deployment.load.holding() as holding:
        body = await read_body(asked.request, asked.deployment.bounds, holding)
        return await run_in_threadpool(_take_keys, asked, body, holding)


def how_far(asked: Asked) -> Answer:
    """Return the highest sequence number acknowledged to an agent; null when nothing was."""
    agent = asked.path["agent"]
    asked.by.require_agent(agent)
    return {"agent": agent, "acknowledged": asked.store.index.acknowledged(agent)}


def _take(asked: Asked, agent: str, body: bytes, holding: Holding) -> Answer:
    deployment = asked.deployment
    frames = content(body, asked.request.headers.get("content-encoding", ""), deployment.bounds, holding)
    records, blocks = _read(frames, agent)
    done = asked.store.append(records, blocks, asked.by.scope)
    meters = deployment.meters
    meters.bytes.labels("sent").inc(len(body))
    meters.bytes.labels("content").inc(len(frames))
    for fate, count in (("accepted", done.accepted), ("known", done.known), ("conflict", done.conflicts)):
        meters.facts.labels(fate).inc(count)
    return {
        "accepted": done.accepted,
        "known": done.known,
        "conflicts": done.conflicts,
        "acknowledged": asked.store.index.acknowledged(agent),
    }


def _read(frames: bytes, agent: str) -> tuple[list[Record], dict[str, bytes]]:
    """Return the records and blocks of a whole body; one damaged bit and none of it is taken."""
    records: list[Record] = []
    blocks: dict[str, bytes] = {}
    end = 0
    try:
        for frame in read_stream(io.BytesIO(frames)):
            records.append(_of(agent, read_record(frame.record)))
            if frame.block:
                blocks[block_name(records[-1].fact, frame.block)] = frame.block
            end = frame.end
    except IonError as error:
        if error.code == "spool-corrupt":
            raise IonError("bad-body", f"frame {len(records)} of the body is damaged", "send it again") from error
        raise
    if end != len(frames):
        raise IonError("bad-body", f"the body ends within frame {len(records)}", "send it again")
    return records, blocks


def _of(agent: str, record: Record) -> Record:
    if record.agent != agent:
        told = f"a frame speaks in the name of {record.agent}, not of {agent}"
        raise IonError("foreign-agent", told[:300], "an agent reports at its own address")
    return record


def _take_keys(asked: Asked, body: bytes, holding: Holding) -> Answer:
    text = content(body, asked.request.headers.get("content-encoding", ""), asked.deployment.bounds, holding)
    try:
        told = json.loads(text)["keys"]
        keys = [CaptureKey(_name(key), bytes.fromhex(secret), _name(subject)) for key, secret, subject in told]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IonError("bad-body", 'these are no capture keys: {"keys": [[id, hex, subject], …]}') from error
    return {"kept": asked.store.keep_capture_keys(keys)}


def _name(text: object) -> str:
    if (
        not isinstance(text, str)
        or not text.isascii()
        or len(text) > _LONGEST_NAME
        or (text and not text.isprintable())
    ):
        raise ValueError(str(text)[:100])
    return text


ROUTES = (
    Endpoint(
        "POST",
        "/v1/agents/{agent}/facts",
        take_facts,
        "Take facts of an agent.",
        "agent",
        body=SPOOL_TYPE,
        slot="ingest",
    ),
    Endpoint(
        "POST", "/v1/capture-keys", take_keys, "Keep capture keys.", "agent", body="application/json", slot="ingest"
    ),
    Endpoint("GET", "/v1/agents/{agent}", how_far, "How far an agent's facts were acknowledged.", "agent"),
)
