"""Raise a container's memory: at most twofold, within what the namespace and the nodes allow."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import edit, expectation, lookup, pointer
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.quantity import format_bytes, parse_quantity
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import (
    affected_workload,
    common_refusal,
    container_index,
    offered,
    patch_of,
    refused,
)

_FACTOR = 2
_REQUEST_SHARE = Decimal("0.75")  # of the new limit (seed 000: 1Gi limit, 768Mi request)
_EFFECT = {
    Category.OOM_LIMIT_TOO_LOW: 0.85,
    Category.OOM_AFTER_RELEASE: 0.8,
    Category.MEMORY_LEAK: 0.3,
}


class AdjustResources:
    spec = ActionSpec(
        type="adjust_resources",
        title="Adjust resources",
        description="Set a container's memory limit and request. The pods are rolled.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("Deployment", "StatefulSet", "DaemonSet"),
        params={
            "container": "name of the container",
            "memory_limit": "new limit; above the present one, at most twice it, within quota and node",
            "memory_request": "new request; at most the new limit",
        },
        permissions=(
            Permission(group="apps", resource="deployments", verbs=("get", "patch")),
            Permission(group="apps", resource="statefulsets", verbs=("get", "patch")),
            Permission(group="apps", resource="daemonsets", verbs=("get", "patch")),
        ),
        criteria=("rollout_complete", "replicas_ready", "no_new_restarts"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        cause = diagnosis.cause
        target = affected_workload(scene, diagnosis)
        if cause is None or cause.category not in _EFFECT or target is None:
            return []
        live = scene.get(target)
        action = Action(type=self.spec.type, target=target, params={"container": cause.container})
        refusal = common_refusal(self.spec, action, live)
        if refusal is not None or live is None:
            return [refusal] if refusal else []
        index = container_index(live, cause.container)
        resources = live["spec"]["template"]["spec"]["containers"][index].get("resources") or {}
        limit = (resources.get("limits") or {}).get("memory")
        if limit is None:
            return [
                refused(
                    self.spec,
                    action,
                    Infeasible.NO_LIMIT_SET,
                    f"{cause.container} has no memory limit to raise",
                )
            ]
        now = parse_quantity(limit)
        ceiling, bound = _ceiling(scene, target)
        new = now * _FACTOR if ceiling is None else min(now * _FACTOR, ceiling)
        if new <= now:
            return [
                refused(
                    self.spec, action, Infeasible.BOUND_REACHED, f"the limit {limit} is at its bound: {bound}"
                )
            ]
        before_request = (resources.get("requests") or {}).get("memory", limit)
        request = max(new * _REQUEST_SHARE, min(parse_quantity(before_request), new))
        params = {
            "container": cause.container,
            "memory_limit": format_bytes(new),
            "memory_request": format_bytes(request),
        }
        planned = {
            "limits": {"memory": params["memory_limit"]},
            "requests": {"memory": params["memory_request"]},
        }
        return [
            offered(
                self.spec,
                Action(type=self.spec.type, target=target, params=params),
                effect=_EFFECT[cause.category],
                why=f"{cause.container} is killed at its memory limit of {limit}; "
                f"{params['memory_limit']} leaves it room",
                radius=workload_radius(scene, target),
                commands=(
                    f"kubectl -n {shlex.quote(target.namespace)} set resources "
                    f"{target.kind.lower()}/{shlex.quote(target.name)} -c {shlex.quote(cause.container)} "
                    f"--limits=memory={params['memory_limit']} --requests=memory={params['memory_request']}",
                ),
                caveats=(
                    "Verify usage first: when memory grows without bound, more only delays the next kill.",
                    "All pods of the workload are replaced, one after the other.",
                ),
                before={"limits": {"memory": limit}, "requests": {"memory": before_request}},
                after=planned,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        index = container_index(live, str(action.params["container"]))
        base = pointer("spec", "template", "spec", "containers", index)
        limit, request = str(action.params["memory_limit"]), str(action.params["memory_request"])
        there, present = lookup(live, f"{base}/resources/limits/memory")
        if not there:
            raise Rejected(f"container {action.params['container']} has no memory limit (any more)")
        if not parse_quantity(present) < parse_quantity(limit) <= parse_quantity(present) * _FACTOR:
            raise Rejected(f"memory_limit {limit} is not above {present} and at most {_FACTOR} times it")
        if parse_quantity(request) > parse_quantity(limit):
            raise Rejected(f"memory_request {request} is above memory_limit {limit}")
        change = patch_of(
            live,
            action.target,
            [
                edit(live, f"{base}/resources/limits/memory", limit),
                edit(live, f"{base}/resources/requests/memory", request),
            ],
            [expectation(live, f"{base}/name")],
        )
        return Prepared(action=action, change=change, expected_replicas=int(live["spec"].get("replicas", 0)))


def _ceiling(scene: Scene, target: ResourceRef) -> tuple[Decimal | None, str]:
    """The most memory a container may have here, and what says so."""
    bounds: list[tuple[Decimal, str]] = []
    for ref, limit_range in scene.of_kind("LimitRange"):
        for item in limit_range.get("spec", {}).get("limits", []):
            most = (item.get("max") or {}).get("memory")
            if (
                item.get("type") in ("Container", "Pod")
                and most is not None
                and ref.namespace == target.namespace
            ):
                bounds.append((parse_quantity(most), f"LimitRange {ref.name} allows {most}"))
    nodes = [
        (parse_quantity(memory), ref.name)
        for ref, node in scene.of_kind("Node")
        if (memory := (node.get("status", {}).get("allocatable") or {}).get("memory")) is not None
    ]
    if nodes:
        largest, name = max(nodes)
        bounds.append((largest / 2, f"half of the largest node ({name})"))
    replicas = max(1, int((scene.get(target) or {}).get("spec", {}).get("replicas", 1)))
    for ref, quota in scene.of_kind("ResourceQuota"):
        hard = (quota.get("status", {}).get("hard") or {}).get("limits.memory")
        used = (quota.get("status", {}).get("used") or {}).get("limits.memory", "0")
        if hard is not None and ref.namespace == target.namespace:
            room = (parse_quantity(hard) - parse_quantity(used)) / (replicas + 1)
            present = _largest_limit(scene, target)
            bounds.append(
                (present + room, f"ResourceQuota {ref.name} has {hard} for limits.memory, {used} used")
            )
    return min(bounds) if bounds else (None, "")


def _largest_limit(scene: Scene, target: ResourceRef) -> Decimal:
    containers = ((scene.get(target) or {}).get("spec", {}).get("template", {}).get("spec", {})).get(
        "containers", []
    )
    limits = [((c.get("resources") or {}).get("limits") or {}).get("memory", "0") for c in containers]
    return max((parse_quantity(limit) for limit in limits), default=Decimal(0))


register(AdjustResources())
