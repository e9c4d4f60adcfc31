"""Blocks that were sealed in the past are opened for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ion.evidence.captures import CaptureKey, row_key
from ion.serving import open_block, open_row

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", ["v2/shared", "v2/people", "v2/columns", "v3/packed"])
def test_a_block_opens_with_its_keys(name: str) -> None:
    path = FOLDER / f"captures-{name}.block"
    told = json.loads((path.parent / "content.json").read_text())
    keys = {key_id: CaptureKey(key_id, bytes.fromhex(secret)) for key_id, secret in told["keys"].items()}
    block, aad = path.read_bytes(), told["aad"].encode()
    assert [row.decode() for row in open_block(block, keys.values(), aad)] == told["rows"]
    for index in (0, 63, 64, 150, 299):
        assert open_row(block, keys[row_key(block, index)], index, aad).decode() == told["rows"][index]
