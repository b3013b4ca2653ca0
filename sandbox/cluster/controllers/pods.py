"""Making pods from templates, as the workload controllers do."""

from __future__ import annotations

import copy

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.objects import is_ready, owner_reference

_PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}


def pod_from_template(owner: JSON, api_version: str, kind: str, template: JSON, name: str) -> JSON:
    """A pod of `owner` with its template's labels, annotations and spec."""
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "generateName": f"{owner['metadata']['name']}-",
            "labels": dict(meta.get("labels") or {}),
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [owner_reference(owner, api_version, kind)],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def deletion_order(pods: list[JSON]) -> list[JSON]:
    """Which to delete first: unassigned, then pending, not ready, restarted more often, younger."""

    def rank(pod: JSON) -> tuple[bool, int, bool, int]:
        status = pod.get("status") or {}
        restarts = sum(entry.get("restartCount", 0) for entry in status.get("containerStatuses") or ())
        phase = _PHASE_ORDER.get(status.get("phase", "Pending"), 0)
        return (bool(pod["spec"].get("nodeName")), phase, is_ready(pod), -restarts)

    youngest_first = sorted(
        pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True
    )
    return sorted(youngest_first, key=rank)
