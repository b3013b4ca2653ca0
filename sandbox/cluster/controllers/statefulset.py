"""StatefulSets: numbered pods, made in order and updated from the highest number down."""

from __future__ import annotations

import copy
import logging

from cortexops.domain.errors import Forbidden, InvalidInput, Rejected
from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.base import Controller
from sandbox.cluster.controllers.objects import (
    is_ready,
    owner_reference,
    owner_uids,
    template_hash,
)
from sandbox.cluster.controllers.pods import pod_from_template

_log = logging.getLogger(__name__)
COMPONENT = "statefulset-controller"
REVISION_LABEL = "controller-revision-hash"


class StatefulSetController(Controller):
    """One step a time: a pod is made or replaced only when those before it are ready."""

    def register(self) -> None:
        self.sets = self.context.informers["StatefulSet"]
        self.pods = self.context.informers["Pod"]
        self.revisions = self.context.informers["ControllerRevision"]
        self.claims = self.context.informers["PersistentVolumeClaim"]
        self._refused: set[str] = set()
        self.pods.add_index("owner", owner_uids)
        self.revisions.add_index("owner", owner_uids)
        self.sets.on_change(self.enqueue)
        self.enqueue_owner("Pod")

    async def reconcile(self, key: str) -> float | None:
        owner = self.sets.get(key)
        if owner is None or owner["metadata"].get("deletionTimestamp"):
            return None
        revision = await self._revision(owner)
        pods = {_ordinal(pod): pod for pod in self.pods.find("owner", owner["metadata"]["uid"])}
        await self._step(owner, revision, pods)
        await self._report(self.sets.get(key) or owner, revision)
        return None

    async def _revision(self, owner: JSON) -> str:
        """The name of the present template's revision, kept as history where the server takes it."""
        name = f"{owner['metadata']['name']}-{template_hash(owner['spec']['template'])}"
        key = f"{owner['metadata']['namespace']}/{name}"
        if self.revisions.get(key) is None and key not in self._refused:
            known = self.revisions.find("owner", owner["metadata"]["uid"])
            number = max([int(one.get("revision", 0)) for one in known], default=0) + 1
            try:
                await self.context.create("ControllerRevision", _revision_object(owner, name, number))
            except (InvalidInput, Rejected) as error:
                _log.warning("no history for %s: %s", key, error)  # pods must not wait for history
                self._refused.add(key)
        return name

    async def _step(self, owner: JSON, revision: str, pods: dict[int, JSON]) -> None:
        wanted = int(owner["spec"].get("replicas", 1))
        together = owner["spec"].get("podManagementPolicy") == "Parallel"
        for ordinal in range(wanted):
            pod = pods.get(ordinal)
            if pod is None:
                await self._make(owner, revision, ordinal)
            elif (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
                await self.context.delete("Pod", pod)
            elif is_ready(pod) and not pod["metadata"].get("deletionTimestamp"):
                continue
            elif _outdated(pod, revision) and not pod["metadata"].get("deletionTimestamp"):
                break  # an update may replace a pod that never became ready
            if not together:
                return
        for ordinal in sorted((one for one in pods if one >= wanted), reverse=True):
            if not pods[ordinal]["metadata"].get("deletionTimestamp"):
                await self.context.delete("Pod", pods[ordinal])
                self._tell(owner, "SuccessfulDelete", f"delete Pod {pods[ordinal]['metadata']['name']}")
            return
        if (owner["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
            return
        for ordinal in sorted(pods, reverse=True):
            pod = pods[ordinal]
            if pod["metadata"].get("deletionTimestamp"):
                return
            if _outdated(pod, revision):
                await self.context.delete("Pod", pod)
                self._tell(owner, "SuccessfulDelete", f"delete Pod {pod['metadata']['name']}")
                return
            if not is_ready(pod):
                return

    async def _make(self, owner: JSON, revision: str, ordinal: int) -> None:
        name = f"{owner['metadata']['name']}-{ordinal}"
        pod = pod_from_template(owner, "apps/v1", "StatefulSet", owner["spec"]["template"], name)
        pod["metadata"]["labels"] |= {REVISION_LABEL: revision, "statefulset.kubernetes.io/pod-name": name}
        pod["spec"] |= {"hostname": name, "subdomain": owner["spec"].get("serviceName", "")}
        for claim in owner["spec"].get("volumeClaimTemplates") or ():
            await self._claim(owner, claim, name, pod)
        try:
            await self.context.create("Pod", pod)
        except (Forbidden, Rejected) as error:
            message = f"create Pod {name} in StatefulSet {owner['metadata']['name']} failed error: {error}"
            self._tell(owner, "FailedCreate", message, warn=True)
            return
        message = f"create Pod {name} in StatefulSet {owner['metadata']['name']} successful"
        self._tell(owner, "SuccessfulCreate", message)

    async def _claim(self, owner: JSON, template: JSON, pod_name: str, pod: JSON) -> None:
        volume, namespace = template["metadata"]["name"], owner["metadata"]["namespace"]
        name = f"{volume}-{pod_name}"
        pod["spec"].setdefault("volumes", []).append(
            {"name": volume, "persistentVolumeClaim": {"claimName": name}}
        )
        if self.claims.get(f"{namespace}/{name}") is not None:
            return
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": copy.deepcopy(template["spec"]),
        }
        made = await self.context.create("PersistentVolumeClaim", body)
        size = (template["spec"].get("resources") or {}).get("requests") or {}
        status = {
            "phase": "Bound",
            "capacity": dict(size),
            "accessModes": list(template["spec"].get("accessModes") or ()),
        }
        await self.context.merge("PersistentVolumeClaim", made, {"status": status}, subresource="status")

    async def _report(self, owner: JSON, revision: str) -> None:
        pods = self.pods.find("owner", owner["metadata"]["uid"])
        updated = sum(not _outdated(pod, revision) for pod in pods)
        ready = sum(is_ready(pod) for pod in pods)
        old = owner.get("status") or {}
        settled = updated == len(pods) and ready == int(owner["spec"].get("replicas", 1))
        status = {
            "observedGeneration": owner["metadata"].get("generation", 1),
            "replicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "updatedReplicas": updated,
            "currentReplicas": updated if settled else len(pods) - updated,
            "currentRevision": revision if settled else old.get("currentRevision", revision),
            "updateRevision": revision,
            "collisionCount": 0,
        }
        if {**old, **status} != old:
            await self.context.replace("StatefulSet", {**owner, "status": status}, subresource="status")

    def _tell(self, owner: JSON, reason: str, message: str, *, warn: bool = False) -> None:
        self.context.tell("StatefulSet", owner, reason, message, COMPONENT, warn=warn)


def _revision_object(owner: JSON, name: str, number: int) -> JSON:
    template = owner["spec"]["template"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(template.get("metadata", {}).get("labels") or {}),
            "ownerReferences": [owner_reference(owner, "apps/v1", "StatefulSet")],
        },
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
        "revision": number,
    }


def _ordinal(pod: JSON) -> int:
    number = str(pod["metadata"]["name"]).rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _outdated(pod: JSON, revision: str) -> bool:
    return (pod["metadata"].get("labels") or {}).get(REVISION_LABEL) != revision
