"""The examples of the intake's specification are what the intake takes and answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jsonschema import Draft202012Validator

from ion.agent import Client
from ion.agent.intake import requests, serving, taking
from ion.agent.intake.taking import Taking
from ion.home import Home
from tests.docs import blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/spec/intake.md"


def test_the_lines_are_taken_and_answered_as_written(tmp_path: Path, docs: Path) -> None:
    lines = blocks.marked(PAGE, "lines", "examples").splitlines()
    schema = Draft202012Validator(json.loads((docs / "reference" / "facts.schema.json").read_text("utf-8")))
    assert [list(schema.iter_errors(json.loads(line))) for line in lines] == [[]] * len(lines)
    client = Client(Home(tmp_path), "intake")
    answers = Taking(client).take([*(line.encode() for line in lines), b"{"])
    client.close()
    assert [answer["ok"] for answer in answers] == [True] * len(lines) + [False]
    shown = [json.loads(line) for line in blocks.marked(PAGE, "answers", "examples").splitlines()]
    assert [list(answers[1]), list(answers[-1])] == [list(answer) for answer in shown]
    assert answers[1] == shown[0], "a run made from the line's id is the same everywhere"


def test_the_limits_are_those_of_the_code(docs: Path) -> None:
    text = (docs / "spec" / "intake.md").read_text("utf-8")
    assert (taking.LONGEST_LINE, requests.MOST_BODY, requests.MOST_LINES) == (2**20, 8 * 2**20, 10_000)
    assert (serving._MOST_CONNECTIONS, taking._REMEMBERED, requests._MOST_HEAD) == (64, 20_000, 16 * 1024)
    for written in ("| 1 MiB |", "| 8 MiB, 10,000 lines; head 16 KiB |", "| connections | 64 |", "(20,000 of them)"):
        assert written in text
