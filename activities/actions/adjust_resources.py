"""Raise a container's memory or CPU: at most twofold, within what the namespace and the nodes allow."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from activities.actions import Listing, register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import replica_count, workload_radius
from cortexops.domain.change import edit, expectation, pointer
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis
from cortexops.domain.fitting import on_object
from cortexops.domain.kubernetes.pods import spec_of
from cortexops.domain.kubernetes.values import mapping
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.remedies import given_otherwise, grows_slowly, heap_of, lowered_from
from cortexops.domain.resizing import CPU, MEMORY, SORTS, NoRaise, check, raise_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.room import Reads
from cortexops.domain.scene import Scene
from cortexops.domain.workload import (
    affected_workload,
    container_index,
    offered,
    patch_of,
    refused,
)

_REQUEST_SHARE = Decimal("0.75")  # of the new memory limit (seed 000: 1Gi limit, 768Mi request)
_EFFECT = {
    Category.OOM_LIMIT_TOO_LOW: 0.85,
    Category.OOM_AFTER_RELEASE: 0.8,
    Category.MEMORY_LEAK: 0.3,
    Category.CPU_THROTTLING: 0.8,
}
_WARNING = {
    MEMORY: "Verify usage first: when memory grows without bound, more only delays the next kill.",
    CPU: "More CPU takes it from the neighbours, and does not help where one thread does all the work.",
}


class AdjustResources:
    spec = ActionSpec(
        type="adjust_resources",
        title="Adjust resources",
        description="Set a container's memory or CPU limit and request. The pods are rolled.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("Deployment", "StatefulSet", "DaemonSet"),
        params={
            "container": "name of the container",
            "memory_limit": "new limit; above the present one, at most twice it, within LimitRange, quota and "
            "half of the largest node",
            "memory_request": "new request; at most the new limit, within the quota",
            "cpu_limit": "instead of memory or besides: the same for CPU, with the same bounds",
            "cpu_request": "goes with `cpu_limit`; at most the new limit, within the quota",
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
        found = on_object(self.spec, scene, target, {"container": cause.container})
        if isinstance(found, list):
            return found
        action, live = found
        sort = CPU if cause.category is Category.CPU_THROTTLING else MEMORY
        used = _cores_used(scene, target, cause.container)
        made = raise_of(
            scene,
            target,
            live,
            cause.container,
            sort,
            lambda new: used if sort is CPU else new * _REQUEST_SHARE,
        )
        if isinstance(made, NoRaise):
            reason = Infeasible.NO_LIMIT_SET if made.unlimited else Infeasible.BOUND_REACHED
            return [refused(self.spec, action, reason, made.why)]
        own = spec_of(mapping(live, "spec", "template"), cause.container)
        given = given_otherwise(scene, target, own, sort.name)
        if given:
            why = (
                f"pods of {target} are given {given} whatever its template says ({made.limit_now}): an autoscaler or "
                "admission sets it, and what sets it has to be changed"
            )
            return [refused(self.spec, action, Infeasible.SET_BY_ANOTHER, why)]
        heap = heap_of(own) if sort is MEMORY else None
        if heap is not None and heap[0] >= parse_quantity(made.limit):
            why = (
                f"{heap[1]} lets the heap of {cause.container} alone grow to {made.limit} or more: lower that"
            )
            return [refused(self.spec, action, Infeasible.NOT_THE_CAUSE, why)]
        volume = cause.facts.get("memory_volume", "") if sort is MEMORY else ""
        if volume:
            why = (
                f"volume {volume} is kept in memory and takes what it is given: bound it, or keep it on disk"
            )
            return [refused(self.spec, action, Infeasible.NOT_THE_CAUSE, why)]
        effect, contains = _use(scene, cause, target, sort.name, made.limit)
        trouble = "throttled" if sort is CPU else "killed"
        params = {f"{sort.name}_limit": made.limit, f"{sort.name}_request": made.request}
        return [
            offered(
                self.spec,
                action.model_copy(update={"params": {"container": cause.container, **params}}),
                effect=effect,
                why=f"{cause.container} is {trouble} at its {_said(sort.name)} limit of {made.limit_now}; "
                f"{made.limit} leaves it room",
                radius=workload_radius(scene, target),
                commands=(
                    f"kubectl -n {shlex.quote(target.namespace)} set resources "
                    f"{target.kind.lower()}/{shlex.quote(target.name)} -c {shlex.quote(cause.container)} "
                    f"--limits={sort.name}={made.limit} --requests={sort.name}={made.request}",
                ),
                caveats=(_WARNING[sort], "All pods of the workload are replaced, one after the other."),
                before={"limits": {sort.name: made.limit_now}, "requests": {sort.name: made.request_now}},
                after={"limits": {sort.name: made.limit}, "requests": {sort.name: made.request}},
                live=live,
                contains=contains,
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
        container = action.text("container")
        base = pointer("spec", "template", "spec", "containers", container_index(live, container))
        edits = []
        for sort in [sort for sort in SORTS if _names(action, sort.name)] or [MEMORY]:
            limit, request = action.text(f"{sort.name}_limit"), action.text(f"{sort.name}_request")
            check(Reads(reads), action.target, live, container, sort, limit, request)
            edits += [
                edit(live, f"{base}/resources/limits/{sort.name}", limit),
                edit(live, f"{base}/resources/requests/{sort.name}", request),
            ]
        change = patch_of(live, action.target, edits, [expectation(live, f"{base}/name")])
        return Prepared(action=action, change=change, expected_replicas=replica_count(live))


def _names(action: Action, resource: str) -> bool:
    return f"{resource}_limit" in action.params or f"{resource}_request" in action.params


def _said(resource: str) -> str:
    return resource.upper() if resource == "cpu" else resource


def _cores_used(scene: Scene, target: ResourceRef, container: str) -> Decimal:
    """The most that was measured of one of its pods: it should have asked for so much at least."""
    own = {target, *(ref for ref, _ in scene.pods_of(target))}
    used = [
        m.value for m in scene.measured
        if m.what == "cpu_cores" and m.container == container and m.about in own and m.value > 0
    ]  # fmt: skip
    return Decimal(str(round(max(used, default=0.0), 3)))


def _use(
    scene: Scene, cause: Hypothesis, target: ResourceRef, resource: str, limit: str
) -> tuple[float, bool]:
    """How likely the new limit mends the cause, and whether it only gains time: memory that grows without end
    fills any limit, and less than it had before the release that cut it may be too little again."""
    effect = _EFFECT[cause.category]
    if cause.category is Category.MEMORY_LEAK:
        return effect, True
    if cause.category is Category.OOM_AFTER_RELEASE and grows_slowly(scene, target, cause.container):
        return 0.3, True
    had = lowered_from(scene, target, cause.container, resource)
    if had and parse_quantity(had) > parse_quantity(limit):
        return 0.4, True
    return effect, False


register(AdjustResources())
