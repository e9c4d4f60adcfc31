"""A bundle is verified by the core alone: no store, no Dagster, no libraries of the extra ``evidence``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ion.errors import IonError
from ion.evidence import load_public
from ion.interop.bundle import Verification, layout, verify_bundle
from ion.interop.bundle.verifying import STEPS

FROZEN = Path(__file__).parents[1] / "compat" / "bundle-v1"
SECOND_US = 1_000_000


def verified(folder: Path, **options: object) -> Verification:
    root = load_public(FROZEN / "people.root.pub.pem")
    return verify_bundle(folder, **{"root": root, "standards": False, **options})  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FROZEN / "people", tmp_path / "bundle")


@pytest.fixture
def now() -> int:
    return verified(FROZEN / "people").decided + SECOND_US


def test_a_bundle_holds_and_tells_what_it_is_about(now: int) -> None:
    checked = verified(FROZEN / "people", now=now)
    assert checked.ok, checked.as_dict()
    told = checked.as_dict()
    assert [step["step"] for step in told["steps"]] == list(STEPS)  # type: ignore[attr-defined]
    assert (told["node"], told["model"]) == ("patient_tests/predictions", checked.model)
    assert (told["ok"], told["valid_then"], told["valid_now"], told["warnings"]) == (True, True, True, [])


@pytest.mark.parametrize("file", [*layout.REQUIRED, layout.CHECKS, "model/model.json"])
def test_a_file_changed_or_missing_is_named(folder: Path, now: int, file: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data)
    for _ in range(2):
        checked = verified(folder, now=now)
        assert not checked.valid_then
        assert file in {problem.file for step in checked.steps for problem in step.problems}
        (folder / file).unlink(missing_ok=True)


def test_what_could_not_be_checked_is_not_said_to_hold(folder: Path, now: int) -> None:
    (folder / layout.TRUST).unlink()
    checked = verified(folder, now=now)
    states = {step["step"]: step["state"] for step in checked.as_dict()["steps"]}  # type: ignore[attr-defined]
    assert states.pop("files") == states.pop("trust") == "problem"
    assert set(states.values()) == {"unchecked"}
    assert (checked.valid_then, checked.ok) == (False, False)


def test_where_there_is_no_bundle_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(IonError) as caught:
            verified(tmp_path / name)
        assert caught.value.code == "no-bundle"
    (tmp_path / "empty").mkdir()
    checked = verified(tmp_path / "empty")
    assert {problem.file for problem in checked.steps[0].problems} == set(layout.REQUIRED)


def test_paths_of_a_bundle_are_told_from_others() -> None:
    digest = "sha256:" + "a" * 64
    assert layout.approval_digest(layout.approval_path(digest)) == digest
    assert layout.record_position(layout.record_path(42)) == 42
    for path in ("approvals/a.dsse.json", "approvals/" + "A" * 64 + ".dsse.json", "approvals/x/" + "a" * 64):
        assert layout.approval_digest(path) == ""
        assert layout.limit_of(path) is None
    for path in (
        "ledger/0.json",
        "ledger/042.json",
        "ledger/4 2.json",
        "ledger/-1.json",
        "ledger/42.json.bak",
        "ledger",
    ):
        assert layout.record_position(path) is None
        assert layout.limit_of(path) is None
    assert layout.limit_of("model/any/thing") == 0
    assert layout.limit_of(layout.ROOT) == 16_384
    assert layout.limit_of(layout.proof_path(1)) is not None
