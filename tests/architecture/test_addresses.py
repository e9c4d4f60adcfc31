"""No file of the project says where packages come from: that is the machine's own configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# Hosts of package indexes, their layout (`/simple`), and options or variables that are given an address.
ADDRESS = re.compile(
    r"""(?:files\.)?python[h]osted\.org
      | \b(?:test\.)?py[p]i\.(?:org|python)
      | \b(?:https?|file)://[^\s"'<>)]*/simple\b
      | \b(?:proxy|sum)\.go[l]ang\.org
      | registry\.np[m]js
      | (?:index[-_]url|find[-_]links|(?:PIP|UV)_\w*INDEX\w*|trusted[-_]host)["']?\s*[= ]\s*["']?(?:https?://|file:|/)""",
    re.IGNORECASE | re.VERBOSE,
)


def addresses(text: str) -> list[str]:
    return [line.strip()[:120] for line in text.splitlines() if ADDRESS.search(line)]


def test_no_file_names_a_package_index(project_files: list[Path]) -> None:
    found = {
        str(path): lines
        for path in project_files
        if path != Path(__file__).resolve() and (lines := addresses(path.read_text(errors="replace")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "https://py" + "pi.org/project/x",
        "url = https://mirror.example/root/simple/",
        "--extra-index-url https://example.org/x",
        "UV_DEFAULT_INDEX=https://example.org/x",
        "find-links = /somewhere/wheels",
    ],
)
def test_an_address_is_seen(line: str) -> None:
    assert addresses(line)


def test_prose_and_option_names_are_not_addresses() -> None:
    assert not addresses('if "index-url" in pip: found["UV_DEFAULT_INDEX"] = pip["index-url"]')
    assert not addresses("see https://example.org/a/simpler/way")
