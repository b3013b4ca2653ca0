"""Models as JSON documents that Postgres can hold."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

_NUL = "\x00"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean(text: str) -> str:
    """Postgres stores no NUL; logs and labels from outside may hold one."""
    return text.replace(_NUL, _REPLACEMENT)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def document(model: BaseModel) -> str:
    """The model as JSON text, fit for a jsonb column."""
    text = model.model_dump_json(by_alias=True)
    if "\\u0000" not in text:
        return text
    return json.dumps(_clean(json.loads(text)), ensure_ascii=False)
