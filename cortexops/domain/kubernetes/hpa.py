"""Conditions of an autoscaler: in its status (autoscaling/v2), or in an annotation (autoscaling/v1)."""

from __future__ import annotations

import json

from cortexops.domain.kubernetes import meta
from cortexops.domain.resource import JSON

_ANNOTATION = "autoscaling.alpha.kubernetes.io/conditions"


def condition(scaler: JSON, kind: str) -> meta.Condition:
    """The condition of that type, whichever version of the API the object came in."""
    found = meta.condition(scaler, kind)
    if found.status:
        return found
    try:
        listed = json.loads(meta.annotations_of(scaler).get(_ANNOTATION, "[]"))
    except ValueError:
        listed = []
    return meta.condition({"status": {"conditions": listed}}, kind)
