"""The same incident with fields missing, null or of another type, as no API server should send them."""

from __future__ import annotations

import random
from typing import Any

from tests.evals.expand import Incident

_KEPT = ("name", "namespace", "kind")
_INSTEAD: tuple[Any, ...] = (None, "x", [], {}, 7)


def pruned(incident: Incident, seed: int) -> Incident:
    """About one field in twenty is dropped or replaced; names, namespaces and kinds stay."""
    chance = random.Random(f"{seed}/{incident.name}")

    def walk(value: Any, depth: int) -> Any:
        if isinstance(value, list):
            return [walk(inner, depth + 1) for inner in value if chance.random() > 0.04]
        if not isinstance(value, dict):
            return value
        found = {}
        for key, inner in value.items():
            if depth and key not in _KEPT and chance.random() < 0.06:
                if chance.random() < 0.5:
                    found[key] = chance.choice(_INSTEAD)
                continue
            found[key] = walk(inner, depth + 1)
        return found

    objects = []
    for obj in incident.objects:
        other = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], **walk(obj, 0)}
        metadata = other["metadata"] if isinstance(other.get("metadata"), dict) else {}
        named = {key: obj["metadata"][key] for key in ("name", "namespace") if key in obj["metadata"]}
        labels = metadata.get("labels")
        other["metadata"] = {**metadata, **named, "labels": labels if isinstance(labels, dict) else None}
        objects.append(other)
    return incident._replace(objects=objects)
