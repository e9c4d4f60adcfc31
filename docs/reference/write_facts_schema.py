"""Write docs/reference/facts.schema.json from ion/facts.py: ``python docs/reference/write_facts_schema.py``."""  # noqa: INP001 - a script

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from ion.agent.intake.lines import STATUSES
from ion.agent.intake.telling import TELLABLE, VERSION
from ion.facts import GOVERNANCE_ONLY, KINDS, Fact

DIALECT = "https://json-schema.org/draft/2020-12/schema"
UUID = {"type": "string", "pattern": "^[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}$"}
SUBJECT = {"type": "string", "maxLength": 300, "pattern": "^[^\\u0000]*$"}
NODE = {"type": "string", "pattern": "^[a-z0-9_]+/[a-z0-9_]+$"}
TEXT, OBJECT, NUMBER = {"type": "string"}, {"type": "object"}, {"type": "number"}
PLAIN: dict[object, dict[str, object]] = {
    str: {"type": "string"},
    int: {"type": "integer", "minimum": 1 - 2**53, "maximum": 2**53 - 1},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}
RUN = {**SUBJECT, "minLength": 1}
VERBS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "node_run.start": (
        {
            "node": NODE, "node_kind": {**TEXT, "minLength": 1}, "run": SUBJECT, "code": OBJECT, "config": OBJECT,
            "environment": OBJECT, "engine": TEXT, "engine_run": TEXT, "submitter": TEXT,
        },
        ("node",),
    ),
    "stat": (
        {
            "run": RUN, "series": {**TEXT, "minLength": 1}, "value": NUMBER, "epoch": SUBJECT,
            "values": {"type": "array", "items": NUMBER, "minItems": 1},
            "times": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}, "minItems": 1},
        },
        ("run", "series"),
    ),
    "node_run.end": ({"run": RUN, "status": {"enum": list(STATUSES)}, "error": TEXT}, ("run",)),
    "openlineage": ({"event": OBJECT}, ("event",)),
}  # fmt: skip


def field_schema(kind: type[Fact], name: str, hint: object) -> dict[str, object]:
    """Return the schema of one field."""
    origin, members = typing.get_origin(hint) or hint, typing.get_args(hint)
    subject = name in kind.SUBJECTS
    if type(None) in members:
        inner = [field_schema(kind, name, member) for member in members if member is not type(None)]
        return {"anyOf": [*inner, {"type": "null"}]}
    if origin is Sequence:
        return {"type": "array", "items": SUBJECT if subject else field_schema(kind, "", members[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": SUBJECT} if subject else {"type": "object"}
    return SUBJECT if subject else PLAIN.get(origin, {})


def fact_schema(kind: type[Fact]) -> dict[str, object]:
    """Return the schema of the body of one kind of fact."""
    hints, items = typing.get_type_hints(kind), dataclasses.fields(kind)
    missing = dataclasses.MISSING
    required = [item.name for item in items if item.default is missing and item.default_factory is missing]
    return {
        "description": re.sub(r"\s*\n\s*", " ", inspect.getdoc(kind) or "").replace("``", "`"),
        "type": "object",
        "properties": {item.name: field_schema(kind, item.name, hints[item.name]) for item in items},
        "required": required,
        "additionalProperties": False,
    }


def line_schema() -> dict[str, object]:
    """Return the schema of a line, whatever it tells or asks."""
    envelope: dict[str, object] = {"ion": {"const": VERSION}, "id": UUID}
    told = [
        {
            "properties": {**envelope, "kind": {"const": name}, "body": {"$ref": f"#/$defs/{name}"}},
            "required": ["ion", "kind", "body"],
            "additionalProperties": False,
        }
        for name in TELLABLE
    ]
    asked: list[dict[str, object]] = [
        {
            "properties": {**envelope, "do": {"const": name}, **properties},
            "required": ["ion", "do", *required],
            "additionalProperties": False,
            **({"oneOf": [{"required": ["value"]}, {"required": ["values", "times"]}]} if name == "stat" else {}),
        }
        for name, (properties, required) in VERBS.items()
    ]
    return {"type": "object", "oneOf": [*told, *asked]}


def schema_text() -> str:
    """Return the whole document: a line, and under ``$defs`` the body of every fact that an agent may tell."""
    facts = {name: fact_schema(kind) for name, kind in KINDS.items() if kind not in GOVERNANCE_ONLY}
    document = {
        "$schema": DIALECT,
        "title": "A line told to an agent's intake",
        "description": "Written by docs/reference/write_facts_schema.py from ion/facts.py. Forms: docs/spec/intake.md.",
        **line_schema(),
        "$defs": facts,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("facts.schema.json").write_text(schema_text(), "utf-8")
