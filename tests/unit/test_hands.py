"""Facts are taken over from other users, whatever those put into their folders: nobody is misled, nobody waits."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from ion.agent import hands, open_client, ship_all, ship_hands, ship_home, walk
from ion.agent.capture_keys import KeyDrop
from ion.agent.spool import SpoolWriter
from ion.errors import IonError
from ion.evidence.captures import CaptureKey
from ion.facts import AlertRaised, GapNoted
from ion.home import Home
from ion.testing import MemoryReceiver, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.agent import Client


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hands, "_told", set())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Give a state root with the hands ``ward`` and ``clinic``, as governance makes them."""
    root = tmp_path / "home"
    for name in ("ward", "clinic"):
        (root / "hands" / name / "spool").mkdir(parents=True)
        (root / "hands" / name / "spool").chmod(0o2770)
    (root / "hands").chmod(0o755)
    return Home(root)


@pytest.fixture
def as_hand(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what makes this process a hand, or governance again."""

    def become(name: str) -> None:
        if name:
            monkeypatch.setenv("ION_STORE_URL", f"spool:{name}")
        else:
            monkeypatch.delenv("ION_STORE_URL")

    return become


def note(number: int = 0) -> GapNoted:
    return GapNoted(scope=f"s{number}", what="x", count=number, reason="")


def told(home: Home, as_hand: Callable[[str], None], hand: str, count: int = 1) -> str:
    """Tell facts as a hand, end, and be governance again; returns the agent."""
    as_hand(hand)
    client = open_client(home, name="train")
    for number in range(count):
        client.emit(note(number))
    client.close()
    as_hand("")
    return client.agent


def spool_of(home: Home, hand: str) -> Path:
    return home.hands / hand / "spool"


def alerts(receiver: MemoryReceiver) -> list[tuple[str, str]]:
    return [(alert.scope, alert.alert) for alert in receiver.facts(AlertRaised)]


def counts(receiver: MemoryReceiver) -> list[int]:
    return [gap.count for gap in receiver.facts(GapNoted) if gap.what == "x"]


# A hand tells ---------------------------------------------------------------------------------------


def test_a_hand_tells_under_its_own_name_in_its_own_folder_and_opens_no_store(
    home: Home, as_hand: Callable[[str], None]
) -> None:
    as_hand("ward")
    client = open_client(home, name="train")
    client.emit(note())
    assert not client.ship()  # there is nothing it could ship to
    assert client.agent.startswith("ward.train-")
    assert (home.hands / "ward" / "spool" / client.agent / "facts-00000000").is_file()
    assert not (home.root / "store.db").exists()
    with pytest.raises(IonError) as refused:
        home.store_url  # noqa: B018 - asking is what is refused
    assert refused.value.code == "store-elsewhere"
    client.close()


@pytest.mark.parametrize("name", ["", " ", "../ward", "Ward", "ward/x", "a" * 40, "ward.x"])
def test_a_name_that_is_none_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("ION_STORE_URL", f"spool:{name}")
    with pytest.raises(IonError) as refused:
        open_client(home)
    assert refused.value.code == "bad-store-url"


def test_a_hand_that_governance_did_not_make_is_not_made_by_the_hand(
    home: Home, as_hand: Callable[[str], None]
) -> None:
    as_hand("stranger")
    with pytest.raises(IonError) as refused:
        open_client(home)
    assert refused.value.code == "home-unusable"
    assert not (home.hands / "stranger").exists()


@pytest.mark.parametrize(
    ("spool_mode", "folder_mode", "file_mode"), [(0o2770, 0o2770, 0o660), (0o700, 0o700, 0o600), (0o755, 0o700, 0o600)]
)
@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_a_spool_is_the_groups_only_where_its_folder_is_and_whatever_the_umask(
    tmp_path: Path, umask: int, spool_mode: int, folder_mode: int, file_mode: int
) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(spool_mode)
    before = os.umask(umask)
    try:
        SpoolWriter(tmp_path / "spool", "agent-1").close()
    finally:
        os.umask(before)
    folder = tmp_path / "spool" / "agent-1"
    assert stat.S_IMODE(folder.stat().st_mode) == folder_mode
    assert stat.S_IMODE((folder / "facts-00000000").stat().st_mode) == file_mode


# Governance takes over ------------------------------------------------------------------------------


def test_what_hands_told_is_shipped_and_their_spools_go(home: Home, as_hand: Callable[[str], None]) -> None:
    receiver = MemoryReceiver()
    agents = {told(home, as_hand, "ward", 2), told(home, as_hand, "clinic", 1)}
    assert ship_hands(home, receiver) == 3
    assert {record.agent for record in receiver.records} == agents
    assert list(spool_of(home, "ward").iterdir()) == list(spool_of(home, "clinic").iterdir()) == []
    assert alerts(receiver) == []


def test_a_home_without_hands_and_its_own_spool_ship_as_ever(tmp_path: Path) -> None:
    receiver, home = MemoryReceiver(), Home(tmp_path)
    client = open_client(home, ship=False)
    client.emit(note(3))
    client.close()
    assert ship_home(home, receiver) == 1
    assert counts(receiver) == [3]


def test_keys_of_a_hand_arrive_before_its_facts(home: Home, as_hand: Callable[[str], None]) -> None:
    receiver = MemoryReceiver()
    as_hand("ward")
    client: Client = open_client(home, name="serve")
    key = CaptureKey.generate()
    KeyDrop(client).put([key])
    assert stat.S_IMODE((spool_of(home, "ward") / client.agent / "keys").stat().st_mode) == 0o660
    client.emit(note())
    client.close()
    as_hand("")
    assert ship_hands(home, receiver) == 1
    assert receiver.keys == {key.key_id: key}


def test_a_large_spool_goes_in_portions_so_that_nobody_else_waits(
    home: Home, as_hand: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "MOST_BYTES", 2000)
    receiver = MemoryReceiver()
    agent = told(home, as_hand, "ward", 50)
    first = ship_hands(home, receiver)
    assert 0 < first < 20
    assert (spool_of(home, "ward") / agent).exists()
    assert ship_home(home, receiver, wait=True) == 50 - first
    assert counts(receiver) == list(range(50))
    assert not (spool_of(home, "ward") / agent).exists()
    assert alerts(receiver) == []


# Who misleads ---------------------------------------------------------------------------------------


def test_a_spool_in_the_name_of_another_hand_or_of_governance_is_not_taken(
    home: Home, as_hand: Callable[[str], None]
) -> None:
    receiver = MemoryReceiver()
    agent = told(home, as_hand, "ward")
    spool = spool_of(home, "ward")
    (spool / agent).rename(spool / "clinic.train-1")
    assert ship_hands(home, receiver) == 0
    (spool / "clinic.train-1").rename(spool / "program-1")
    assert ship_hands(home, receiver) == 0
    assert alerts(receiver) == [("ward", "foreign-agent")] * 2
    assert counts(receiver) == []


def test_a_fact_in_anothers_name_ends_the_spool_before_it(home: Home) -> None:
    receiver = MemoryReceiver()
    writer = SpoolWriter(spool_of(home, "ward"), "ward.train-1")
    writer.append(written(note(0), 0, agent="ward.train-1").raw)
    writer.append(written(note(1), 7, agent="clinic.train-1").raw)
    writer.append(written(note(2), 1, agent="ward.train-1").raw)
    writer.close()
    assert ship_hands(home, receiver) == 1
    assert counts(receiver) == [0]
    assert alerts(receiver) == [("ward.train-1", "foreign-agent")]
    (gap,) = [gap for gap in receiver.facts(GapNoted) if gap.what == "spool bytes"]
    assert gap.count > 0
    assert (home.root / "quarantine" / "ward.train-1" / "facts-00000000").is_file()


def test_a_quarantined_name_used_again_does_not_stick(home: Home) -> None:
    receiver = MemoryReceiver()
    for _ in range(3):
        writer = SpoolWriter(spool_of(home, "ward"), "ward.train-1")
        writer.append(b"no fact")
        writer.close()
        ship_hands(home, receiver)
        assert list(spool_of(home, "ward").iterdir()) == []
    assert len(list((home.root / "quarantine" / "ward.train-1").iterdir())) == 1  # the same bytes are kept once


@pytest.mark.parametrize("level", ["hand", "spool", "agent"])
def test_a_link_in_place_of_a_folder_is_not_followed(home: Home, as_hand: Callable[[str], None], level: str) -> None:
    receiver = MemoryReceiver()
    agent = told(home, as_hand, "clinic")
    if level == "agent":
        (spool_of(home, "ward") / "ward.train-1").symlink_to(spool_of(home, "clinic") / agent)
    elif level == "spool":
        spool_of(home, "ward").rmdir()
        spool_of(home, "ward").symlink_to(spool_of(home, "clinic"))
    else:
        spool_of(home, "ward").rmdir()
        (home.hands / "ward").rmdir()
        (home.hands / "ward").symlink_to(home.hands / "clinic")
    assert ship_hands(home, receiver) == 1  # clinic's own
    ((_, kind),) = alerts(receiver)
    assert kind == "hand-unusable"


def _link(path: Path) -> None:
    path.unlink(missing_ok=True)
    (path.parent / "elsewhere").write_bytes(b"")
    path.symlink_to(path.parent / "elsewhere")


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["facts-00000000", "writing", "shipping", "keys"])
@pytest.mark.parametrize("put", [_link, _pipe])
@pytest.mark.timeout(20)
def test_a_link_or_a_pipe_in_place_of_a_file_hangs_and_misleads_nobody(
    home: Home, as_hand: Callable[[str], None], put: Callable[[Path], None], name: str
) -> None:
    receiver = MemoryReceiver()
    agent = told(home, as_hand, "ward")
    told(home, as_hand, "clinic")
    put(spool_of(home, "ward") / agent / name)
    assert ship_hands(home, receiver) == 1  # clinic's
    assert alerts(receiver) == [(agent, "hand-unusable")]


@pytest.mark.parametrize("name", ["shipped", "shipped.new"])
def test_governance_writes_through_no_link(home: Home, as_hand: Callable[[str], None], name: str) -> None:
    receiver = MemoryReceiver()
    victim = home.root / "trust.json"
    victim.write_text("whom to trust")
    as_hand("ward")
    client = open_client(home)
    client.emit(note())
    client.flush()
    as_hand("")
    (spool_of(home, "ward") / client.agent / name).symlink_to(victim)
    assert ship_hands(home, receiver) == 1
    assert victim.read_text() == "whom to trust"
    client.close()


def test_a_writer_that_keeps_its_keys_locked_holds_up_only_itself(home: Home, as_hand: Callable[[str], None]) -> None:
    receiver = MemoryReceiver()
    agent = told(home, as_hand, "clinic")
    told(home, as_hand, "ward")
    with (spool_of(home, "clinic") / agent / "keys").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        assert ship_hands(home, receiver) == 1
        assert time.monotonic() - began < 1.0
    assert ship_hands(home, receiver) == 1


def test_keys_that_nest_without_end_or_fill_the_memory_are_not_read(home: Home, as_hand: Callable[[str], None]) -> None:
    receiver = MemoryReceiver()
    nesting, filling = told(home, as_hand, "ward"), told(home, as_hand, "clinic")
    (spool_of(home, "ward") / nesting / "keys").write_text("[" * 1_000_000)
    with (spool_of(home, "clinic") / filling / "keys").open("wb") as file:
        file.truncate(1 << 40)
    assert ship_hands(home, receiver) == 1
    assert alerts(receiver) == [(filling, "hand-unusable")]
    assert receiver.keys == {}


def test_a_tail_without_end_is_damage_and_not_read_into_memory(home: Home, as_hand: Callable[[str], None]) -> None:
    receiver = MemoryReceiver()
    agent = told(home, as_hand, "ward")
    path = spool_of(home, "ward") / agent / "facts-00000000"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size)
        file.write(b"ION2" + (1 << 25).to_bytes(4, "big") + bytes(4))
        file.truncate(size + (1 << 26) + (1 << 20))
    assert ship_hands(home, receiver) == 1
    assert (agent, "spool-corrupt") in alerts(receiver)


def test_a_folder_exchanged_while_it_is_shipped_leads_nowhere(
    home: Home, as_hand: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise governance would write and remove in another's folder what the hand cannot."""
    receiver = MemoryReceiver()
    agent, other = told(home, as_hand, "ward"), told(home, as_hand, "clinic")
    mine, theirs = spool_of(home, "ward") / agent, spool_of(home, "clinic") / other
    before = {path.name: path.read_bytes() for path in theirs.iterdir()}
    real = walk.Segment

    def exchange(*arguments: object) -> object:
        monkeypatch.setattr(walk, "Segment", real)
        mine.rename(mine.with_name("ward.hidden"))
        mine.symlink_to(theirs)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(walk, "Segment", exchange)
    shipped = _ship_one(home, "ward", receiver)
    assert shipped == 0  # its own folder had gone from where it goes away from
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == before
    assert (agent, "hand-unusable") in alerts(receiver)


def _ship_one(home: Home, hand: str, receiver: MemoryReceiver) -> int:
    with hands._opened(spool_of(home, hand)) as spool:
        return hands._ship_hand(home, hand, spool, receiver, wait=False)


def test_hands_that_others_may_add_to_are_not_believed(home: Home, as_hand: Callable[[str], None]) -> None:
    receiver = MemoryReceiver()
    told(home, as_hand, "ward")
    home.hands.chmod(0o777)
    assert ship_hands(home, receiver) == 0
    assert ship_hands(home, receiver) == 0
    assert alerts(receiver) == [("hands", "hands-open")]
    home.hands.chmod(0o755)
    assert ship_hands(home, receiver) == 1


def test_a_fact_in_anothers_name_is_refused_from_the_own_spool_too(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    writer = SpoolWriter(tmp_path / "spool", "agent-1")
    writer.append(written(note(), agent="agent-2").raw)
    writer.close()
    assert ship_all(tmp_path / "spool", receiver) == 0
    assert alerts(receiver) == [("agent-1", "foreign-agent")]
