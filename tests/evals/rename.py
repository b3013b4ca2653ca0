"""The same incident under other names or times: nothing may hang on what things are called, or on one clock."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.evals.expand import Incident
from tests.evals.shapes import NOW

_KEPT = frozenset(
    {
        "default",
        "kube-system",
        "coredns",
        "kube-dns",
        "metrics-server",
        "standard",
        "kubernetes",
        "kube-proxy",
        "node-local-dns",
        "efs-csi-node",
        "otel-collector",
        "ebs-csi-controller",
        "kube-controller-manager",
        "kube-controller-manager-cp-1",
    }
)
_UNNAMED = frozenset({"Event", "EndpointSlice", "ReplicaSet", "ControllerRevision", "Pod"})
"""Kinds whose names are made of others, and are renamed with them."""


def _other(word: str, salt: str) -> str:
    raw = hashlib.sha256(f"{salt}/{word}".encode()).digest()
    return "".join("bcdfghjklmnpqrstvwxz"[byte % 20] for byte in raw[:8])


def _words(incident: Incident) -> set[str]:
    found: set[str] = set()
    for obj in incident.objects:
        metadata = obj["metadata"]
        if obj["kind"] not in _UNNAMED and not metadata.get("ownerReferences"):
            found.add(metadata["name"])
        found.add(metadata.get("namespace", ""))
        for suffix in ("pod-template-hash", "controller-revision-hash"):
            found.add(metadata.get("labels", {}).get(suffix, "").rpartition("-")[2])
        spec: dict[str, Any] = obj.get("spec") or {}
        template = (spec.get("template") or {}).get("spec", spec)
        for part in ("containers", "initContainers"):
            for container in template.get(part) or []:
                found.add(container["name"])
                image, _, tag = container["image"].rpartition(":")
                found |= {image.split("/")[0], tag}
    kept = {*_KEPT, *incident.truth.get("kept", ())}  # where the name is the evidence
    return {word for word in found if len(word) > 1 and word not in kept}


def _truth(truth: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    found = {key: change(value) if key == "cause" else value for key, value in truth.items()}
    if "incidents" in truth:
        found["incidents"] = [_truth(part, change) for part in truth["incidents"]]
    return found


def renamed(incident: Incident, salt: str = "a") -> Incident:
    """Every namespace, object, container, image and hash under another name, everywhere it is spoken of."""
    words = sorted(_words(incident), key=lambda word: (-len(word), word))
    pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, words))})(?![A-Za-z0-9])")

    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: change(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [change(inner) for inner in value]
        return pattern.sub(lambda m: _other(m.group(0), salt), value) if isinstance(value, str) else value

    objects = []
    for obj in incident.objects:
        other = change({key: value for key, value in obj.items() if key not in ("kind", "apiVersion")})
        objects.append({"kind": obj["kind"], "apiVersion": obj["apiVersion"], **other})
    truth = _truth(incident.truth, change)
    logs = {(*map(change, key[:3]), key[3]): change(text) for key, text in incident.logs.items()}
    payload = change(incident.payload)
    for before, after in zip(incident.payload.get("alerts", []), payload.get("alerts", []), strict=False):
        after["labels"]["alertname"] = before["labels"]["alertname"]
    for field in ("kind", "apiVersion", "reason"):
        if field in incident.payload:
            payload[field] = incident.payload[field]
    return incident._replace(objects=objects, logs=logs, payload=payload, truth=truth)


def stamped(incident: Incident) -> Incident:
    """As an API server gives it that was filled just now: it stamps every object itself, in the order of old,
    and all of it later than the alert and the statuses."""
    objects = copy.deepcopy(incident.objects)
    metadata = [obj["metadata"] for obj in objects]
    times = {each["creationTimestamp"] for each in metadata}
    times |= {entry["time"] for each in metadata for entry in each.get("managedFields", [])}
    after = {
        time: (NOW + timedelta(minutes=1, seconds=place)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for place, time in enumerate(sorted(times))
    }
    for each in metadata:
        each["creationTimestamp"] = after[each["creationTimestamp"]]
        for entry in each.get("managedFields", []):
            entry["time"] = after[entry["time"]]
    return incident._replace(objects=objects)
