"""Bundles exported by the first version verify for ever, at the time they were made. Nothing in the folder changes."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from ion.canonical import digest_bytes, digest_json
from ion.evidence import load_public
from ion.interop.bundle import layout, verify_bundle

FOLDER = Path(__file__).parent / "bundle-v1"
DIGEST = "sha256:d7c60624fb228e2a8abe4c829e237eefbb9ffff2ad278f7b00768f421d32aad8"
"""Of the files in the folder, by name: whoever changes one changes this, too, and has to say why."""
SECOND_US = 1_000_000


def test_the_frozen_files_are_as_they_were() -> None:
    files = {
        str(path.relative_to(FOLDER)): digest_bytes(path.read_bytes()) for path in FOLDER.rglob("*") if path.is_file()
    }
    assert digest_json(files) == DIGEST


@pytest.mark.parametrize(("name", "approved"), [("people", "2 by people"), ("policies", "by policies alone")])
def test_a_bundle_of_the_first_version_holds_at_its_time(name: str, approved: str) -> None:
    root = load_public(FOLDER / f"{name}.root.pub.pem")
    decided = verify_bundle(FOLDER / name, root=root, standards=False).decided
    checked = verify_bundle(FOLDER / name, root=root, now=decided + SECOND_US)
    assert checked.ok, checked.as_dict()
    told = {step.name: step.told for step in checked.steps}
    assert told["approvals"] == approved
    assert told["promotion"] == "promote"


def test_what_held_then_holds_no_longer_after_its_end() -> None:
    checked = verify_bundle(FOLDER / "people", root=load_public(FOLDER / "people.root.pub.pem"), standards=False)
    later = verify_bundle(FOLDER / "people", standards=False, now=checked.expires)
    assert (later.valid_then, later.ok) == (True, False)


def test_the_other_bundles_root_is_not_this_ones() -> None:
    checked = verify_bundle(FOLDER / "people", root=load_public(FOLDER / "policies.root.pub.pem"), standards=False)
    assert not checked.valid_then


def test_model_signing_verifies_the_frozen_model(tmp_path: Path) -> None:
    trust = json.loads((FOLDER / "people" / layout.TRUST).read_bytes())
    (tmp_path / "model.pub.pem").write_text(json.loads(b64decode(trust["payload"]))["models"][0])
    options = (
        "--signature",
        str(FOLDER / "people" / layout.SIGNATURE),
        "--public_key",
        str(tmp_path / "model.pub.pem"),
    )
    command = (sys.executable, "-m", "model_signing", "verify", "key", str(FOLDER / "people" / layout.MODEL), *options)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
