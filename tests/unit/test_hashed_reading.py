"""Files read once, into memory and into their digest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.evidence.hashed_reading import LARGE, read_hashed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, LARGE + 4_194_305])
def test_what_is_returned_is_what_was_hashed(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    content, digest = read_hashed(tmp_path, tmp_path / "file", size)
    assert content == data
    assert digest == digest_bytes(data)


@pytest.mark.parametrize("size", [2, LARGE + 1])
def test_a_file_over_the_limit_is_not_read(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    with pytest.raises(IonError) as caught:
        read_hashed(tmp_path, tmp_path / "file", size - 1)
    assert caught.value.code == "file-too-large"


def test_a_large_file_cannot_be_changed_after_it_was_hashed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(LARGE))
    content, digest = read_hashed(tmp_path, tmp_path / "file", LARGE)
    assert isinstance(content, memoryview)
    with pytest.raises(TypeError):
        content[0] = 1
    (tmp_path / "file").write_bytes(b"x" * LARGE)
    assert digest_bytes(bytes(content)) == digest
