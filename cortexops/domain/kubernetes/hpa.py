"""Conditions of an autoscaler: in its status (autoscaling/v2), or in an annotation (autoscaling/v1)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.values import number, objects, text
from cortexops.domain.resource import JSON

_GROUP = re.compile(r"\b((?:custom\.|external\.)?metrics\.k8s\.io)\b")
_SPOKEN = re.compile(r"\b(custom|external) metrics API\b")
_SERVER = ("kube-system", "metrics-server")  # where the cluster does not tell who serves resource metrics
_FAR_ABOVE = 1.3
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


def overloaded(scaler: JSON) -> str:
    """`cpu at 96 % of 60 %`, where a share of what pods ask for is far above what it is held at; else ""."""
    held = {
        text(each, "resource", "name"): number(each, "resource", "target", "averageUtilization")
        for each in objects(scaler, "spec", "metrics")
    }
    for each in objects(scaler, "status", "currentMetrics"):
        name = text(each, "resource", "name")
        now, wanted = number(each, "resource", "current", "averageUtilization"), held.get(name, 0)
        if wanted and now >= _FAR_ABOVE * wanted:
            return f"{name} at {now} % of {wanted} %"
    return ""


def unanswered_group(scaler: JSON) -> str:
    """The API group of metrics that the autoscaler asked in vain; "" when that is not what keeps it."""
    active = condition(scaler, "ScalingActive")
    if active.status != "False" or "metrics API" not in active.message:
        return ""
    named = _GROUP.search(active.message)
    spoken = _SPOKEN.search(active.message)
    return named.group(1) if named else f"{spoken.group(1)}.metrics.k8s.io" if spoken else "metrics.k8s.io"


def metrics_service(group: str, registered: Iterable[JSON]) -> tuple[str, str] | None:
    """(namespace, name) of the Service that serves a group of metrics, by the APIServices that were read."""
    for obj in registered:
        if text(obj, "spec", "group") == group and text(obj, "spec", "service", "name"):
            return text(obj, "spec", "service", "namespace"), text(obj, "spec", "service", "name")
    return _SERVER if group == "metrics.k8s.io" else None
