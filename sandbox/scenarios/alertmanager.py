"""Alertmanager's webhook, version 4, around the alerts of a scenario."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

from cortexops.domain.resource import JSON
from sandbox.scenarios.schema import Alert
from sandbox.scenarios.templates import FindPod, expand

_NEVER = "0001-01-01T00:00:00Z"
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def webhook(alerts: tuple[Alert, ...], cluster: str, now: datetime, find_pod: FindPod) -> JSON:
    """The payload that Alertmanager would post for these alerts, grouped by name and namespace."""
    bodies = []
    for alert in alerts:
        labels = expand({"cluster": cluster, **alert.labels}, now, find_pod)
        bodies.append(
            {
                "status": "firing",
                "labels": labels,
                "annotations": expand(alert.annotations, now, find_pod),
                "startsAt": expand(alert.starts_at, now),
                "endsAt": _NEVER,
                "generatorURL": f"http://prometheus.example.com/graph?g0.expr={quote(labels['alertname'])}",
                "fingerprint": fingerprint(labels),
            }
        )
    group = {
        name: bodies[0]["labels"][name] for name in ("alertname", "namespace") if name in bodies[0]["labels"]
    }
    listed = ", ".join(f'{name}="{value}"' for name, value in sorted(group.items()))
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{listed}}}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "cortexops",
        "groupLabels": group,
        "commonLabels": _common([body["labels"] for body in bodies]),
        "commonAnnotations": _common([body["annotations"] for body in bodies]),
        "externalURL": "http://alertmanager.example.com",
        "alerts": bodies,
    }


def fingerprint(labels: dict[str, str]) -> str:
    """The label set's 64-bit FNV-1a, as Prometheus' client model computes it."""
    value = _FNV_OFFSET
    for name in sorted(labels):
        for byte in (*name.encode(), 255, *labels[name].encode(), 255):
            value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def _common(maps: list[dict[str, str]]) -> dict[str, str]:
    return {name: value for name, value in maps[0].items() if all(one.get(name) == value for one in maps)}
