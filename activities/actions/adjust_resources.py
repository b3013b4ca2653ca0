"""Raise a container's memory: at most twofold, within what the namespace and the nodes allow."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from activities.actions import Listing, register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import replica_count, workload_radius
from cortexops.domain.change import edit, expectation, lookup, pointer
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.quantity import format_bytes, parse_quantity
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.room import Reads, memory_ceiling, memory_room
from cortexops.domain.room import held as held_by
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
            "memory_limit": "new limit; above the present one, at most twice it, within LimitRange, quota and "
            "half of the largest node",
            "memory_request": "new request; at most the new limit",
        },
        permissions=(
            Permission(group="apps", resource="deployments", verbs=("get", "patch")),
            Permission(group="apps", resource="statefulsets", verbs=("get", "patch")),
            Permission(group="apps", resource="daemonsets", verbs=("get", "patch")),
            Permission(group="", resource="resourcequotas", verbs=("list",)),
            Permission(group="", resource="limitranges", verbs=("list",)),
            Permission(group="", resource="nodes", verbs=("list",)),
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
        ceiling = memory_ceiling(scene, target, live, cause.container)
        most = now * _FACTOR if ceiling is None else min(now * _FACTOR, ceiling.most)
        new = parse_quantity(format_bytes(most, at_most=True))
        if new <= now:
            return [
                refused(
                    self.spec,
                    action,
                    Infeasible.BOUND_REACHED,
                    f"the limit {limit} is at its bound: {ceiling.says if ceiling else 'it is none'}",
                )
            ]
        before_request = (resources.get("requests") or {}).get("memory", limit)
        held = parse_quantity(before_request)
        wanted = max(new * _REQUEST_SHARE, held)
        room = memory_room(scene, target, live, ("requests.memory", "memory"), "requests")
        request = min(new, wanted if room is None else max(held, min(wanted, held + room.most)))
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
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def lists(self, action: Action) -> list[Listing]:
        return [
            Listing("LimitRange", action.target.namespace),
            Listing("ResourceQuota", action.target.namespace),
            Listing("Node", needed=False),  # a role for one namespace cannot read them
        ]

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
        ceiling = memory_ceiling(Reads(reads), action.target, live, action.text("container"))
        if ceiling is not None and parse_quantity(limit) > ceiling.most:
            raise Rejected(f"memory_limit {limit} is above what is allowed: {ceiling.says}")
        room = memory_room(Reads(reads), action.target, live, ("requests.memory", "memory"), "requests")
        more = parse_quantity(request) - held_by(live, "requests").get(action.text("container"), Decimal(0))
        if room is not None and more > max(room.most, Decimal(0)):
            raise Rejected(f"memory_request {request} is above what is left: {room.says}")
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


register(AdjustResources())
