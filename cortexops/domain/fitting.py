"""What several actions say and check in the same words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from cortexops.domain.action import Action, ActionSpec, Candidate
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.kubernetes.values import objects
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import common_refusal


def named(ref: ResourceRef) -> str:
    """`-n shop deployment/api`, as kubectl takes it."""
    where = f"-n {shlex.quote(ref.namespace)} " if ref.namespace else ""
    return f"{where}{ref.kind.lower()}/{shlex.quote(ref.name)}"


def on_object(
    spec: ActionSpec, scene: Scene, target: ResourceRef, params: Mapping[str, Any] | None = None
) -> tuple[Action, JSON] | list[Candidate]:
    """The action on this object, and the object; or what `propose` answers instead: the refusal, or nothing."""
    action = Action(type=spec.type, target=target, params=dict(params or {}))
    live = scene.get(target)
    refusal = common_refusal(spec, action, live)
    if refusal is not None or live is None:
        return [refusal] if refusal else []
    return action, live


def on_cause(
    spec: ActionSpec, scene: Scene, diagnosis: Diagnosis, *categories: Category
) -> tuple[Action, JSON] | list[Candidate]:
    """As `on_object` for the cause's own object; nothing when the cause or its kind does not fit."""
    cause = diagnosis.cause
    if cause is None or cause.category not in categories or cause.resource.kind not in spec.kinds:
        return []
    return on_object(spec, scene, cause.resource)


def controller_kind(pod: JSON) -> str | None:
    """The kind of the controller that would replace the pod."""
    for owner in objects(pod, "metadata", "ownerReferences"):
        if owner.get("controller"):
            return str(owner.get("kind"))
    return None


def usable(node: JSON) -> bool:
    """Whether the node takes new pods."""
    conditions = objects(node, "status", "conditions")
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready and not (node.get("spec") or {}).get("unschedulable")
