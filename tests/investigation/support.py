"""Signals from a scenario's alerts, and what its truth is called in the product's categories."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cortexops.domain.diagnosis import Category
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Signal, severity_from_word, signal_type

_KINDS = (
    ("pod", "Pod"),
    ("deployment", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("service", "Service"),
    ("node", "Node"),
)

TRUTH: dict[str, set[Category]] = {
    "oom_killed": {Category.OOM_AFTER_RELEASE, Category.OOM_LIMIT_TOO_LOW, Category.MEMORY_LEAK},
    "configmap_changed": {Category.CONFIGMAP_CHANGED},
    "image_pull": {Category.IMAGE_NOT_FOUND},
    "probe_misconfigured": {Category.READINESS_PROBE},
    "node_not_ready": {Category.NODE_NOT_READY},
    "external_dependency": {Category.EXTERNAL_DEPENDENCY},
}
"""Scenario vocabulary → categories that are right."""


def categories(word: str) -> set[Category]:
    """The categories that a scenario's truth allows."""
    return TRUTH.get(word) or {Category(word)}


def signals_of(payload: dict[str, Any], cluster: str) -> list[Signal]:
    """Alertmanager's alerts as signals about the object that their labels name."""
    found = []
    for alert in payload["alerts"]:
        labels = alert["labels"]
        kind, name = next((kind, labels[label]) for label, kind in _KINDS if label in labels)
        namespace = "" if kind == "Node" else labels["namespace"]
        found.append(
            Signal(
                source="alertmanager",
                cluster=cluster,
                name=labels["alertname"],
                type=signal_type(labels["alertname"]),
                severity=severity_from_word(labels.get("severity", "")),
                resource=ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name),
                labels=labels,
                started_at=datetime.fromisoformat(alert["startsAt"]),
            ).sealed()
        )
    return found
