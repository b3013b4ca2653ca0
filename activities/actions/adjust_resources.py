"""Raise a container's memory: at most twofold, within what the namespace and the nodes allow."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import replica_count, workload_radius
from cortexops.domain.change import edit, expectation, lookup, pointer
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.kubernetes.values import amount, objects, text
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
            "memory_limit": "new limit; above the present one, at most twice it; "
            "proposals also stay within LimitRange, quota and node",
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
        ceiling, bound = _ceiling(scene, target, cause.container)
        most = now * _FACTOR if ceiling is None else min(now * _FACTOR, ceiling)
        new = parse_quantity(format_bytes(most, at_most=True))
        if new <= now:
            return [
                refused(
                    self.spec, action, Infeasible.BOUND_REACHED, f"the limit {limit} is at its bound: {bound}"
                )
            ]
        before_request = (resources.get("requests") or {}).get("memory", limit)
        held = parse_quantity(before_request)
        wanted = max(new * _REQUEST_SHARE, held)
        room = _room(scene, target, ("requests.memory", "memory"), "requests")
        request = min(new, wanted if room is None else max(held, min(wanted, held + room[0])))
        rounded = format_bytes(request, at_most=True)
        params = {
            "container": cause.container,
            "memory_limit": format_bytes(new),
            "memory_request": rounded if parse_quantity(rounded) > held else before_request,
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
        index = container_index(live, action.text("container"))
        base = pointer("spec", "template", "spec", "containers", index)
        limit, request = action.text("memory_limit"), action.text("memory_request")
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
        return Prepared(action=action, change=change, expected_replicas=replica_count(live))


def _ceiling(scene: Scene, target: ResourceRef, container: str) -> tuple[Decimal | None, str]:
    """The most memory this container may have here, and what says so.

    Neither LimitRange nor quota is checked by a dry run of the workload: they bite when its pods are made.
    """
    present = _held(scene, target, "limits")
    others = sum(present.values()) - present.get(container, Decimal(0))
    bounds: list[tuple[Decimal, str]] = []
    for ref, limit_range in scene.of_kind("LimitRange"):
        for item in objects(limit_range, "spec", "limits"):
            most = amount(item, "max", "memory")
            if most is None or ref.namespace != target.namespace:
                continue
            says = f"LimitRange {ref.name} allows {text(item, 'max', 'memory')} for a {item.get('type')}"
            if item.get("type") == "Container":
                bounds.append((most, says))
            elif item.get("type") == "Pod":
                bounds.append((most - others, says))
    nodes = [
        (memory, ref.name)
        for ref, node in scene.of_kind("Node")
        if (memory := amount(node, "status", "allocatable", "memory")) is not None
    ]
    if nodes:
        largest, name = max(nodes)
        bounds.append((largest / 2, f"half of the largest node ({name})"))
    room = _room(scene, target, ("limits.memory",), "limits")
    if room is not None:
        bounds.append((present.get(container, Decimal(0)) + room[0], room[1]))
    return min(bounds) if bounds else (None, "")


def _room(scene: Scene, target: ResourceRef, names: tuple[str, ...], part: str) -> tuple[Decimal, str] | None:
    """How much more of the quota each pod may take so that the rollout gets through, and which quota.

    A rolling Deployment makes a pod more before it removes one: that pod has to fit in as well.
    """
    live = scene.get(target) or {}
    pods = max(1, replica_count(live))
    surge = _surge(live, pods)
    pod = sum(_held(scene, target, part).values())
    rooms: list[tuple[Decimal, str]] = []
    for ref, quota in scene.of_kind("ResourceQuota"):
        for name in names:
            hard = amount(quota, "status", "hard", name)
            if hard is None or ref.namespace != target.namespace:
                continue
            used = amount(quota, "status", "used", name) or Decimal(0)
            says = f"ResourceQuota {ref.name} has {hard:f} bytes for {name}, {used:f} used"
            rooms.append(((hard - used - surge * pod) / (pods + surge), says))
    return min(rooms) if rooms else None


def _surge(live: JSON, replicas: int) -> int:
    """How many pods more a rollout makes; the API server's default is a quarter, rounded up."""
    if live.get("kind") != "Deployment" or text(live, "spec", "strategy", "type") == "Recreate":
        return 0
    said = text(live, "spec", "strategy", "rollingUpdate", "maxSurge") or "25%"
    if said.endswith("%") and said[:-1].isdecimal():
        return -(-replicas * int(said[:-1]) // 100)
    return int(said) if said.isdecimal() else 1


def _held(scene: Scene, target: ResourceRef, part: str) -> dict[str, Decimal]:
    """Memory limits (or requests) of the containers; a request that is not set is the limit."""
    found: dict[str, Decimal] = {}
    for item in objects(scene.get(target), "spec", "template", "spec", "containers"):
        held = amount(item, "resources", part, "memory") or amount(item, "resources", "limits", "memory")
        found[text(item, "name")] = held or Decimal(0)
    return found


register(AdjustResources())
