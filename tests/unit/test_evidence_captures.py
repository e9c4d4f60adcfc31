from __future__ import annotations

import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.errors import IonError
from ion.evidence.captures import MAGIC, MAX_ROWS, PACKED_MAGIC, read_directory, row_key
from ion.serving import CaptureKey, open_block, open_row, seal
from ion.serving.capture import seal_columns

KEY = CaptureKey("key-1", bytes(range(32)))
ROWS = [f"{number},{number * 1.5},malignant" for number in range(1024)]


def failure(block: bytes, key: CaptureKey = KEY, aad: bytes = b"epoch:0") -> str:
    codes = set()
    for read in (lambda: open_block(block, key, aad), lambda: open_row(block, key, 0, aad)):
        with pytest.raises(IonError) as error:
            read()
        codes.add(error.value.code)
    assert len(codes) == 1
    return codes.pop()


LINE = st.binary(max_size=50).filter(lambda row: b"\n" not in row)


@given(st.lists(LINE, max_size=200), st.binary(max_size=20))
@settings(deadline=None)
def test_rows_come_back_in_order(rows: list[bytes], aad: bytes) -> None:
    block = seal(rows, KEY, aad)
    assert open_block(block, KEY, aad) == rows
    assert [open_row(block, KEY, index, aad) for index in range(len(rows))] == rows


def test_text_is_stored_as_utf_8() -> None:
    assert open_block(seal(["é"], KEY, b""), KEY, b"") == ["é".encode()]


def test_nothing_of_the_rows_is_readable_in_the_block() -> None:
    secret = b"patient-4711-" * 20
    block = seal([secret] * 10, KEY, b"")
    assert b"patient" not in block
    assert seal([secret] * 10, KEY, b"") != block  # a fresh nonce each time


@pytest.mark.parametrize("index", [-1, 1024, 5000])
def test_a_row_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(IonError) as error:
        open_row(seal(ROWS, KEY, b""), KEY, index, b"")
    assert error.value.code == "no-such-row"


def test_every_single_bit_flip_is_refused() -> None:
    block = seal(["1,2,3", "4,5,6"], KEY, b"epoch:0")
    assert row_key(block, 0) == "key-1"
    for position in range(len(block)):
        for bit in range(8):
            flipped = bytearray(block)
            flipped[position] ^= 1 << bit
            assert failure(bytes(flipped)) == "bad-capture"


def test_every_shortened_block_is_refused() -> None:
    block = seal(["1,2,3"], KEY, b"epoch:0")
    for length in range(len(block)):
        assert failure(block[:length]) == "bad-capture"


def test_another_key_or_place_is_refused() -> None:
    block = seal(ROWS, KEY, b"epoch:0")
    assert failure(block, CaptureKey("key-2", KEY.secret)) == "bad-capture"
    assert failure(block, CaptureKey("key-1", bytes(32))) == "bad-capture"
    assert failure(block, aad=b"epoch:1024") == "bad-capture"


def test_one_row_of_1024_is_quick() -> None:
    block = seal([",".join(str(value / 7) for value in range(30)) for _ in range(1024)], KEY, b"")
    taken = []
    for index in range(0, 1000, 40):
        start = time.perf_counter()
        open_row(block, KEY, index, b"")
        taken.append(time.perf_counter() - start)
    assert sorted(taken)[len(taken) // 2] < 0.005


OTHER = CaptureKey("key-2", bytes(range(32, 64)), "tag")


@given(st.lists(st.tuples(LINE, st.integers(0, 5)), max_size=150))
@settings(deadline=None)
def test_rows_under_several_keys_come_back_in_order(rows: list[tuple[bytes, int]]) -> None:
    keys = [CaptureKey.generate() for _ in range(6)]
    block = seal([row for row, _ in rows], [keys[key] for _, key in rows], b"place")
    assert open_block(block, keys, b"place") == [row for row, _ in rows]
    for index, (row, key) in enumerate(rows):
        assert row_key(block, index) == keys[key].key_id
        assert open_row(block, keys[key], index, b"place") == row


def test_without_its_key_a_row_is_closed_and_the_others_open() -> None:
    block = seal(["a", "b", "c"], [KEY, OTHER, KEY], b"")
    assert [open_row(block, KEY, index, b"") for index in (0, 2)] == [b"a", b"c"]
    with pytest.raises(IonError) as error:
        open_row(block, KEY, 1, b"")
    assert error.value.code == "bad-capture"
    with pytest.raises(IonError):
        open_block(block, [KEY], b"")


def test_every_bit_flip_of_a_block_with_several_keys_closes_a_row() -> None:
    rows = [b"1,2,3", b"4,5,6", b"7,8,9"]
    keys = [KEY, OTHER, KEY]
    block = seal(rows, keys, b"epoch:0")
    for position in range(len(block)):
        for bit in range(8):
            flipped = bytearray(block)
            flipped[position] ^= 1 << bit
            with pytest.raises(IonError):
                open_block(bytes(flipped), [KEY, OTHER], b"epoch:0")


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_a_directory_fail_otherwise(data: bytes) -> None:
    for block in (data, MAGIC + data, MAGIC + b"\x10\0\0\0" + data):
        with suppress(IonError):
            read_directory(block)


def test_a_key_shows_no_secret_and_its_id_says_nothing_of_the_person() -> None:
    first, second = CaptureKey.generate("tag"), CaptureKey.generate("tag")
    assert first.key_id != second.key_id
    assert first.secret.hex() not in repr(first)
    with pytest.raises(IonError) as error:
        CaptureKey("k", b"short")
    assert error.value.code == "bad-key"


def test_too_many_rows_for_one_block_are_refused() -> None:
    with pytest.raises(IonError) as error:
        seal([b""] * (MAX_ROWS + 1), KEY, b"")
    assert error.value.code == "bad-capture"


@pytest.mark.parametrize("rows", [["a\nb"], ["a\nb", "c"], ["a", "\n", "c"]])
def test_a_row_with_a_line_end_is_refused(rows: list[str]) -> None:
    with pytest.raises(IonError) as error:
        seal(rows, KEY, b"")
    assert error.value.code == "bad-capture"
    with pytest.raises(IonError):
        seal_columns(b"1\n2\n3", np.zeros(2), KEY, b"")


@given(st.lists(st.tuples(st.text("0123456789.,-+e", max_size=20), st.floats(allow_nan=False)), min_size=1))
def test_columns_of_numbers_come_back_as_rows_with_the_same_text_and_the_same_doubles(
    rows: list[tuple[str, float]],
) -> None:
    inputs, scores = "\n".join(text for text, _ in rows).encode(), np.array([score for _, score in rows])
    block = seal_columns(inputs, scores, KEY, b"place")
    assert block.startswith(PACKED_MAGIC)
    assert open_block(block, KEY, b"place") == [f"{text};{score!r}".encode() for text, score in rows]
    assert open_row(block, KEY, len(rows) - 1, b"place") == f"{rows[-1][0]};{rows[-1][1]!r}".encode()
    assert row_key(block, 0) == KEY.key_id
    with pytest.raises(IonError):
        open_block(block, KEY, b"elsewhere")


@pytest.mark.parametrize("text", ["1E5,2", " 1,2", "1,nan", "é", "1,2\r"])
def test_columns_with_other_characters_than_those_of_numbers_are_sealed_as_text(text: str) -> None:
    block = seal_columns(f"{text}\n1,2".encode(), np.array([0.25, 0.5]), KEY, b"")
    assert block.startswith(MAGIC)
    assert open_block(block, KEY, b"") == [f"{text};0.25".encode(), b"1,2;0.5"]


def test_every_bit_flip_of_a_packed_block_closes_it() -> None:
    block = seal_columns(b"1,2\n3,4\n5", np.array([0.25, 0.5, 1.0]), KEY, b"epoch:0")
    for position in range(len(block)):
        for bit in range(8):
            flipped = bytearray(block)
            flipped[position] ^= 1 << bit
            with pytest.raises(IonError):
                open_block(bytes(flipped), KEY, b"epoch:0")
