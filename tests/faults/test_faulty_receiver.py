"""Requests are dropped, doubled, reordered, cut short and replayed: everything is stored once, in spite of it."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ion.agent import Client, ship_all, walk
from ion.home import Home
from ion.store import appending, open_store
from tests.faults.invariant import load, violations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ion.agent.receiver import Receiver
    from ion.records import Record

FAULTS = ("lost", "answer lost", "doubled", "reordered", "cut short", "replayed", "none")


class Faulty:
    """A receiver behind a bad network."""

    def __init__(self, real: Receiver, seed: int, faults: Sequence[str] = FAULTS) -> None:
        self._real = real
        self._chance = random.Random(seed)  # noqa: S311 - which fault, not a secret
        self._faults = faults
        self._seen: list[tuple[list[Record], dict[str, bytes]]] = []

    def keep_capture_keys(self, keys: Sequence[object]) -> object:
        return self._real.keep_capture_keys(keys)  # type: ignore[arg-type]

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> object:
        fault = self._chance.choice(self._faults)
        batch, bodies = list(records), dict(blocks or {})
        self._seen.append((batch, bodies))
        if fault == "lost":
            raise ConnectionError("the request was lost")
        if fault == "cut short":
            self._real.append(batch[: len(batch) // 2], bodies)
            raise ConnectionError("the request was cut short")
        if fault == "replayed":
            self._real.append(*self._chance.choice(self._seen))
        if fault == "reordered":
            batch.reverse()
        self._real.append(batch, bodies)
        if fault == "doubled":
            self._real.append(batch, bodies)
        if fault == "answer lost":
            raise ConnectionError("the answer was lost")
        return None


def through(tmp_path: Path, patch: pytest.MonkeyPatch, seed: int, faults: Sequence[str] = FAULTS) -> list[str]:
    """Tell, ship through a bad network until all is shipped, and return what is wrong."""
    patch.setattr(walk, "_BATCH", 7)
    home = Home(tmp_path / f"home-{seed}").make()
    store = open_store(home.store_url)
    receiver = Faulty(store, seed, faults)
    acknowledged: list[str] = []
    for agent in range(3):
        client = Client(home, f"agent-{agent}")
        acknowledged += [client.emit(load(100 * agent + number)) for number in range(40)]
        client.flush()
        for _ in range(3):
            _try(home, receiver)
        client.close()
    tries = 0
    while list(home.spool.iterdir()) and tries < 200:
        _try(home, receiver)
        tries += 1
    wrong = violations(store, home, acknowledged)
    store.close()
    return wrong


def _try(home: Home, receiver: Faulty) -> None:
    with suppress(Exception):  # as an agent: whatever it is, try again
        ship_all(home.spool, receiver)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_network_does_everything_is_stored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    assert through(tmp_path, monkeypatch, seed) == []


@pytest.mark.parametrize("fault", FAULTS[:-1])
def test_each_fault_alone_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    assert through(tmp_path, monkeypatch, 1, (fault, "none")) == []


def test_planted_forgetfulness_of_the_store_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deduplication off: a repeated request fails for ever, and what is behind it never arrives."""
    monkeypatch.setattr(appending.Append, "_raws_of", lambda *_: {})
    assert any("acknowledged and not stored" in each for each in through(tmp_path, monkeypatch, 1, ("answer lost",)))


def test_a_planted_cursor_before_the_request_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = walk.Walk._ship

    def early(self: walk.Walk) -> None:
        self._place.save(self._folder.files)
        real(self)

    monkeypatch.setattr(walk.Walk, "_ship", early)
    assert through(tmp_path, monkeypatch, 1, ("lost", "none"))
