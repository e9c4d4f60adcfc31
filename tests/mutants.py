"""Print which share of the planted bugs was noticed; exit with 1 below nine in ten. Run by `make mutants`.

A bug that changes nothing but the wording of a message is told apart, and counts all the same: the share of the others
says how much of what programs rely on (codes, steps, values) is looked at.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path

LEAST = 0.90
NOTICED = {1: "killed", 3: "killed", -24: "timeout", 24: "timeout", 36: "timeout", 152: "timeout", -11: "segfault"}
"""Exit codes of the tests that mutmut keeps, by what they mean; 0 is a survivor, None was not run."""
_ERRORS = {
    "DeniedError": 0, "Halted": 3, "IonError": 1, "Problem": 2, "Refused": 1, "Unverified": 0, "_halted": 1, "fail": 0,
    "halted": 1,
}  # fmt: skip
"""Calls that carry a message, and their first argument that is one."""
_TEXTS = {"hint", "message", "told", "why", "reason", "problem"}


class _Worded(ast.NodeTransformer):
    """Takes the wording out of a function: what stands in messages and in the variables they are put together in."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _ERRORS:
            node.args, node.keywords = node.args[: _ERRORS[name]], []
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        self.generic_visit(node)
        texts = (ast.Constant, ast.JoinedStr, ast.Subscript)
        if all(isinstance(each, ast.Name) and each.id in _TEXTS for each in node.targets) and isinstance(
            node.value, texts
        ):
            node.value = ast.Constant("")
        return node


@cache
def _functions(file: Path) -> dict[str, str]:
    """Return the functions of a file with planted bugs, by name, without their wording and their names."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name:
            name, node.name = node.name, ""
            found[name] = ast.dump(_Worded().visit(node))
    return found


def wording_only(file: Path, mutant: str) -> bool:
    """Tell whether a planted bug changes nothing but what a message says."""
    functions = _functions(file)
    name = mutant.rpartition(".")[2]
    original = re.sub(r"__mutmut_\d+$", "__mutmut_orig", name)
    return name in functions and functions[name] == functions.get(original)


def main(folder: str) -> int:
    """Count the results in the folder that mutmut works in."""
    counts: Counter[str] = Counter()
    by_module: dict[str, Counter[str]] = {}
    for meta in sorted(Path(folder).rglob("*.meta")):
        file = meta.with_suffix("")
        for mutant, code in json.loads(meta.read_text("utf-8"))["exit_code_by_key"].items():
            kind = "not run" if code is None else NOTICED.get(code, "survived")
            if kind == "survived" and wording_only(file, mutant):
                kind = "survived (wording)"
            elif kind == "survived":
                sys.stdout.write(f"survived: {mutant}\n")
            counts[kind] += 1
            by_module.setdefault(str(file.relative_to(folder)), Counter())[kind] += 1
    for module, found in by_module.items():
        sys.stdout.write(f"{module}: {dict(found)}\n")
    noticed = sum(counts[kind] for kind in set(NOTICED.values()))
    wording = counts["survived (wording)"]
    planted = noticed + counts["survived"] + wording
    share = noticed / planted if planted else 0.0
    sys.stdout.write(
        f"{noticed} of {planted} planted bugs were noticed: {share:.1%}, at least {LEAST:.0%} are asked for\n"
        f"{wording} of the others change the wording of a message only; {counts['not run']} were not run\n"
    )
    return 0 if share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
