"""Workloads without pods that are meant to have none: an autoscaler or a timetable put them to sleep."""

from __future__ import annotations

from collections.abc import Iterable

from cortexops.domain.kubernetes import hpa, meta
from cortexops.domain.kubernetes.values import text
from cortexops.domain.resource import JSON

_ORIGINAL = "original-replicas"
"""Programs that scale down by the clock keep in an annotation of this name how many replicas to bring back."""
_EVENT_DRIVEN = "ScaledObject"
_PAUSED = ("autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas")


def put_to_sleep_by(workload: JSON, scalers: Iterable[JSON]) -> str:
    """Who scaled it to nothing as it was told to, and will scale it up by itself again; "" when nobody did.

    `scalers` are the HorizontalPodAutoscalers that aim at the workload. KEDA (docs: "Scaling Deployments") goes
    below one replica by itself, for which its HPA is disabled, unless somebody paused it.
    """
    annotations = meta.annotations_of(workload)
    for key in annotations:
        head, _, last = key.rpartition("/")
        if last == _ORIGINAL:
            return head or "a timetable"
    for scaler in scalers:
        owner = meta.owner(scaler)
        if owner is None or owner[0] != _EVENT_DRIVEN or any(key in annotations for key in _PAUSED):
            continue
        active = hpa.condition(scaler, "ScalingActive")
        if active.status == "False" and active.reason == "ScalingDisabled":
            return f"{owner[0]} {text(scaler, 'metadata', 'namespace')}/{owner[1]}"
    return ""
