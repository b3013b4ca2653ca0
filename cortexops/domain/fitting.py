"""What several actions say and check in the same words."""

from __future__ import annotations

import shlex

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


def on_cause(
    spec: ActionSpec, scene: Scene, diagnosis: Diagnosis, *categories: Category
) -> tuple[Action, JSON] | Candidate | None:
    """The action on the cause's own object and that object; the refusal; or None when it does not fit."""
    cause = diagnosis.cause
    if cause is None or cause.category not in categories or cause.resource.kind not in spec.kinds:
        return None
    action = Action(type=spec.type, target=cause.resource)
    live = scene.get(cause.resource)
    refusal = common_refusal(spec, action, live)
    if refusal is not None or live is None:
        return refusal
    return action, live


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
