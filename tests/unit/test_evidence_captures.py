from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.errors import IonError
from ion.serving import CaptureKey, block_key_id, open_block, open_row, seal

if TYPE_CHECKING:
    from pathlib import Path

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


@given(st.lists(st.binary(max_size=50), max_size=200), st.binary(max_size=20))
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
    assert block_key_id(block) == "key-1"
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


def test_a_key_file_is_private_never_replaced_and_reads_back(tmp_path: Path) -> None:
    key, path = CaptureKey.generate(), tmp_path / "keys" / "capture.json"
    key.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert CaptureKey.read(path) == key
    assert key.secret.hex() not in repr(key)
    with pytest.raises(IonError) as error:
        CaptureKey.generate().write(path)
    assert error.value.code == "key-exists"
    path.chmod(0o640)
    with pytest.raises(IonError) as error:
        CaptureKey.read(path)
    assert error.value.code == "key-permissions"
    with pytest.raises(IonError) as error:
        CaptureKey.read(tmp_path / "absent")
    assert error.value.code == "key-missing"


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format":"ion-capture-key/1","key_id":"a","secret":"00"}'])
def test_other_bytes_are_no_key(data: bytes) -> None:
    with pytest.raises(IonError) as error:
        CaptureKey.from_bytes(data)
    assert error.value.code in {"bad-key", "bad-json"}
