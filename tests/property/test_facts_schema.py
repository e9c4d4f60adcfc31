"""The published JSON Schema takes what the intake takes, and refuses what it refuses."""

from __future__ import annotations

import copy
import json
import runpy
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ion.agent.intake.addressing import Addressing
from ion.agent.intake.lines import read_line
from ion.agent.intake.telling import TELLABLE
from ion.errors import IonError
from ion.facts import GOVERNANCE_ONLY, KINDS, Fact
from ion.testing import written
from tests.property.test_facts_round_trip import JSON, facts
from tests.unit.test_intake_openlineage import COMPLETE

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
SCHEMA: dict[str, Any] = json.loads((REFERENCE / "facts.schema.json").read_text("utf-8"))
LINE = Draft202012Validator(SCHEMA)
KIND_NAME = attrgetter("__name__")
RUN = "01a1fe27-f402-7f79-95c8-998108036a8a"
VERBS: tuple[dict[str, Any], ...] = (
    {"ion": 1, "do": "node_run.start", "node": "a/b", "id": RUN, "config": {"depth": 3}},
    {"ion": 1, "do": "stat", "run": RUN, "series": "auc", "value": 0.5},
    {"ion": 1, "do": "stat", "run": RUN, "series": "auc", "values": [1, 2.5], "times": [1, 2], "epoch": "e"},
    {"ion": 1, "do": "node_run.end", "run": RUN, "status": "failed", "error": "none"},
    {"ion": 1, "do": "openlineage", "event": COMPLETE},
)


def body_schema(kind: type[Fact]) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{kind.__name__}", "$defs": SCHEMA["$defs"]})


def taken(line: object) -> bool:
    """Tell whether the intake would record a line."""
    try:
        told = read_line(json.dumps(line).encode(), Addressing())
        for telling in told.tellings:
            written(telling.fact)
    except IonError:
        return False
    return True


def test_the_schema_is_as_written_from_the_code() -> None:
    write = runpy.run_path(str(REFERENCE / "write_facts_schema.py"))["schema_text"]
    assert (REFERENCE / "facts.schema.json").read_text("utf-8") == write(), "run docs/reference/write_facts_schema.py"
    Draft202012Validator.check_schema(SCHEMA)


def test_it_describes_every_fact_that_an_agent_may_tell_and_no_other() -> None:
    assert set(SCHEMA["$defs"]) == {name for name, kind in KINDS.items() if kind not in GOVERNANCE_ONLY}


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind not in GOVERNANCE_ONLY], ids=KIND_NAME)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_fact_that_can_be_recorded_fits(kind: type[Fact], data: st.DataObject) -> None:
    body = json.loads(written(data.draw(facts(kind))).raw)["body"]
    assert list(body_schema(kind).iter_errors(body)) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind not in GOVERNANCE_ONLY], ids=KIND_NAME)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_a_line_tells_every_fact_but_those_that_name_a_block(kind: type[Fact], data: st.DataObject) -> None:
    body = json.loads(written(data.draw(facts(kind))).raw)["body"]
    line = {"ion": 1, "kind": kind.__name__, "body": body}
    assert LINE.is_valid(line) == taken(line) == (kind.__name__ in TELLABLE)


@pytest.mark.parametrize("kind", TELLABLE.values(), ids=KIND_NAME)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_with_one_field_of_any_value_it_takes_what_the_intake_takes(kind: type[Fact], data: st.DataObject) -> None:
    body = json.loads(written(data.draw(facts(kind))).raw)["body"]
    field = data.draw(st.sampled_from([*body, "another"]))
    if data.draw(st.booleans()):
        body[field] = data.draw(JSON)
    else:
        body.pop(field, None)
    assert body_schema(kind).is_valid(body) == taken({"ion": 1, "kind": kind.__name__, "body": body})


@pytest.mark.parametrize("line", VERBS, ids=lambda line: line["do"])
def test_the_short_ways_fit(line: dict[str, Any]) -> None:
    assert list(LINE.iter_errors(line)) == []
    assert taken(line)


@pytest.mark.parametrize("line", VERBS[:-1], ids=lambda line: line["do"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_short_way_with_one_other_value_is_taken_by_both_or_none(line: dict[str, Any], data: st.DataObject) -> None:
    changed = copy.deepcopy(line)
    field = data.draw(st.sampled_from([*changed, "another"]))
    if data.draw(st.booleans()):
        changed[field] = data.draw(JSON)
    else:
        changed.pop(field, None)
    if field in {"values", "times"}:  # that there are as many of each is not said in the schema
        assert LINE.is_valid(changed) >= taken(changed)
    else:
        assert LINE.is_valid(changed) == taken(changed)
