"""Every record that a whole deployment made fits the published schema, as long as an agent told it."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from ion.facts import GOVERNANCE_ONLY, KINDS
from tests.store.complete_history import complete_history

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "reference" / "facts.schema.json").read_text("utf-8"))


def test_every_record_of_a_whole_history_fits_the_schema(tmp_path: Path) -> None:
    history = complete_history(tmp_path)
    told = [json.loads(raw) for _, raw, _ in history.deployment.store.entries()]
    history.deployment.close()
    fitting = [value for value in told if KINDS[value["kind"]] not in GOVERNANCE_ONLY]
    assert len({value["kind"] for value in fitting}) > 10
    for value in fitting:
        schema = Draft202012Validator({"$ref": f"#/$defs/{value['kind']}", "$defs": SCHEMA["$defs"]})
        assert list(schema.iter_errors(value["body"])) == [], value["kind"]
        for field in value["body"]:
            wrong = {**value["body"], field: [{"a": 1}, [2]]}
            anything = (value["kind"], field) == ("ParamRecorded", "value")
            assert schema.is_valid(wrong) == anything, (value["kind"], field)
