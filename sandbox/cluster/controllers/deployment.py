"""Deployments: one ReplicaSet for each template, rolled within the limits, with history and status."""

from __future__ import annotations

import copy

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.base import Controller
from sandbox.cluster.controllers.clock import parse_stamp
from sandbox.cluster.controllers.objects import condition, owner_reference, owner_uids, template_hash
from sandbox.cluster.controllers.rollout import (
    HASH_LABEL,
    REVISION,
    deployment_status,
    is_complete,
    limits,
    next_scales,
    replicas_of,
    revision_of,
    same_template,
)

COMPONENT = "deployment-controller"
_DEFAULT_DEADLINE = 600
_NO_DEADLINE = 10**7


class DeploymentController(Controller):
    """Rolls ReplicaSets. An old template put back takes up its old ReplicaSet: that undoes a rollout."""

    workers = 4

    def register(self) -> None:
        self.deployments = self.context.informers["Deployment"]
        self.sets = self.context.informers["ReplicaSet"]
        self.sets.add_index("owner", owner_uids)
        self.deployments.on_change(self.enqueue)
        self.enqueue_owner("ReplicaSet")

    async def reconcile(self, key: str) -> float | None:
        deployment = self.deployments.get(key)
        if deployment is None or deployment["metadata"].get("deletionTimestamp"):
            return None
        new, olds = self._split(deployment)
        if not deployment["spec"].get("paused"):
            new = await self._current(deployment, new, olds)
            deployment = await self._number(self.deployments.get(key) or deployment, new)
        for scale in next_scales(deployment, new, olds):
            await self._scale(deployment, scale.replica_set, scale.replicas)
        new, olds = self._split(deployment)
        return await self._report(self.deployments.get(key) or deployment, new, olds)

    def _split(self, deployment: JSON) -> tuple[JSON | None, list[JSON]]:
        owned = [
            one
            for one in self.sets.find("owner", deployment["metadata"]["uid"])
            if not one["metadata"].get("deletionTimestamp")
        ]
        owned.sort(key=lambda one: (str(one["metadata"].get("creationTimestamp")), one["metadata"]["name"]))
        new = next((one for one in owned if same_template(deployment, one)), None)
        return new, [one for one in owned if one is not new]

    async def _current(self, deployment: JSON, new: JSON | None, olds: list[JSON]) -> JSON:
        """The ReplicaSet of the present template, made when missing, with the newest revision."""
        revision = str(max([revision_of(old) for old in olds], default=0) + 1)
        if new is None:
            return await self.context.create("ReplicaSet", replica_set_for(deployment, revision))
        if revision_of(new) < int(revision):
            return await self.context.merge(
                "ReplicaSet", new, {"metadata": {"annotations": {REVISION: revision}}}
            )
        return new

    async def _number(self, deployment: JSON, new: JSON) -> JSON:
        if revision_of(deployment) == revision_of(new):
            return deployment
        return await self.context.merge(
            "Deployment", deployment, {"metadata": {"annotations": {REVISION: str(revision_of(new))}}}
        )

    async def _scale(self, deployment: JSON, replica_set: JSON, replicas: int) -> None:
        before = replicas_of(replica_set)
        await self.context.merge(
            "ReplicaSet",
            replica_set,
            {"metadata": {"annotations": _sizes(deployment)}, "spec": {"replicas": replicas}},
        )
        word = "up" if replicas > before else "down"
        message = f"Scaled {word} replica set {replica_set['metadata']['name']} from {before} to {replicas}"
        self.context.tell("Deployment", deployment, "ScalingReplicaSet", message, COMPONENT)

    async def _report(self, deployment: JSON, new: JSON | None, olds: list[JSON]) -> float | None:
        now = self.context.clock.now()
        deadline = self.context.clock.real(
            deployment["spec"].get("progressDeadlineSeconds", _DEFAULT_DEADLINE) or _NO_DEADLINE
        )
        status = deployment_status(deployment, new, olds, now, real_deadline=deadline)
        old = deployment.get("status") or {}
        if {**old, **{name: value for name, value in status.items() if value or name in old}} != old:
            await self.context.replace("Deployment", {**deployment, "status": status}, subresource="status")
        if is_complete(deployment, status):
            await self._forget_history(deployment, olds)
            return None
        progressing = condition({"status": status}, "Progressing")
        if progressing is None or progressing.get("reason") != "ReplicaSetUpdated":
            return None
        since = parse_stamp(progressing["lastUpdateTime"])
        return max(0.2, deadline - (now - since).total_seconds() + 0.2)

    async def _forget_history(self, deployment: JSON, olds: list[JSON]) -> None:
        keep = deployment["spec"].get("revisionHistoryLimit", 10)
        idle = [
            one for one in olds if replicas_of(one) == 0 and not (one.get("status") or {}).get("replicas")
        ]
        for old in sorted(idle, key=revision_of)[: max(0, len(idle) - keep)]:
            await self.context.delete("ReplicaSet", old)


def replica_set_for(deployment: JSON, revision: str, template: JSON | None = None) -> JSON:
    """A ReplicaSet without pods yet, for the Deployment's template or for one of its past."""
    spec = deployment["spec"]
    mark = template_hash(template or spec["template"])
    made = copy.deepcopy(template or spec["template"])
    labels = made.setdefault("metadata", {}).setdefault("labels", {})
    labels[HASH_LABEL] = mark
    selector = copy.deepcopy(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = mark
    body: JSON = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{mark}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": dict(labels),
            "annotations": {REVISION: revision, **_sizes(deployment)},
            "ownerReferences": [owner_reference(deployment, "apps/v1", "Deployment")],
        },
        "spec": {"replicas": 0, "selector": selector, "template": made},
    }
    if spec.get("minReadySeconds"):
        body["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return body


def _sizes(deployment: JSON) -> dict[str, str]:
    wanted = replicas_of(deployment)
    return {
        "deployment.kubernetes.io/desired-replicas": str(wanted),
        "deployment.kubernetes.io/max-replicas": str(wanted + limits(deployment).surge),
    }
