"""Snapshots taken before a change, and the commands with which a person can restore it by hand."""

from __future__ import annotations

import json
import shlex
from typing import Any

from cortexops.domain.change import Change, FieldEdit
from cortexops.domain.resource import JSON


def snapshot_of(live: JSON) -> JSON:
    """Replicas, images, resources and versions of the object (seed 000: ResourceSnapshot); no environment."""
    metadata, spec = live.get("metadata", {}), live.get("spec", {})
    containers = spec.get("template", {}).get("spec", {}).get("containers") or spec.get("containers") or []
    snapshot: dict[str, Any] = {
        "uid": metadata.get("uid"),
        "generation": metadata.get("generation"),
        "resourceVersion": metadata.get("resourceVersion"),
        "containers": [
            {"name": c.get("name"), "image": c.get("image"), "resources": c.get("resources") or {}}
            for c in containers
        ],
    }
    for field in ("replicas", "unschedulable", "paused"):
        if field in spec:
            snapshot[field] = spec[field]
    return snapshot


def commands_by_hand(change: Change) -> list[str]:
    """kubectl commands that put the earlier values back, for a person who has looked at the object first."""
    operations = [_restore(field) for field in reversed(change.edits)]
    target = change.target
    where = f"-n {shlex.quote(target.namespace)} " if target.namespace else ""
    patch = shlex.quote(json.dumps(operations))
    return [
        f"kubectl {where}get {target.kind.lower()} {shlex.quote(target.name)} -o yaml --show-managed-fields",
        f"kubectl {where}patch {target.kind.lower()} {shlex.quote(target.name)} --type=json -p {patch}",
    ]


def _restore(field: FieldEdit) -> JSON:
    if field.before_present:
        return {"op": "add", "path": field.path, "value": field.before}
    return {"op": "remove", "path": field.path}
