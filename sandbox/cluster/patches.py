"""The three patch media types."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException

from cortexops.domain.resource import JSON
from sandbox.cluster import strategic
from sandbox.cluster.errors import bad_request, unprocessable_patch, unsupported_media

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


class _Test(jsonpatch.TestOperation):
    """A test for null holds where the field is absent, too: so the API server reads it."""

    def apply(self, obj: Any) -> Any:
        if "value" in self.operation and self.operation["value"] is None:
            holder, part = self.pointer.to_last(obj)
            if isinstance(holder, dict) and part not in holder:
                return obj
        return super().apply(obj)


class KubernetesPatch(jsonpatch.JsonPatch):
    """A JSON Patch as the API server applies it. Raises what `jsonpatch` and `jsonpointer` raise."""

    operations = MappingProxyType({**jsonpatch.JsonPatch.operations, "test": _Test})


def apply(media_type: str, document: JSON, patch: Any) -> JSON:
    """The patched document; `document` stays as it is. Raises `ApiError`."""
    if media_type == JSON_PATCH:
        return _json_patch(document, patch)
    if media_type not in (MERGE_PATCH, STRATEGIC_PATCH):
        raise unsupported_media(JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a JSON object is expected")
    return strategic.apply(document, patch) if media_type == STRATEGIC_PATCH else merge(document, patch)


def _json_patch(document: JSON, patch: Any) -> JSON:
    if not isinstance(patch, list) or not all(isinstance(step, dict) for step in patch):
        raise bad_request("error decoding patch: a JSON array of operations is expected")
    try:
        result = KubernetesPatch(patch).apply(document)
    except jsonpatch.InvalidJsonPatch as error:
        raise bad_request(f"error decoding patch: {error}") from error
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, KeyError, ValueError) as error:
        raise unprocessable_patch() from error
    if not isinstance(result, dict):
        raise unprocessable_patch()
    return result


def merge(document: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result
