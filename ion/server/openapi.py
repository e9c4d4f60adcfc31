"""The OpenAPI document, made from the table of routes that is also what is enforced."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.server.endpoint import Endpoint

_VERSION = "3.1.0"


def document(routes: Sequence[Endpoint]) -> dict[str, object]:
    """Return the OpenAPI 3.1 document of these routes."""
    from ion import __version__

    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": _VERSION,
        "info": {
            "title": "dagster-ion server",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["code", "message", "hint"],
                            "properties": {name: {"type": "string"} for name in ("code", "message", "hint")},
                        }
                    },
                }
            },
        },
    }


def _operation(route: Endpoint) -> dict[str, object]:
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    statuses = {"400": "A parameter or the body is wrong."}
    if route.role:
        statuses |= {"401": "No token that counts.", "403": f"The token does not give the role {route.role}."}
    if route.body:
        statuses |= {"408": "The body came too slowly.", "413": "The body is too large.", "415": "Unknown encoding."}
    statuses |= {"429": "Too busy; see Retry-After.", "503": "The store is away; see Retry-After."}
    schema = {"type": "string"} if route.answers != "application/json" else {"type": "object"}
    found: dict[str, object] = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-zA-Z0-9]+', '_', route.path)}",
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {
            "200": {"description": route.summary, "content": {route.answers: {"schema": schema}}},
            **{status: {"description": text, **error} for status, text in statuses.items()},
        },
        "security": [{"token": []}] if route.role else [],
    }
    if route.role:
        found["x-role"] = route.role
    if route.body:
        content = {"schema": {"type": "string", "format": "binary"}}
        found["requestBody"] = {"required": True, "content": {route.body: content}}
    return found


def _parameters(route: Endpoint) -> list[dict[str, object]]:
    found: list[dict[str, object]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)", route.path)
    ]
    for each in route.query:
        schema: dict[str, object] = {"type": each.kind}
        if each.kind == "integer":
            schema |= {"minimum": 0, "maximum": each.largest}
        if each.default != "":
            schema["default"] = each.default
        found.append({"name": each.name, "in": "query", "description": each.description, "schema": schema})
    return found
