"""Write docs/reference/facts.md from ion/facts.py: ``python docs/reference/write_facts.py``."""  # noqa: INP001 - a script

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

from ion import facts
from ion.facts import GOVERNANCE_ONLY, KINDS, Fact

HEAD = """\
# Facts

<!-- Written by docs/reference/write_facts.py from ion/facts.py; do not edit. -->

Everything recorded is one of these. A fact says what happened, in the past tense, and never changes; everything that
is asked is folded from them. Times are integer microseconds UTC, digests `sha256:<hex>`. No field is for a path of a
host or a raw row of data; the `error` of a run quotes the exception that ended it, whatever that says.

**Found by**: the fields by whose values a fact is found again. *Governance only*: a program that ships such a fact is
refused, with an alert. The bytes are specified in [ledger.md](../spec/ledger.md).
"""


def section_of() -> dict[str, str]:
    """Return fact name → heading, from the comment lines that part ion/facts.py."""
    found: dict[str, str] = {}
    heading = ""
    for line in inspect.getsource(facts).splitlines():
        if match := re.match(r"# (.+?) -+$", line):
            heading = match[1]
        elif match := re.match(r"class (\w+)\(Fact\)", line):
            found[match[1]] = heading
    return found


def described(kind: type[Fact]) -> list[str]:
    """Return the lines about one kind of fact."""
    text = re.sub(r"\s*\n\s*", " ", inspect.getdoc(kind) or "").replace("``", "`")
    lines = [f"### {kind.__name__}", "", text]
    lines += ["", "*Governance only.*"] if kind in GOVERNANCE_ONLY else []
    lines += ["", "Found by: " + ", ".join(f"`{name}`" for name in kind.SUBJECTS) + "."]
    lines += ["", "| field | JSON type | when left out |", "|---|---|---|"]
    for item in dataclasses.fields(kind):
        default = "required"
        if item.default is not dataclasses.MISSING:
            default = f"`{item.default!r}`"
        elif item.default_factory is not dataclasses.MISSING:
            default = f"`{item.default_factory()!r}`"
        lines.append(f"| `{item.name}` | {json_type(str(item.type))} | {default} |")
    return lines


def json_type(hint: str) -> str:
    """Return an annotation as JSON words."""
    words = {
        "str": "text",
        "int": "integer",
        "float": "number",
        "bool": "true or false",
        "Object": "object",
        "Any": "any JSON value",
    }
    parts = []
    for part in hint.split(" | "):
        inner = re.fullmatch(r"Sequence\[(\w+)\]", part)
        parts.append(f"list of {words[inner[1]]}" if inner else "null" if part == "None" else words[part])
    return " or ".join(parts)


def facts_page() -> str:
    """Return the whole page."""
    sections = section_of()
    lines = [HEAD.rstrip("\n")]
    before = ""
    for name, kind in KINDS.items():
        if sections[name] != before:
            before = sections[name]
            lines += ["", f"## {before}"]
        lines += ["", *described(kind)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("facts.md").write_text(facts_page(), "utf-8")
