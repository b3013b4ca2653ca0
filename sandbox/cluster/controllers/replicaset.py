"""ReplicaSets: as many pods as `spec.replicas` says."""

from __future__ import annotations

from cortexops.domain.errors import Forbidden, Rejected
from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.base import Controller
from sandbox.cluster.controllers.objects import (
    is_active,
    is_available,
    is_ready,
    key_of,
    labels_match,
    owner_uids,
    random_suffix,
    with_condition,
)
from sandbox.cluster.controllers.pods import deletion_order, pod_from_template

COMPONENT = "replicaset-controller"


class ReplicaSetController(Controller):
    """Creates and deletes pods and reports how many are ready and available."""

    workers = 4

    def register(self) -> None:
        self.sets = self.context.informers["ReplicaSet"]
        self.pods = self.context.informers["Pod"]
        self.pods.add_index("owner", owner_uids)
        self.sets.on_change(self.enqueue)
        self.enqueue_owner("Pod")

    async def reconcile(self, key: str) -> float | None:
        owner = self.sets.get(key)
        if owner is None or owner["metadata"].get("deletionTimestamp"):
            return None
        pods = [pod for pod in self.pods.find("owner", owner["metadata"]["uid"]) if is_active(pod)]
        wanted = int(owner["spec"].get("replicas", 1))
        refusal = ""
        if len(pods) < wanted:
            refusal = await self._create(owner, wanted - len(pods))
        elif len(pods) > wanted:
            for pod in deletion_order(pods)[: len(pods) - wanted]:
                await self.context.delete("Pod", pod)
                self.context.tell(
                    "ReplicaSet",
                    owner,
                    "SuccessfulDelete",
                    f"Deleted pod: {pod['metadata']['name']}",
                    COMPONENT,
                )
        return await self._report(self.sets.get(key) or owner, refusal)

    async def _create(self, owner: JSON, count: int) -> str:
        """Create pods; answers why the API server refused, or nothing."""
        for _ in range(count):
            name = f"{owner['metadata']['name']}-{random_suffix()}"
            pod = pod_from_template(owner, "apps/v1", "ReplicaSet", owner["spec"]["template"], name)
            try:
                await self.context.create("Pod", pod)
            except (Forbidden, Rejected) as error:
                message = f"Error creating: {error}"
                self.context.tell("ReplicaSet", owner, "FailedCreate", message, COMPONENT, warn=True)
                return str(error)
            self.context.tell("ReplicaSet", owner, "SuccessfulCreate", f"Created pod: {name}", COMPONENT)
        return ""

    async def _report(self, owner: JSON, refusal: str) -> float | None:
        now = self.context.clock.now()
        pods = [pod for pod in self.pods.find("owner", owner["metadata"]["uid"]) if is_active(pod)]
        hold = self.context.clock.real(owner["spec"].get("minReadySeconds", 0))
        labels = owner["spec"]["template"].get("metadata", {}).get("labels") or {}
        ready = [pod for pod in pods if is_ready(pod)]
        available = [pod for pod in ready if is_available(pod, hold, now)]
        old = owner.get("status") or {}
        conditions = [entry for entry in old.get("conditions") or () if entry["type"] != "ReplicaFailure"]
        if refusal:
            conditions = with_condition(
                old.get("conditions") or (), "ReplicaFailure", "True", "FailedCreate", refusal, now=now
            )
        status: JSON = {
            "replicas": len(pods),
            "fullyLabeledReplicas": sum(labels_match(labels, p["metadata"].get("labels")) for p in pods),
            "readyReplicas": len(ready),
            "availableReplicas": len(available),
            "observedGeneration": owner["metadata"].get("generation", 1),
        }
        if conditions:
            status["conditions"] = conditions
        if {name: value for name, value in old.items() if value or name == "replicas"} != {
            name: value for name, value in status.items() if value or name == "replicas"
        }:
            await self.context.replace("ReplicaSet", {**owner, "status": status}, subresource="status")
        if refusal:
            self.queue.add_failed(key_of(owner))
        return max(0.1, hold) if len(available) < len(ready) else None
