"""JSON Schema of what policies are asked and of what they answer, generated from the types.

`python -m cortexops.adapters.policy_schema FOLDER` writes the files that docs/schema holds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cortexops.adapters.policy_bundle import input_schema
from cortexops.domain.policy import PolicyDecision

INPUT_FILE, DECISION_FILE = "policy_input.v1.json", "policy_decision.v1.json"
_OURS = ("revision", "engine", "held_until")
"""Fields of a decision that the product adds; a policy does not answer them."""


def decision_schema() -> dict[str, Any]:
    """JSON Schema of the rule `data.cortexops.decision`."""
    schema = PolicyDecision.model_json_schema(mode="validation", by_alias=True)
    for name in _OURS:
        schema["properties"].pop(name, None)
    return schema


def schemas() -> dict[str, dict[str, Any]]:
    """File name → schema."""
    return {
        INPUT_FILE: {"$schema": "https://json-schema.org/draft/2020-12/schema", **input_schema()},
        DECISION_FILE: {"$schema": "https://json-schema.org/draft/2020-12/schema", **decision_schema()},
    }


def as_text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def fields(schema: dict[str, Any]) -> dict[str, str]:
    """Path of every field → its type, as far as the schema goes: `action.target.kind` → `string`."""
    found: dict[str, str] = {}
    _walk(schema, schema, "", found)
    return found


def _walk(schema: dict[str, Any], node: dict[str, Any], path: str, found: dict[str, str]) -> None:
    for name, given in sorted(node.get("properties", {}).items()):
        part = _resolved(schema, given)
        here = f"{path}.{name}" if path else name
        found[here] = _type(schema, given)
        if part.get("type") == "array":
            _walk(schema, _resolved(schema, part.get("items", {})), f"{here}[]", found)
        elif "properties" in part:
            _walk(schema, part, here, found)


def _type(schema: dict[str, Any], node: dict[str, Any]) -> str:
    options = node.get("anyOf")
    if options:
        return " or ".join(sorted(_type(schema, option) for option in options))
    part = _resolved(schema, node)
    kind = str(part.get("type", "any"))
    if kind == "array":
        kind = f"array of {_type(schema, part.get('items', {}))}"
    if part.get("format"):
        kind += f" ({part['format']})"
    return kind


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


if __name__ == "__main__":
    for name, schema in schemas().items():
        Path(sys.argv[1], name).write_text(as_text(schema), encoding="utf-8")
