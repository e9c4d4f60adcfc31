"""The locks hold names, versions and hashes, all of them, and nothing else; and pyproject.toml agrees with them."""

from __future__ import annotations

import re
import runpy
import tomllib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

LOCKS = ("core", "flink", "main", "mutants", "tensorflow", "test", "uv")
LINE = re.compile(
    r"""(?: [a-z0-9][a-z0-9._-]*(?:\[[a-z0-9,-]+\])? == [\w.+!]+ (?:\ ;\ [^\\]+?)? \ \\   # a pinned requirement
      | \ {4}--hash=sha256:[0-9a-f]{64} (?:\ \\)?                                # one of its hashes
      | \ {4}\#\ .* )""",
    re.VERBOSE,
)


def names(text: str) -> set[str]:
    """Return the bare distribution names of requirement lines."""
    return {found[0] for line in text.splitlines() if (found := re.match(r"[A-Za-z0-9][\w.-]*", line))}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_and_hashes_only(checkout: Path, lock: str) -> None:
    text = (checkout / "requirements" / f"{lock}.txt").read_text()
    assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert [block.partition(" ")[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_its_source_names(checkout: Path, lock: str) -> None:
    source, locked = (names((checkout / "requirements" / f"{lock}.{end}").read_text()) for end in ("in", "txt"))
    assert source <= locked


def test_each_environment_has_the_dependencies_of_ion(checkout: Path) -> None:
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    core = names("\n".join(project["dependencies"]))
    optional = dict(project["optional-dependencies"])
    tensorflow = names("\n".join(optional.pop("tensorflow")))  # has an environment of its own
    extras = names("\n".join(line for extra in optional.values() for line in extra))
    locked = {lock: names((checkout / "requirements" / f"{lock}.txt").read_text()) for lock in LOCKS}
    assert core <= locked["core"]
    assert core <= locked["flink"]
    assert core | tensorflow <= locked["tensorflow"]
    assert core | (extras - {"dagster-ion"}) <= locked["main"]
    assert not {"dagster", "sqlalchemy", "pandas"} & locked["core"]


def test_one_package_has_one_version_in_one_environment(checkout: Path) -> None:
    pins: dict[str, set[str]] = {}
    for lock in ("main", "test"):
        for line in (checkout / "requirements" / f"{lock}.txt").read_text().splitlines():
            if found := re.match(r"([a-z0-9._-]+)(?:\[.*?\])?==(\S+)", line):
                pins.setdefault(found[1], set()).add(found[2])
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}


def test_uv_takes_the_index_that_pip_has(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    translate = runpy.run_path(str(checkout / "requirements" / "run_uv.py"))["uv_environment"]
    pip = {"index-url": "scheme://main", "extra-index-url": "scheme://a\nscheme://b"}
    assert translate(pip, locking=True) == {"UV_DEFAULT_INDEX": "scheme://main"}
    assert translate(pip, locking=False)["UV_INDEX"] == "scheme://a scheme://b"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "scheme://chosen")
    assert translate(pip, locking=True) == {}
