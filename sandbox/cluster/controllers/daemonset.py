"""DaemonSets: one pod on every node that takes it."""

from __future__ import annotations

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.base import Controller
from sandbox.cluster.controllers.objects import (
    is_active,
    is_ready,
    key_of,
    labels_match,
    owner_uids,
    random_suffix,
    template_hash,
)
from sandbox.cluster.controllers.pods import pod_from_template
from sandbox.cluster.controllers.scheduler import tolerates

COMPONENT = "daemonset-controller"
_TOLERATED = ("not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")


class DaemonSetController(Controller):
    """Keeps one pod a node; an old one is replaced when its template changed, one node at a time."""

    def register(self) -> None:
        self.sets = self.context.informers["DaemonSet"]
        self.pods = self.context.informers["Pod"]
        self.nodes = self.context.informers["Node"]
        self.pods.add_index("owner", owner_uids)
        self.sets.on_change(self.enqueue)
        self.enqueue_owner("Pod")
        self.nodes.on_change(self._node_changed)

    def _node_changed(self, old: JSON | None, new: JSON | None) -> None:
        if old is None or new is None or old.get("spec") != new.get("spec"):
            for one in self.sets.all():
                self.queue.add(key_of(one))

    async def reconcile(self, key: str) -> float | None:
        owner = self.sets.get(key)
        if owner is None or owner["metadata"].get("deletionTimestamp"):
            return None
        mark = template_hash(owner["spec"]["template"])
        pods: dict[str, list[JSON]] = {}
        for pod in self.pods.find("owner", owner["metadata"]["uid"]):
            pods.setdefault(_target(pod), []).append(pod)
        wanted = [node["metadata"]["name"] for node in self.nodes.all() if _eligible(owner, node)]
        updating = False
        for node in wanted:
            here = [pod for pod in pods.get(node, ()) if is_active(pod)]
            if not here and not pods.get(node):
                await self._make(owner, mark, node)
            stale = [pod for pod in here if pod["metadata"]["labels"].get("controller-revision-hash") != mark]
            if stale and not updating:
                updating = True
                await self.context.delete("Pod", stale[0])
        for node in set(pods) - set(wanted):
            for pod in pods[node]:
                if is_active(pod):
                    await self.context.delete("Pod", pod)
        await self._report(self.sets.get(key) or owner, mark, wanted)
        return None

    async def _make(self, owner: JSON, mark: str, node: str) -> None:
        name = f"{owner['metadata']['name']}-{random_suffix()}"
        pod = pod_from_template(owner, "apps/v1", "DaemonSet", owner["spec"]["template"], name)
        pod["metadata"]["labels"]["controller-revision-hash"] = mark
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        pod["spec"].setdefault("affinity", {})["nodeAffinity"] = required
        pod["spec"].setdefault("tolerations", []).extend(
            {"key": f"node.kubernetes.io/{name}", "operator": "Exists"} for name in _TOLERATED
        )
        await self.context.create("Pod", pod)
        self.context.tell("DaemonSet", owner, "SuccessfulCreate", f"Created pod: {name}", COMPONENT)

    async def _report(self, owner: JSON, mark: str, wanted: list[str]) -> None:
        pods = [pod for pod in self.pods.find("owner", owner["metadata"]["uid"]) if is_active(pod)]
        ready = sum(is_ready(pod) for pod in pods)
        status = {
            "observedGeneration": owner["metadata"].get("generation", 1),
            "desiredNumberScheduled": len(wanted),
            "currentNumberScheduled": len(pods),
            "updatedNumberScheduled": sum(
                pod["metadata"]["labels"].get("controller-revision-hash") == mark for pod in pods
            ),
            "numberReady": ready,
            "numberAvailable": ready,
            "numberUnavailable": max(0, len(wanted) - ready),
            "numberMisscheduled": 0,
        }
        old = owner.get("status") or {}
        if {**old, **status} != old:
            await self.context.replace("DaemonSet", {**owner, "status": status}, subresource="status")


def _eligible(owner: JSON, node: JSON) -> bool:
    template = owner["spec"]["template"]
    if not labels_match(template["spec"].get("nodeSelector") or {}, node["metadata"].get("labels")):
        return False
    for taint in (node.get("spec") or {}).get("taints") or ():
        known = str(taint["key"]).removeprefix("node.kubernetes.io/") in _TOLERATED
        if not known and taint.get("effect") != "PreferNoSchedule" and not tolerates(template, taint):
            return False
    return True


def _target(pod: JSON) -> str:
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    required = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return str(required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])
