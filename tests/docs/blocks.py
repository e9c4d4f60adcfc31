"""Code blocks of the documentation, with what a comment before them says of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; ``mark`` is e.g. ``("file", "policies/size.py")``, empty without a comment."""

    page: str
    line: int
    language: str
    mark: tuple[str, str]
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text = page.read_text("utf-8")
    found = []
    for match in re.finditer(r"(?:^<!-- (\w+): (.+?) -->\n+)?^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text[: match.start(4)].count("\n") + 1
        mark = (match[1] or "", match[2] or "")
        found.append(Block(str(page.relative_to(CHECKOUT)), line, match[3], mark, match[4]))
    return found


PAGES = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def marked(page: str, kind: str, name: str) -> str:
    """Return the code of the one block of a page with this mark."""
    (found,) = [block.code for block in BLOCKS if block.page == page and block.mark == (kind, name)]
    return found
