"""Errors, canonical bytes, ids, clock, home: small values with strict edges."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from ion.canonical import canonical_bytes, checked_digest, digest_bytes, digest_json
from ion.clock import MAX_AHEAD_US, Clock, Stamp, now_us, rfc3339
from ion.errors import IonError
from ion.home import Home, web_url
from ion.ids import PredictionId, checked_node, new_id, observed_id
from ion.testing import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

EPOCH = "01a1fc11-3ca9-7b19-b45c-caf7a65bfeee"


def test_an_error_says_what_happened_its_code_and_what_to_do() -> None:
    error = IonError("no-java", "Java was not found", "install Java 17")
    assert str(error) == "Java was not found [no-java]\n  install Java 17"
    assert error.as_dict() == {"code": "no-java", "message": "Java was not found", "hint": "install Java 17"}
    carried = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(carried), carried.as_dict()) == (IonError, error.as_dict())


def test_canonical_bytes_sort_keys_and_write_numbers_one_way() -> None:
    assert canonical_bytes({"b": 1.0, "a": [True, None, "é"]}) == '{"a":[true,null,"é"],"b":1}'.encode()
    assert digest_json({}) == digest_bytes(b"{}")


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 2**53, {1: 2}, b"bytes", object(), "\ud800", {"\ud800": 1}],
    ids=["nan", "inf", "2^53", "key", "bytes", "object", "surrogate", "surrogate key"],
)
def test_what_json_cannot_hold_has_no_canonical_bytes(value: object) -> None:
    with pytest.raises(IonError) as caught:
        canonical_bytes(value)
    assert caught.value.code == "not-canonical"


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "g" * 64, "SHA256:" + "0" * 64, "sha256:" + "0" * 64 + "\n", 7]
)
def test_other_texts_are_no_digest(text: object) -> None:
    with pytest.raises(IonError) as caught:
        checked_digest(text)
    assert caught.value.code == "bad-digest"


def test_ids_sort_by_time_and_observed_ids_are_the_same_twice() -> None:
    ids = [new_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert [int(one.replace("-", "")[:12], 16) for one in ids] == sorted(int(i.replace("-", "")[:12], 16) for i in ids)
    assert {one[14] for one in ids} == {"7"}
    assert observed_id("a", "bc") == observed_id("a", "bc") != observed_id("ab", "c")


@pytest.mark.parametrize("text", ["patient_tests", "a/b/c", "A/b", "a b/c", "a/b\n", "../x", ""])
def test_other_texts_address_no_node(text: str) -> None:
    with pytest.raises(IonError) as caught:
        checked_node(text)
    assert caught.value.code == "bad-node"


def test_a_prediction_id_has_one_text() -> None:
    assert str(PredictionId.parse(f" {EPOCH}:12 ")) == f"{EPOCH}:12"
    assert PredictionId.parse(f"{EPOCH}:{2**53 - 1}").seq == 2**53 - 1


@pytest.mark.parametrize(
    "text", ["", EPOCH, f"{EPOCH}:", f"{EPOCH}:-1", f"{EPOCH}:٣", f"{EPOCH}:007", f"{EPOCH.upper()}:1", "x:1",
             f"{EPOCH}:{2**53}", f"{EPOCH}:{'9' * 5000}", f"{EPOCH}:1:2"],
)  # fmt: skip
def test_other_texts_are_no_prediction_id(text: str) -> None:
    with pytest.raises(IonError) as caught:
        PredictionId.parse(text)
    assert caught.value.code == "bad-prediction-id"


def test_the_clock_never_goes_back_and_counts_within_a_microsecond() -> None:
    wall = FakeClock(1000)
    clock = Clock(wall)
    assert [clock.tick(), clock.tick()] == [Stamp(1000, 0), Stamp(1000, 1)]
    wall.advance(-1)
    assert clock.tick() == Stamp(1000, 2)
    wall.us = 1001
    assert clock.tick() == Stamp(1001, 0)


def test_a_tick_comes_after_what_was_observed_unless_that_is_too_far_ahead() -> None:
    wall = FakeClock(1000)
    clock = Clock(wall)
    assert clock.observe(Stamp(1000 + MAX_AHEAD_US, 5))
    assert clock.tick() == Stamp(1000 + MAX_AHEAD_US, 6)
    assert not clock.observe(Stamp(1001 + MAX_AHEAD_US))
    assert clock.tick() == Stamp(1000 + MAX_AHEAD_US, 7)


def test_times_are_written_with_microseconds_in_utc() -> None:
    us = 1_800_000_000_000_007
    assert rfc3339(us) == "2027-01-15T08:00:00.000007Z"
    assert abs(datetime.now(UTC).timestamp() * 1e6 - now_us()) < 5e6


def test_home_follows_the_environment_and_makes_nothing_until_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ION_HOME", str(tmp_path / "state"))
    home = Home.find()
    assert home.root == tmp_path / "state"
    assert home.store_url == f"sqlite:///{tmp_path / 'state' / 'store.db'}"
    assert not home.root.exists()
    assert home.make().root.is_dir()
    monkeypatch.setenv("ION_STORE_URL", "postgresql://u@h/d")
    assert home.store_url == "postgresql://u@h/d"
    monkeypatch.setenv("ION_WEB_URL", "http://127.0.0.1:9/ion/")
    assert web_url() == "http://127.0.0.1:9/ion"


def test_a_home_that_is_a_file_is_said_to_be_unusable(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(IonError) as caught:
        Home(tmp_path / "state").make()
    assert caught.value.code == "home-unusable"
