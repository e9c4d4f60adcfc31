"""No sender makes the server hold more, wait longer or fail worse than its bounds say."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import zstandard
from sqlalchemy.exc import OperationalError

from ion.agent.body import frames_of
from ion.agent.frames import FIRST_LINK, framed
from ion.errors import IonError
from ion.facts import ParamRecorded
from ion.server.bounds import Bounds, Load, content, read_body
from ion.store import GovernanceStore
from tests.server.scene import code, param, started, zstd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.server.scene import Scene

MIB = 1024 * 1024
BOMB = zstd(bytes(200 * MIB))


def unpacked(body: bytes, bounds: Bounds, encoding: str = "zstd") -> bytes:
    with Load(bounds).holding() as holding:
        return content(body, encoding, bounds, holding)


def test_a_bomb_is_unpacked_up_to_the_bound_and_no_further() -> None:
    assert len(BOMB) < MIB
    tracemalloc.start()
    with pytest.raises(IonError) as caught:
        unpacked(BOMB, Bounds(body=4 * MIB))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "body-too-large"
    assert peak < 16 * MIB


def test_a_bomb_whose_header_tells_nothing_is_refused_too(scene: Scene) -> None:
    untold = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100 * MIB))
    assert code(scene.send_body(scene.token(), "agent-1", untold)) == (413, "body-too-large")


def test_a_window_larger_than_decoders_must_support_is_refused() -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
    compressor = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    body = compressor.compress(b"x" * MIB) + compressor.flush()
    with pytest.raises(IonError) as caught:
        unpacked(body, Bounds())
    assert caught.value.code == "bad-body"


def test_a_body_that_says_it_is_too_large_is_not_read(served: Callable[..., Scene]) -> None:
    scene = served(Bounds(body=1000))
    token = scene.token()
    assert code(scene.send_body(token, "agent-1", os.urandom(1001), "identity")) == (413, "body-too-large")
    response = scene.client.post(
        "/v1/agents/agent-1/facts",
        content=iter([os.urandom(600), os.urandom(600)]),  # chunked: no length is told
        headers={"Authorization": f"Bearer {token}"},
    )
    assert code(response) == (413, "body-too-large")
    assert scene.send(token, [started("r", "i/n")]).status_code == 200


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("size", [0, 10, 300_000])
def test_a_compressed_body_that_was_cut_anywhere_is_not_taken_for_a_shorter_one(size: int, *, checksum: bool) -> None:
    data = random.Random(1).randbytes(size // 2) + bytes(size - size // 2)  # noqa: S311 - repeatable
    compressor = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=False)
    body = compressor.compress(data)
    two = body + zstd(b"more")
    assert unpacked(body, Bounds()) == data
    assert unpacked(two, Bounds()) == data + b"more"
    for cut in {*range(1, min(len(body), 40)), *range(1, len(body), max(len(body) // 50, 1)), len(body) - 1}:
        with pytest.raises(IonError):
            unpacked(body[:-cut], Bounds())
    with pytest.raises(IonError):
        unpacked(two[:-3], Bounds())


def test_an_unknown_encoding_is_refused(scene: Scene) -> None:
    assert code(scene.send_body(scene.token(), "agent-1", b"x", "br")) == (415, "bad-encoding")


class Slow:
    """A request whose body comes in these chunks, each after so many seconds."""

    def __init__(self, *chunks: tuple[float, bytes]) -> None:
        self.headers: dict[str, str] = {}
        self._chunks = chunks

    async def stream(self) -> AsyncIterator[bytes]:
        for seconds, chunk in self._chunks:
            await asyncio.sleep(seconds)
            yield chunk


def test_a_body_that_trickles_in_is_given_up() -> None:
    bounds = Bounds(grace=0.05, rate=1_000_000)
    with Load(bounds).holding() as holding, pytest.raises(IonError) as caught:
        asyncio.run(read_body(Slow(*[(0.04, b"x")] * 100), bounds, holding))  # type: ignore[arg-type]
    assert caught.value.code == "body-too-slow"


def test_a_large_body_may_take_its_time() -> None:
    bounds = Bounds(grace=60.0, rate=1)
    with Load(bounds).holding() as holding:
        found = asyncio.run(read_body(Slow(*[(0.01, b"x" * 100)] * 5), bounds, holding))  # type: ignore[arg-type]
    assert found == b"x" * 500


def test_all_bodies_together_are_bounded_and_what_was_taken_is_given_back() -> None:
    load = Load(Bounds(memory=100))
    with load.holding() as one, load.holding() as other:
        one.more(60)
        with pytest.raises(IonError) as caught:
            other.more(41)
        assert caught.value.code == "server-busy"
        other.more(40)
    with load.holding() as later:
        later.more(100)


def test_who_comes_when_all_places_are_taken_is_asked_to_come_again(served: Callable[..., Scene]) -> None:
    scene = served(Bounds(ingests=0))
    response = scene.send(scene.token(), [started("r", "i/n")])
    assert code(response) == (429, "server-busy")
    assert 1 <= int(response.headers["Retry-After"]) <= 2
    assert scene.ask(scene.token(roles=["reader"]), "/v1/head").status_code == 200  # questions have places of their own


def test_places_and_memory_are_given_back_whatever_happens(served: Callable[..., Scene]) -> None:
    scene = served(Bounds(ingests=1, memory=20_000, body=10_000))
    token = scene.token()
    for _ in range(3):
        scene.send_body(token, "agent-1", os.urandom(9000))
        scene.send_body(token, "agent-1", zstd(bytes(MIB)))
        scene.send_body("wrong", "agent-1", b"")
        scene.send_body(token, "other", b"")
    assert scene.send(token, [started("r", "i/n")]).status_code == 200


def test_a_store_that_is_away_says_when_to_come_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    token, reader = scene.token(), scene.token(roles=["reader"])

    def away(*_: object, **__: object) -> None:
        raise OperationalError("select", {}, Exception("the connection was closed"))

    monkeypatch.setattr(GovernanceStore, "head", away)
    for response in (scene.ask(reader, "/v1/head"), scene.client.get("/ready")):
        assert code(response) == (503, "store-unreachable")
        assert 5 <= int(response.headers["Retry-After"]) <= 10
    assert "ion_store_head NaN" in scene.client.get("/metrics").text
    monkeypatch.setattr(GovernanceStore, "find", away)
    assert code(scene.send(token, [started("r", "i/n")])) == (503, "store-unreachable")
    assert scene.client.get("/health").status_code == 200


def test_an_error_that_nobody_foresaw_is_told_without_its_insides(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("insides")

    reader = scene.token(roles=["reader"])
    monkeypatch.setattr(GovernanceStore, "head", broken)
    response = scene.ask(reader, "/v1/head")
    assert code(response) == (500, "server-failed")
    assert "insides" not in response.text


def test_no_bytes_make_the_server_fail(scene: Scene) -> None:
    """Random damage at every level: the compressed body, the frames, the record within a right frame."""
    token = scene.token()
    random_ = random.Random(20261121)  # noqa: S311 - repeatable damage
    ((agent, body),) = frames_of([started("r", "i/n"), param("r", 1, value={"a": [1, 2.5, "x"]})], {})
    raw = param("r", 2, value={"a": [1, "x"]}).raw

    def damaged(data: bytes) -> bytes:
        found = bytearray(data)
        for _ in range(random_.randint(1, 4)):
            place = random_.randrange(len(found))
            choice = random_.randrange(3)
            if choice == 0:
                found[place] = random_.randrange(256)
            elif choice == 1:
                del found[place]
            else:
                found.insert(place, random_.randrange(256))
        return bytes(found)

    for _ in range(150):
        attempts = [
            damaged(zstd(body)),
            zstd(damaged(body)),
            zstd(framed(FIRST_LINK, damaged(raw), random_.randbytes(random_.randrange(3)))[0]),
        ]
        for attempt in attempts:
            assert scene.send_body(token, agent, attempt).status_code in {200, 400, 403, 413}
    for values in ([2**60, 1], [0, 2**32 - 1], [2**32 - 1, 2**32 - 1]):
        header = struct.pack(">4sII", b"ION1", *(value % 2**32 for value in values))
        assert scene.send_body(token, agent, zstd(header + bytes(100))).status_code == 400
    assert all(record.fact.run == "r" for record in scene.store.find(ParamRecorded))
