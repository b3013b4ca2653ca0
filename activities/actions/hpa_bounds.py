"""Let an autoscaler that is at its maximum have more replicas."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from activities.actions import Listing, register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import edit, expectation
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import on_cause
from cortexops.domain.kubernetes.values import number, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.room import Known, Reads, pods_at_most
from cortexops.domain.scene import Scene
from cortexops.domain.workload import offered, patch_of, refused

_FACTOR = 2
_SCALABLE = ("Deployment", "StatefulSet")


class HpaBounds:
    spec = ActionSpec(
        type="hpa_bounds",
        title="Raise autoscaler maximum",
        description="Raise maxReplicas of a HorizontalPodAutoscaler that is at its maximum.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("HorizontalPodAutoscaler",),
        params={
            "max_replicas": "the new maximum; above the present one, at most twice it, within the quota and what "
            "all nodes together hold",
        },
        permissions=(
            Permission(group="autoscaling", resource="horizontalpodautoscalers", verbs=("get", "patch")),
            Permission(group="apps", resource="deployments", verbs=("get", "list")),
            Permission(group="apps", resource="statefulsets", verbs=("get", "list")),
            Permission(group="", resource="resourcequotas", verbs=("list",)),
            Permission(group="", resource="nodes", verbs=("list",)),
        ),
        criteria=("change_in_place", "autoscaler_follows", "replicas_ready"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.HPA_MAXED_OUT)
        if isinstance(found, list):
            return found
        action, live = found
        target = action.target
        present = number(live, "spec", "maxReplicas")
        most, bound = _most(scene, target, live)
        wanted = min(most, present + max(1, present // 2))
        if wanted <= present:
            why = f"the maximum {present} is at its bound: {bound}"
            return [refused(self.spec, action, Infeasible.BOUND_REACHED, why)]
        workload = _scaled(target, live)
        patch = f'{{"spec":{{"maxReplicas":{wanted}}}}}'
        return [
            offered(
                self.spec,
                action.model_copy(update={"params": {"max_replicas": wanted}}),
                effect=0.7,
                why=f"it has all {present} replicas that it may have and wants more; there is room for {wanted}",
                radius=workload_radius(scene, workload or target, replicas=wanted - present),
                commands=(
                    f"kubectl -n {shlex.quote(target.namespace)} patch hpa {shlex.quote(target.name)} "
                    f"--type merge -p {shlex.quote(patch)}",
                ),
                caveats=("More pods may ask more of databases and other servers than they can give.",),
                before={"maxReplicas": present},
                after={"maxReplicas": wanted},
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def lists(self, action: Action) -> list[Listing]:
        namespace = action.target.namespace
        return [
            Listing("Deployment", namespace),
            Listing("StatefulSet", namespace),
            Listing("ResourceQuota", namespace),
            Listing("Node", needed=False),  # a role for one namespace cannot read them
        ]

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        wanted, present = action.whole_number("max_replicas"), number(live, "spec", "maxReplicas")
        if not present < wanted <= present * _FACTOR:
            raise Rejected(f"max_replicas {wanted} is not above {present} and at most {_FACTOR} times it")
        most, bound = _most(Reads(reads), action.target, live)
        if wanted > most:
            raise Rejected(f"max_replicas {wanted} is above what there is room for: {bound}")
        change = patch_of(
            live,
            action.target,
            [edit(live, "/spec/maxReplicas", wanted)],
            [
                expectation(live, "/spec/scaleTargetRef/kind"),
                expectation(live, "/spec/scaleTargetRef/name"),
            ],
        )
        return Prepared(action=action, change=change, expected_replicas=1)


def _scaled(target: ResourceRef, scaler: JSON) -> ResourceRef | None:
    """The workload that the autoscaler sets the replicas of."""
    kind, name = (text(scaler, "spec", "scaleTargetRef", part) for part in ("kind", "name"))
    return target.model_copy(update={"kind": kind, "name": name}) if kind in _SCALABLE and name else None


def _most(known: Known, target: ResourceRef, scaler: JSON) -> tuple[int, str]:
    """The highest maximum that may be set, and what says so."""
    twice = number(scaler, "spec", "maxReplicas") * _FACTOR
    workload = _scaled(target, scaler)
    live = (
        next((obj for ref, obj in known.of_kind(workload.kind) if ref == workload), None)
        if workload
        else None
    )
    room = pods_at_most(known, target.namespace, live) if live is not None else None
    if room is not None and room.most < twice:
        return int(room.most), room.says
    return twice, f"twice the present maximum is {twice}"


register(HpaBounds())
