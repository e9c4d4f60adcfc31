"""What was done to a chain is told from the chain alone, wherever that is possible."""

from __future__ import annotations

import random

import pytest

from ion.facts import ParamRecorded
from ion.ledger import GENESIS, Entry, Problem, link, verify_chain
from ion.testing import written

SIZE = 30


def chained(raws: list[bytes]) -> list[Entry]:
    """Entries as the store appends them."""
    entries: list[Entry] = []
    previous = GENESIS
    for position, raw in enumerate(raws, 1):
        previous = link(previous, raw)
        entries.append((position, raw, previous))
    return entries


def renumbered(entries: list[Entry]) -> list[Entry]:
    return [(position, raw, recorded) for position, (_, raw, recorded) in enumerate(entries, 1)]


@pytest.fixture
def ledger() -> list[Entry]:
    return chained([written(ParamRecorded(run="r", name="n", value=seq), seq).raw for seq in range(SIZE)])


def found(entries: list[Entry], ledger: list[Entry], *, head_follows: bool = False) -> tuple[str, int]:
    """The kind and position told, with the head as it was, or moved to the last entry."""
    head = entries[-1] if head_follows and entries else ledger[-1]
    (problem,) = verify_chain(entries, head[0], head[2])
    return problem.kind, problem.position


everywhere = pytest.mark.parametrize("at", [1, 2, 3, SIZE // 2, SIZE - 2, SIZE - 1, SIZE])


def test_a_good_ledger_has_no_problem(ledger: list[Entry]) -> None:
    assert verify_chain(ledger, SIZE, ledger[-1][2]) == []
    assert verify_chain([], 0, GENESIS) == []


@everywhere
def test_an_edited_record(ledger: list[Entry], at: int) -> None:
    position, raw, recorded = ledger[at - 1]
    ledger[at - 1] = (position, raw.replace(b'"run":"r"', b'"run":"q"'), recorded)
    assert found(ledger, ledger) == ("edited", at)


@everywhere
def test_an_edited_link(ledger: list[Entry], at: int) -> None:
    position, raw, recorded = ledger[at - 1]
    entries = [*ledger]
    entries[at - 1] = (position, raw, recorded[:-1] + bytes([recorded[-1] ^ 1]))
    (problem,) = verify_chain(entries, SIZE, ledger[-1][2])
    assert (problem.kind, problem.position) == ("edited", at)
    assert "the record is as it was" in problem.message


@everywhere
@pytest.mark.parametrize("count", [1, 3])
def test_deleted_records_leave_a_hole(ledger: list[Entry], at: int, count: int) -> None:
    entries = ledger[: at - 1] + ledger[at - 1 + count :]
    assert found(entries, ledger) == ("truncated" if at + count > SIZE else "deleted", at)


@everywhere
def test_positions_that_jump_are_a_hole_whatever_the_links_say(ledger: list[Entry], at: int) -> None:
    """Rows numbered anew behind a place where nothing is missing: a store never leaves out a number."""
    entries = [(position + (position >= at), raw, recorded) for position, raw, recorded in ledger]
    assert found(entries, ledger) == ("deleted", at)


@everywhere
@pytest.mark.parametrize("count", [1, 3])
def test_deleted_records_whose_hole_was_closed(ledger: list[Entry], at: int, count: int) -> None:
    entries = renumbered(ledger[: at - 1] + ledger[at - 1 + count :])
    assert found(entries, ledger) == ("truncated" if at + count > SIZE else "deleted", at)


def foreign(number: int = 0) -> bytes:
    return written(ParamRecorded(run="r", name="n", value="mine"), number, agent="intruder").raw


@everywhere
@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_inserted_records(ledger: list[Entry], at: int, linked: bool, count: int) -> None:  # noqa: FBT001 - a case
    entries = ledger[: at - 1]
    for number in range(count):
        previous = entries[-1][2] if entries else GENESIS
        entries.append((0, foreign(number), link(previous, foreign(number)) if linked else bytes([number]) * 32))
    entries = renumbered(entries + ledger[at - 1 :])
    assert found(entries, ledger) == ("inserted", at)
    assert found(entries, ledger, head_follows=True) == ("inserted", at)


@pytest.mark.parametrize("linked", [True, False])
def test_a_record_behind_the_head(ledger: list[Entry], linked: bool) -> None:  # noqa: FBT001 - a case
    made = link(ledger[-1][2], foreign()) if linked else bytes(32)
    kind, position = found([*ledger, (SIZE + 1, foreign(), made)], ledger)
    assert (kind, position) == ("inserted" if linked else "edited", SIZE + 1)


@everywhere
@pytest.mark.parametrize("source", [1, 7, SIZE])
@pytest.mark.parametrize("linked", [True, False])
def test_duplicated_records(ledger: list[Entry], at: int, source: int, linked: bool) -> None:  # noqa: FBT001 - a case
    _, raw, recorded = ledger[source - 1]
    previous = ledger[at - 2][2] if at > 1 else GENESIS
    entries = renumbered([*ledger[: at - 1], (0, raw, link(previous, raw) if linked else recorded), *ledger[at - 1 :]])
    kind, position = found(entries, ledger)
    assert kind == "duplicated"
    # Of a record and its copy side by side nobody can say which came first.
    assert position in ({at, at + 1} if source in {at - 1, at} else {at})


@everywhere
def test_a_record_overwritten_by_a_copy_of_another(ledger: list[Entry], at: int) -> None:
    source = ledger[9]
    position, _, recorded = ledger[at - 1]
    entries = [*ledger]
    entries[at - 1] = (position, source[1], recorded)
    assert found(entries, ledger) == ("duplicated", at)


@pytest.mark.parametrize(("one", "other"), [(1, 2), (1, SIZE), (5, 6), (5, 17), (SIZE - 1, SIZE)])
@pytest.mark.parametrize("with_links", [True, False])
def test_swapped_records(ledger: list[Entry], one: int, other: int, with_links: bool) -> None:  # noqa: FBT001 - a case
    a, b = ledger[one - 1], ledger[other - 1]
    entries = [*ledger]
    entries[one - 1] = (one, b[1], b[2] if with_links else a[2])
    entries[other - 1] = (other, a[1], a[2] if with_links else b[2])
    assert found(entries, ledger) == ("swapped", one)


@pytest.mark.parametrize(("source", "target"), [(3, 20), (20, 3), (1, SIZE), (SIZE, 1), (4, 5), (5, 4)])
def test_a_record_moved_elsewhere(ledger: list[Entry], source: int, target: int) -> None:
    entries = [*ledger]
    entries.insert(target - 1, entries.pop(source - 1))
    assert found(renumbered(entries), ledger) == ("swapped", min(source, target))


@pytest.mark.parametrize("kept", [0, 1, SIZE // 2, SIZE - 1])
def test_a_tail_cut_off(ledger: list[Entry], kept: int) -> None:
    assert found(ledger[:kept], ledger) == ("truncated", kept + 1)


def test_an_altered_head(ledger: list[Entry]) -> None:
    (problem,) = verify_chain(ledger, SIZE, bytes(32))
    assert (problem.kind, problem.position) == ("head-differs", SIZE)


def test_the_first_of_several_changes_is_the_one_told(ledger: list[Entry]) -> None:
    for at in (12, 20):
        position, raw, recorded = ledger[at - 1]
        ledger[at - 1] = (position, raw + b" ", recorded)
    assert found(ledger, ledger) == ("edited", 12)


def test_what_was_done_is_said_in_words(ledger: list[Entry]) -> None:
    def said(entries: list[Entry], position: int = SIZE, head: bytes = ledger[-1][2]) -> str:
        (problem,) = verify_chain(entries, position, head)
        return problem.message

    edited = ledger[6][1].replace(b'"r"', b'"q"')
    changed = [*ledger[:6], (7, edited, ledger[6][2]), *ledger[7:]]
    torn = [*ledger[:6], (7, b"{", ledger[6][2]), *ledger[7:]]
    assert said(changed) == "record 7 or its link was changed (ParamRecorded by agent-1)"
    assert said(torn) == "record 7 or its link was changed (no longer readable)"
    assert said([*ledger[:6], *ledger[7:]]) == "missing from position 7 on: 1 record; 8 follows"
    assert said([*ledger[:6], *ledger[9:]]) == "missing from position 7 on: 3 records; 10 follows"
    assert said(renumbered([*ledger[:6], *ledger[8:]])) == "missing from position 7 on: 2 records"
    surplus = [(0, foreign(number), bytes(32)) for number in range(2)]
    told = "not appended there: 2 records at 7 (ParamRecorded by intruder)"
    assert said(renumbered([*ledger[:6], *surplus, *ledger[6:]])) == told
    copies = renumbered([*ledger[:16], *ledger[3:6], *ledger[16:]])
    assert said(copies) == "copies of record 4 on: 3 records at 17"
    overwritten = [*ledger[:6], (7, ledger[2][1], ledger[6][2]), *ledger[7:]]
    assert said(overwritten) == "at 7 stands a copy of record 3"
    moved = [*ledger]
    moved.insert(6, moved.pop(20))
    assert said(renumbered(moved)) == "the record at 7 belongs behind position 21"
    moved = [*ledger]
    moved[6], moved[20] = moved[20], moved[6]
    assert said(renumbered(moved)) == "the record that belongs at 7 stands at 21"
    assert said(ledger[:9]) == "the chain ends at 9, the recorded head is 30"
    assert said(ledger, 28) == "there are records up to 30 behind the recorded head 28"
    assert said(ledger, SIZE, bytes(32)) == "the recorded head has another link than the last record"


def test_no_change_goes_unnoticed_whatever_was_done(ledger: list[Entry]) -> None:
    """Entries shuffled, dropped, repeated and edited at random: what is told may be coarse, silence would be wrong."""
    generator = random.Random(3)  # noqa: S311 - a test's own dice
    for _ in range(300):
        entries = [*ledger]
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(entries))
            act = generator.randrange(4)
            if act == 0:
                entries.pop(at)
            elif act == 1:
                entries.insert(generator.randrange(len(entries)), entries[at])
            elif act == 2:
                entries.insert(generator.randrange(len(entries)), entries.pop(at))
            else:
                entries[at] = (at, entries[at][1] + b" ", entries[at][2])
        entries = renumbered(entries)
        problems: list[Problem] = verify_chain(entries, SIZE, ledger[-1][2])
        assert bool(problems) == (entries != ledger)
