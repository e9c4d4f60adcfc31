"""Blocks that were sealed in the past are opened for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ion.evidence.captures import CaptureKey, row_key
from ion.serving import open_block, open_row

FOLDER = Path(__file__).parent / "captures-v2"


@pytest.mark.parametrize("name", ["shared", "people", "columns"])
def test_a_block_of_format_2_opens_with_its_keys(name: str) -> None:
    told = json.loads((FOLDER / "content.json").read_text())
    keys = {key_id: CaptureKey(key_id, bytes.fromhex(secret)) for key_id, secret in told["keys"].items()}
    block, aad = (FOLDER / f"{name}.block").read_bytes(), told["aad"].encode()
    assert [row.decode() for row in open_block(block, keys.values(), aad)] == told["rows"]
    for index in (0, 63, 64, 150, 299):
        assert open_row(block, keys[row_key(block, index)], index, aad).decode() == told["rows"][index]
