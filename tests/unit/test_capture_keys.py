"""Capture keys: made per person, handed over beside the facts, forgotten when they were erased."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.agent import Client, ship_all
from ion.agent.capture_keys import KeyDrop, hand_over_keys
from ion.errors import IonError
from ion.evidence.captures import CaptureKey
from ion.facts import GapNoted
from ion.home import Home
from ion.serving import keyring
from ion.serving.erased import ErasedKeys, write_erased
from ion.serving.keyring import Keyring
from ion.serving.subject import SubjectTags, subject_text
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODE = "ward/scores"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    made = Client(Home(tmp_path / "home"), "test")
    yield made
    made.close()


@pytest.fixture
def keys(client: Client) -> Keyring:
    return Keyring(KeyDrop(client), NODE, SubjectTags(bytes(32)))


def tell(client: Client) -> None:
    client.emit(GapNoted(scope="s", what="x", count=1, reason=""))
    client.flush()


# Whose row it is ----------------------------------------------------------------------------------


def test_a_tag_is_one_persons_in_one_node_under_one_pepper() -> None:
    tags = SubjectTags(bytes(32))
    tag = tags.tag(NODE, "wdbc-1")
    assert tag == tags.tag(NODE, " wdbc-1\n")
    others = [tags.tag(NODE, "wdbc-2"), tags.tag("ward/other", "wdbc-1"), SubjectTags(b"1" * 32).tag(NODE, "wdbc-1")]
    assert len({tag, *others}) == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (7.0, "7"), (" 7", "7"), ("e\u0301", "é"), (None, ""), (float("nan"), ""), (" \t", ""), (7.5, "7.5")],
)
def test_an_identifier_has_one_text_however_a_table_held_it(value: object, text: str) -> None:
    assert subject_text(value) == text


@given(st.text())
def test_every_text_has_a_tag(text: str) -> None:
    assert len(SubjectTags(bytes(32)).tag(NODE, text)) == 64


def test_the_pepper_is_made_once_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    tag = SubjectTags.of(home).tag(NODE, "a")
    path = home.keys / "pepper"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SubjectTags.of(home).tag(NODE, "a") == tag
    elsewhere = tmp_path / "copy"
    shutil.copy(path, elsewhere)
    monkeypatch.setenv("ION_PEPPER", str(elsewhere))
    assert SubjectTags.of(Home(tmp_path / "other")).tag(NODE, "a") == tag
    for change, code in ((lambda: elsewhere.chmod(0o644), "key-permissions"), (elsewhere.unlink, "key-missing")):
        change()
        with pytest.raises(IonError) as raised:
            SubjectTags.of(home)
        assert raised.value.code == code
    elsewhere.write_text("zz")
    elsewhere.chmod(0o600)
    with pytest.raises(IonError) as raised:
        SubjectTags.of(home)
    assert raised.value.code == "bad-key"


# The keyring --------------------------------------------------------------------------------------


def test_each_person_has_a_key_and_rows_of_nobody_share_one(keys: Keyring) -> None:
    a, b, again, nobody, too = keys.of_rows("epoch", ["a", "b", "a", "", ""])
    assert a is again
    assert nobody is too is keys.shared("epoch")
    assert len({a.key_id, b.key_id, nobody.key_id}) == 3
    assert (nobody.subject, a.subject) == ("", SubjectTags(bytes(32)).tag(NODE, "a"))
    assert keys.shared("next epoch") is not nobody


def test_a_forgotten_key_is_replaced_and_the_others_stay(keys: Keyring) -> None:
    a, b = keys.of_rows("epoch", ["a", "b"])
    keys.forget({a.key_id})
    fresh, same = keys.of_rows("epoch", ["a", "b"])
    assert same is b
    assert fresh.key_id != a.key_id
    assert fresh.secret != a.secret


def test_a_key_seals_for_a_day_at_most(keys: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(keyring.time, "monotonic", lambda: now[0])
    first = keys.shared("epoch")
    now[0] += keyring.LIFETIME_S - 1
    assert keys.shared("epoch") is first
    now[0] += 2
    assert keys.shared("epoch") is not first


def test_a_key_that_could_not_be_kept_seals_nothing(
    keys: Keyring, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space")))
        with pytest.raises(IonError) as raised:
            keys.shared("epoch")
    assert raised.value.code == "spool-unusable"
    used = keys.shared("epoch")
    tell(client)
    receiver = MemoryReceiver()
    ship_all(client.home.spool, receiver)
    assert used.key_id in receiver.keys


# Handing over -------------------------------------------------------------------------------------


def test_keys_reach_the_store_before_the_facts_that_name_them_and_leave_no_file(keys: Keyring, client: Client) -> None:
    class Watching(MemoryReceiver):
        def append(self, *given: object) -> object:
            assert len(self.keys) == 2
            return super().append(*given)  # type: ignore[arg-type]

    made = keys.of_rows("epoch", ["a", ""])
    folder = client.home.spool / client.agent
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o600
    tell(client)
    receiver = Watching()
    assert ship_all(client.home.spool, receiver) == 1
    assert receiver.keys == {key.key_id: key for key in made}
    assert [path.name for path in folder.iterdir() if "keys" in path.name] == []


def test_keys_wait_while_the_store_is_down_and_go_once(keys: Keyring, client: Client) -> None:
    keys.of_rows("epoch", ["a"])
    tell(client)
    receiver = MemoryReceiver(down=True)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            ship_all(client.home.spool, receiver)
    keys.of_rows("epoch", ["b"])
    receiver.down = False
    ship_all(client.home.spool, receiver)
    assert len(receiver.keys) == 2
    assert hand_over_keys(client.home.spool / client.agent, receiver) == 0


def test_a_line_cut_short_costs_no_other_key(client: Client) -> None:
    drop, folder = KeyDrop(client), client.home.spool / client.agent
    first, second = CaptureKey.generate(), CaptureKey.generate("tag")
    drop.put([first])
    with (folder / "keys").open("ab") as file:
        file.write(b'["torn", "00')
    drop.put([second])
    receiver = MemoryReceiver()
    assert hand_over_keys(folder, receiver) == 2
    assert receiver.keys == {first.key_id: first, second.key_id: second}


def test_a_keyring_starts_anew_when_its_spool_was_removed(keys: Keyring, client: Client) -> None:
    lost = keys.shared("epoch")
    shutil.rmtree(client.home.spool)
    with pytest.raises(IonError):
        keys.of_rows("epoch", ["a"])
    assert keys.shared("epoch") is not lost
    tell(client)
    receiver = MemoryReceiver()
    ship_all(client.home.spool, receiver)
    assert lost.key_id not in receiver.keys
    assert keys.shared("epoch").key_id in receiver.keys


def test_no_key_is_lost_between_a_writer_and_a_shipper(client: Client) -> None:
    drop, receiver = KeyDrop(client), MemoryReceiver()
    folder = client.home.spool / client.agent
    made = [CaptureKey.generate() for _ in range(300)]

    def put() -> None:
        for key in made:
            drop.put([key])

    writer = threading.Thread(target=put)
    writer.start()
    while writer.is_alive():
        hand_over_keys(folder, receiver)
    writer.join()
    hand_over_keys(folder, receiver)
    assert set(receiver.keys) == {key.key_id for key in made}


# What tells a running writer ----------------------------------------------------------------------


def test_news_of_erasures_come_once_each(tmp_path: Path) -> None:
    path = tmp_path / "serving" / "erased.json"
    erased = ErasedKeys(path)
    assert erased.news() == set()
    assert write_erased(path, {"k1"})
    assert erased.news() == {"k1"}
    assert erased.news() == set()
    assert write_erased(path, {"k1", "k2"})
    assert not write_erased(path, {"k1", "k2"})
    assert erased.news() == {"k1", "k2"}
    assert json.loads(path.read_bytes()) == ["k1", "k2"]
    path.write_text("{damaged")
    assert erased.news() == set()
