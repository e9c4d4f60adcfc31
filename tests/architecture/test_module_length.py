"""A module does one thing. Over 300 lines is a sign to look: who looked and kept it says why, here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIGN_TO_LOOK = 300
CODE = ("ion", "gov_assets", "sensors", "policies", "resources", "bench")

# path -> why it is one thing all the same
LOOKED_AT: dict[str, str] = {
    "ion/facts.py": "the closed set of facts: one vocabulary, one dataclass after the other",
    "ion/testing.py": "one shipped module, so that a test imports its fakes from one place",
    "ion/decision/promotion.py": "what a node serves changes in one transaction each, and the pointer follows",
}


def lengths(checkout: Path, files: list[Path]) -> dict[str, int]:
    modules = [path for path in files if path.suffix == ".py" and path.relative_to(checkout).parts[0] in CODE]
    return {str(path.relative_to(checkout)): len(path.read_text().splitlines()) for path in modules}


def test_long_modules_have_been_looked_at(checkout: Path, project_files: list[Path]) -> None:
    counted = lengths(checkout, project_files)
    assert counted, "no module was found"
    for name, lines in sorted(counted.items(), key=lambda each: -each[1])[:10]:
        print(f"{lines:5} {name}")  # noqa: T201  the listing is for whoever looks
    long = {name for name, lines in counted.items() if lines > SIGN_TO_LOOK}
    assert long - LOOKED_AT.keys() == set(), "split these, or say in LOOKED_AT why not"
    assert LOOKED_AT.keys() - long == set(), "no longer long: take these out of LOOKED_AT"
