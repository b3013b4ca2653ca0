"""Set a workload's number of replicas."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from activities.actions import Listing, register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import replica_count, workload_radius
from cortexops.domain.change import edit
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import on_object
from cortexops.domain.kubernetes.selectors import matches
from cortexops.domain.kubernetes.values import mapping, number, texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.room import Known, Reads, pods_at_most
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation
from cortexops.domain.workload import affected_workload, offered, patch_of, refused

_MOST = 50  # replicas; beyond this a person decides


class ScaleWorkload:
    spec = ActionSpec(
        type="scale_workload",
        title="Scale",
        description="Set the number of replicas of a Deployment or StatefulSet.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("Deployment", "StatefulSet"),
        params={"replicas": f"the new number, 1 to {_MOST}, at most twice the present one (or 1 from zero)"},
        permissions=(
            Permission(group="apps", resource="deployments", verbs=("get", "patch")),
            Permission(group="apps", resource="statefulsets", verbs=("get", "patch")),
            Permission(group="autoscaling", resource="horizontalpodautoscalers", verbs=("list",)),
            Permission(group="policy", resource="poddisruptionbudgets", verbs=("list",)),
            Permission(group="", resource="resourcequotas", verbs=("list",)),
            Permission(group="", resource="nodes", verbs=("list",)),
        ),
        criteria=("rollout_complete", "replicas_ready", "no_new_restarts"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        cause = diagnosis.cause
        target = affected_workload(scene, diagnosis)
        if cause is None or cause.category is not Category.SCALED_TO_ZERO or target is None:
            return []
        if target.kind not in self.spec.kinds:
            return []
        found = on_object(self.spec, scene, target, params={"replicas": 1})
        if isinstance(found, list):
            return found
        action, live = found
        if replica_count(live) > 0:
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, f"{target} has replicas")]
        scalers = scene.topology.into(target, Relation.SCALES)
        if scalers:
            return [
                refused(
                    self.spec, action, Infeasible.SCALED_BY_HPA, f"{scalers[0]} sets the replicas of {target}"
                )
            ]
        return [
            offered(
                self.spec,
                action,
                effect=0.5,
                why="it has no replicas at all; one brings it back, more are for a person to decide",
                radius=workload_radius(scene, target, replicas=1),
                commands=(
                    f"kubectl -n {shlex.quote(target.namespace)} scale "
                    f"{target.kind.lower()}/{shlex.quote(target.name)} --replicas=1",
                ),
                caveats=("Ask first whether somebody scaled it to zero on purpose.",),
                before={"replicas": 0},
                after={"replicas": 1},
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def lists(self, action: Action) -> list[Listing]:
        namespace = action.target.namespace
        return [
            Listing("HorizontalPodAutoscaler", namespace),
            Listing("PodDisruptionBudget", namespace),
            Listing("ResourceQuota", namespace),
            Listing("Node", needed=False),  # a role for one namespace cannot read them
        ]

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        wanted = action.whole_number("replicas")
        present = replica_count(live)
        if not 1 <= wanted <= min(_MOST, max(1, present * 2)):
            raise Rejected(f"replicas {wanted} is not between 1 and {min(_MOST, max(1, present * 2))}")
        _check_others(Reads(reads), action.target, live, wanted)
        change = patch_of(live, action.target, [edit(live, "/spec/replicas", wanted)], [])
        return Prepared(action=action, change=change, expected_replicas=wanted)


def _check_others(known: Known, target: ResourceRef, live: JSON, wanted: int) -> None:
    """Raise `Rejected` where an autoscaler, a disruption budget, the quota or the nodes speak against it."""
    for ref, scaler in known.of_kind("HorizontalPodAutoscaler"):
        scaled = mapping(scaler, "spec", "scaleTargetRef")
        if (scaled.get("kind"), scaled.get("name")) != (target.kind, target.name):
            continue
        least = number(scaler, "spec", "minReplicas", default=1)
        most = number(scaler, "spec", "maxReplicas")
        if not least <= wanted <= most:
            raise Rejected(f"{ref} keeps {target} between {least} and {most} replicas")
        if replica_count(live) > 0:  # at zero it is switched off and sets nothing
            raise Rejected(f"{ref} sets the replicas of {target}: it would set them back")
    if wanted < replica_count(live):
        labels = texts(live, "spec", "template", "metadata", "labels")
        for ref, budget in known.of_kind("PodDisruptionBudget"):
            if ref.namespace != target.namespace or not matches(mapping(budget, "spec", "selector"), labels):
                continue
            least = number(budget, "status", "desiredHealthy")
            if wanted < least:
                raise Rejected(f"{ref} needs {least} healthy pods of {target}")
        return
    bound = pods_at_most(known, target.namespace, live)
    if bound is not None and wanted > bound.most:
        raise Rejected(f"replicas {wanted} is above what there is room for: {bound.says}")


register(ScaleWorkload())
