"""What reaches the server enters whole or not at all, once, and only from who may say it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ion.agent.body import frames_of
from ion.agent.statistics import statistics_fact
from ion.clock import now_us
from ion.evidence.captures import CaptureKey
from ion.facts import (
    GOVERNANCE_ONLY,
    AlertRaised,
    EpochOpened,
    GapNoted,
    InputsCaptured,
    MessageSent,
    NodeHalted,
    ParamRecorded,
    TokenIssued,
    TokenRevoked,
)
from ion.ledger import verify_chain
from ion.points import Points
from ion.server import server_app
from ion.server.tokens import issue, known_tokens, recognised, revoke
from ion.testing import written
from tests.server.scene import DAY, code, param, started, zstd

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.scene import Scene


POINTS = {"auc": Points(np.arange(3), np.array([0.5, 0.25, 0.125])), "loss": Points(np.arange(2), np.ones(2))}


def alerts(scene: Scene) -> list[tuple[str, str]]:
    return [(record.fact.scope, record.fact.alert) for record in scene.store.find(AlertRaised)]


def refused(scene: Scene) -> list[tuple[str, int | None]]:
    return [(record.fact.scope, record.fact.first) for record in scene.store.find(GapNoted)]


def test_facts_enter_once_and_are_acknowledged(scene: Scene) -> None:
    token = scene.token()
    records = [started("r", "i/n"), param("r", 1), param("r", 2)]
    path = "/v1/agents/agent-1"
    assert scene.ask(token, path).json() == {"agent": "agent-1", "acknowledged": None}
    first = scene.send(token, records)
    assert (first.status_code, first.json()) == (200, {"accepted": 3, "known": 0, "conflicts": 0, "acknowledged": 2})
    assert scene.send(token, records).json() == {"accepted": 0, "known": 3, "conflicts": 0, "acknowledged": 2}
    assert scene.ask(token, path).json()["acknowledged"] == 2
    assert len(scene.store.find(ParamRecorded, "r")) == 2
    head = scene.store.head()
    assert verify_chain(scene.store.entries(), head.position, head.link) == []


def test_the_same_number_with_other_content_is_a_conflict(scene: Scene) -> None:
    token = scene.token()
    scene.send(token, [started("r", "i/n"), param("r", 1)])
    assert scene.send(token, [param("r", 1, value=2)]).json()["conflicts"] == 1
    assert alerts(scene) == [("agent-1", "sequence-conflict")]


def test_a_block_comes_with_the_fact_that_names_it(scene: Scene) -> None:
    from ion.canonical import digest_bytes

    sealed = b"ciphertext"
    fact = InputsCaptured(epoch="e", run="r", first=0, last=1, rows=2, key="k", block=digest_bytes(sealed))
    token = scene.token()
    done = scene.send(token, [started("r", "i/n"), written(fact, 1)], {fact.block: sealed})
    assert done.json()["accepted"] == 2
    assert scene.store.block(fact.block) == sealed


def test_points_of_statistics_come_with_their_leaf(scene: Scene) -> None:
    fact, block = statistics_fact("r", "", POINTS)
    done = scene.send(scene.token(), [started("r", "i/n"), written(fact, 1)], {fact.digest: block})
    assert done.json()["accepted"] == 2
    assert scene.store.points("r", "auc").values.tolist() == [0.5, 0.25, 0.125]
    assert alerts(scene) == []


def test_every_flipped_bit_of_a_body_is_refused_and_nothing_of_it_enters(scene: Scene) -> None:
    token = scene.token()
    ((agent, body),) = frames_of([started("r", "i/n"), param("r", 1)], {})
    before = scene.store.head().position
    for place in range(0, len(body), 7):
        damaged = bytearray(body)
        damaged[place] ^= 1 << place % 8
        response = scene.send_body(token, agent, bytes(damaged), "identity")
        assert code(response)[0] == 400, place
    assert scene.store.head().position == before


def test_a_body_that_was_cut_is_refused(scene: Scene) -> None:
    token = scene.token()
    ((agent, body),) = frames_of([started("r", "i/n"), param("r", 1)], {})
    for end in (1, 11, 43, 44, 200, -1):
        assert code(scene.send_body(token, agent, body[:end], "identity")) == (400, "bad-body"), end


def test_frames_that_continue_another_chain_are_refused(scene: Scene) -> None:
    from ion.agent.frames import framed

    frame, _ = framed(b"x" * 32, param("r", 0).raw)
    assert code(scene.send_body(scene.token(), "agent-1", zstd(frame))) == (400, "bad-body")


def test_what_is_no_body_is_refused(scene: Scene) -> None:
    token = scene.token()
    for body in (b"not zstd at all", zstd(b"x" * 100), zstd(b"x" * 100)[:-5], zstd(b"") + b"more"):
        assert code(scene.send_body(token, "agent-1", body)) == (400, "bad-body")
    assert scene.send_body(token, "agent-1", zstd(b"")).json()["accepted"] == 0


def test_an_agent_speaks_only_in_its_own_name(scene: Scene) -> None:
    token = scene.token(agents=["agent-*"])
    records = [started("r", "i/n", agent="agent-2")]
    assert code(scene.send(token, records, agent="agent-1")) == (403, "foreign-agent")
    assert code(scene.send(token, [started("r", "i/n", agent="other-1")])) == (403, "not-permitted")
    assert code(scene.ask(token, "/v1/agents/other-1")) == (403, "not-permitted")
    own = scene.store.find(TokenIssued)[0].agent
    everything = scene.token(agents=["*"])
    assert scene.send(everything, [started("r", "i/n", agent=own)]).json()["conflicts"] == 1
    assert scene.store.find(ParamRecorded) == []


def test_facts_of_governance_are_refused_whatever_the_token(scene: Scene) -> None:
    token = scene.token(agents=["*"], nodes=["*"], roles=["admin"])
    halt = NodeHalted(cause="c", node="i/n", serial=1, reason="r", by="b", envelope="")
    revoked = TokenRevoked(token="t", reason="r", by="b")  # noqa: S106 - an id
    assert {NodeHalted, TokenIssued, TokenRevoked} <= set(GOVERNANCE_ONLY)
    done = scene.send(token, [written(halt, 0), written(revoked, 1), started("r", "i/n", 2)])
    assert done.json() == {"accepted": 1, "known": 0, "conflicts": 2, "acknowledged": 2}
    assert refused(scene) == [("agent-1", 0), ("agent-1", 1)]
    assert not scene.store.current("i/n").halted


def test_a_token_of_one_ion_says_nothing_about_another(scene: Scene) -> None:
    theirs, ours = scene.token(["their-*"], ["theirs/*"]), scene.token(["our-*"], ["ours/*"])
    scene.send(theirs, [started("t", "theirs/n", agent="their-1")])
    opened = EpochOpened(
        epoch="e", run="t", node="theirs/n", subtask=0, attempt=0, models={}, decision_digest="", cause="", serial=1
    )
    scene.send(theirs, [written(opened, 1, agent="their-1")])
    message = MessageSent(message="m", run="o", sender="theirs/n", receiver="ours/n", message_kind="x", subject="s")
    foreign = [
        started("x", "theirs/n", 1, "our-1"),
        started("t", "ours/n", 2, "our-1"),
        param("t", 3, agent="our-1"),
        param("unheard", 4, agent="our-1"),
        written(GapNoted(scope="t", what="x", count=1, reason=""), 5, agent="our-1"),
        written(AlertRaised(scope="theirs/n", alert="x", message=""), 6, agent="our-1"),
        written(AlertRaised(scope="their-1", alert="x", message=""), 7, agent="our-1"),
        written(AlertRaised(scope="e", alert="x", message=""), 8, agent="our-1"),
        written(message, 9, agent="our-1"),
        written(statistics_fact("o", "e", POINTS)[0], 10, agent="our-1"),
    ]  # fmt: skip
    own = [
        started("o", "ours/n", 0, "our-1"),
        *foreign,
        param("o", 11, agent="our-1"),
        written(GapNoted(scope="o", what="x", count=1, reason="told"), 12, agent="our-1"),
        written(GapNoted(scope="our-0", what="x", count=1, reason="told"), 13, agent="our-1"),
    ]
    assert scene.send(ours, own).json() == {"accepted": 4, "known": 0, "conflicts": 10, "acknowledged": 13}
    assert {what for _, what in alerts(scene)} == {"out-of-scope"}
    told_of = [first for scope, first in refused(scene) if scope == "our-1"]
    assert told_of == list(range(1, 11))
    again = scene.send(ours, own).json()
    assert (again["accepted"], again["known"]) == (0, 4)
    assert len(alerts(scene)) == 10  # once, however often it is sent
    assert {record.agent for record in scene.store.find(ParamRecorded)} == {"our-1"}
    assert [record.agent for record in scene.store.find(EpochOpened)] == ["their-1"]


def test_a_token_of_one_node_covers_that_node_alone(scene: Scene) -> None:
    token = scene.token(nodes=["i/n"])
    done = scene.send(token, [started("r", "i/n"), started("s", "i/n_2", 1)])
    assert (done.json()["accepted"], done.json()["conflicts"]) == (1, 1)


def test_a_shipper_may_tell_of_a_spool_it_covers(scene: Scene) -> None:
    token = scene.token(["our-*"], ["ours/*"])
    gap = written(GapNoted(scope="our-1", what="spool bytes", count=3, reason="torn"), agent="shipping-1")
    foreign = written(GapNoted(scope="their-1", what="spool bytes", count=3, reason="torn"), agent="shipping-2")
    assert scene.send(token, [gap]).json()["accepted"] == 1
    assert scene.send(token, [foreign]).json()["conflicts"] == 1
    everywhere = scene.token(["our-*"], ["*"])
    assert scene.send(everywhere, [foreign]).json()["conflicts"] == 1
    disguised = [started("r", "i/n", agent="shipping-3"), param("r", 1, agent="shipping-3")]
    assert scene.send(everywhere, disguised).json()["conflicts"] == 2


def test_without_a_token_that_counts_nothing_is_answered(scene: Scene) -> None:
    body = zstd(b"")
    refusal = scene.client.post("/v1/agents/agent-1/facts", content=body)
    assert code(refusal) == (401, "no-token")
    assert refusal.headers["WWW-Authenticate"] == "Bearer"
    for wrong in ("ion1_", "nonsense", scene.token()[:-2], "ion1_" + "A" * 43, "é"):
        headers = {"Authorization": b"Bearer " + wrong.encode()}
        response = scene.client.post("/v1/agents/agent-1/facts", content=body, headers=headers)
        assert code(response) == (401, "token-refused"), wrong
    assert code(scene.send(scene.token(roles=["reader"]), [started("r", "i/n")])) == (403, "not-permitted")


def test_a_revoked_token_counts_no_longer_at_once(scene: Scene) -> None:
    token = scene.token()
    identity = known_tokens(scene.store)[0].issued.token
    assert scene.send(token, [started("r", "i/n")]).status_code == 200
    assert revoke(scene.store, identity, reason="host was replaced", by="test")
    assert code(scene.send(token, [param("r", 1)])) == (401, "token-refused")
    assert not revoke(scene.store, identity, reason="again", by="test")
    assert len(scene.store.find(TokenRevoked)) == 1
    assert scene.store.find(ParamRecorded) == []


def test_a_token_revoked_while_its_request_is_on_the_way_tells_nothing(scene: Scene) -> None:
    """The transaction looks again: between the check of the token and the append it may have been revoked."""
    from ion.errors import IonError
    from ion.server.access import caller_of

    caller = caller_of(scene.store, f"Bearer {scene.token()}")
    revoke(scene.store, caller.scope.token, reason="", by="test")
    with pytest.raises(IonError) as caught:
        scene.store.append([started("r", "i/n")], None, caller.scope)
    assert caught.value.code == "token-refused"


def test_a_token_runs_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from ion.server import tokens

    token = scene.token()
    monkeypatch.setattr(tokens, "now_us", lambda: now_us() + DAY + 1)
    assert code(scene.send(token, [started("r", "i/n")])) == (401, "token-refused")


def test_the_secret_of_a_token_is_kept_nowhere(scene: Scene) -> None:
    from base64 import urlsafe_b64decode

    identity, secret = issue(scene.store, ["agent"], ["*"], ["*"], until=now_us() + DAY, by="test")
    data = urlsafe_b64decode(secret.removeprefix("ion1_") + "=")
    assert len(data) == 32
    assert recognised(scene.store, secret).issued.token == identity
    for _, raw, _ in scene.store.entries():
        assert data not in raw
        assert data.hex().encode() not in raw
        assert secret.removeprefix("ion1_").encode() not in raw


def test_capture_keys_are_kept_before_the_facts_that_name_them(scene: Scene) -> None:
    token = scene.token()
    key = CaptureKey.generate("tag")
    headers = {"Authorization": f"Bearer {token}"}
    body = json.dumps({"keys": [[key.key_id, key.secret.hex(), key.subject]]}).encode()
    done = scene.client.post("/v1/capture-keys", content=body, headers=headers)
    assert done.json() == {"kept": 1}
    assert scene.store.capture_key(key.key_id) == key
    again = scene.client.post("/v1/capture-keys", content=body, headers=headers)
    assert again.json() == {"kept": 0}


NO_KEYS = (
    b"", b"{}", b"[]", b'{"keys": 3}', b'{"keys": [[1, 2, 3]]}', b'{"keys": [["k", "00", ""]]}', b"\xff", b"[" * 9999,
    b'{"keys": [["\\u0000", "' + b"00" * 32 + b'", ""]]}', b'{"keys": [["k", "' + b"00" * 32 + b'", "\\ud800"]]}',
)  # fmt: skip


def test_what_are_no_capture_keys_is_refused(scene: Scene) -> None:
    headers = {"Authorization": f"Bearer {scene.token()}"}
    for body in NO_KEYS:
        response = scene.client.post("/v1/capture-keys", content=body, headers=headers)
        assert response.status_code == 400, (body, response.text)


def test_the_server_starts_while_its_store_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    from ion.home import Home

    monkeypatch.setenv("ION_STORE_URL", "postgresql://nobody@127.0.0.1:1/none?connect_timeout=1")
    with TestClient(server_app(Home(tmp_path)), raise_server_exceptions=False) as client:
        response = client.get("/v1/agents/a", headers={"Authorization": "Bearer ion1_" + "A" * 43})
        assert code(response) == (503, "store-unreachable")
        assert 5 <= int(response.headers["Retry-After"]) <= 10
