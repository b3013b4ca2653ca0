"""Nodes that stop renewing their lease: Ready Unknown, taints, pods not ready, then eviction."""

from __future__ import annotations

import asyncio

from cortexops.domain.errors import NotFound
from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.base import Context, Controller
from sandbox.cluster.controllers.clock import stamp
from sandbox.cluster.controllers.objects import condition, is_true, key_of, with_condition
from sandbox.cluster.controllers.scheduler import tolerates

COMPONENT = "node-controller"
LEASE_NAMESPACE = "kube-node-lease"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_NOT_READY = "node.kubernetes.io/not-ready"
_OURS = (_UNREACHABLE, _NOT_READY)
_KUBELET_CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
_UNKNOWN = "Kubelet stopped posting node status."


class NodeLifecycle(Controller):
    """`grace` and `eviction` are seconds of wall clock; the pods' own tolerations can lengthen the latter."""

    workers = 1

    def __init__(self, context: Context, *, grace: float, eviction: float) -> None:
        self._grace = grace
        self._eviction = eviction
        self._renewed: dict[str, tuple[str, float]] = {}
        self._lost_at: dict[str, float] = {}
        super().__init__(context)

    def register(self) -> None:
        self.nodes = self.context.informers["Node"]
        self.pods = self.context.informers["Pod"]
        self.leases = self.context.informers["Lease"]
        self.pods.add_index("node", lambda pod: [pod["spec"].get("nodeName") or ""])
        self.nodes.on_change(self.enqueue)
        self.leases.on_change(self._lease_changed)
        self.pods.on_change(self._pod_changed)

    def _lease_changed(self, _old: JSON | None, new: JSON | None) -> None:
        if new is not None and new["metadata"].get("namespace") == LEASE_NAMESPACE:
            renewed = str((new.get("spec") or {}).get("renewTime", ""))
            name = new["metadata"]["name"]
            if self._renewed.get(name, ("", 0.0))[0] != renewed:
                self._renewed[name] = (renewed, asyncio.get_running_loop().time())
                self.queue.add(f"/{name}")

    def _pod_changed(self, _old: JSON | None, new: JSON | None) -> None:
        if new is not None and new["spec"].get("nodeName") in self._lost_at:
            self.queue.add(f"/{new['spec']['nodeName']}")

    async def reconcile(self, key: str) -> float | None:
        node = self.nodes.get(key)
        if node is None:
            return None
        name = node["metadata"]["name"]
        now = asyncio.get_running_loop().time()
        seen = self._renewed.setdefault(name, ("", now))[1]
        if now - seen < self._grace:
            if self._lost_at.pop(name, None) is not None or not _tidy(node):
                await self._sync_taints(self.nodes.get(key) or node)
            return self._grace - (now - seen) + 0.05
        if name not in self._lost_at:
            self._lost_at[name] = now
            await self._mark_unknown(node)
        await self._sync_taints(self.nodes.get(key) or node)
        await self._pods_not_ready(name)
        due = self._lost_at[name] + self._eviction - now
        if due > 0:
            return due
        return await self._evict(name)

    async def _mark_unknown(self, node: JSON) -> None:
        conditions = list((node.get("status") or {}).get("conditions") or ())
        was_ready = is_true(node, "Ready")
        for kind in _KUBELET_CONDITIONS:
            conditions = with_condition(
                conditions, kind, "Unknown", "NodeStatusUnknown", _UNKNOWN, now=self.context.clock.now()
            )
        before = {entry["type"]: entry for entry in (node.get("status") or {}).get("conditions") or ()}
        for entry in conditions:
            entry.setdefault("lastHeartbeatTime", before.get(entry["type"], {}).get("lastHeartbeatTime"))
        await self.context.merge("Node", node, {"status": {"conditions": conditions}}, subresource="status")
        if was_ready:
            message = f"Node {node['metadata']['name']} status is now: NodeNotReady"
            self.context.tell("Node", node, "NodeNotReady", message, COMPONENT)

    async def _sync_taints(self, node: JSON) -> None:
        taints = (node.get("spec") or {}).get("taints") or []
        if _tidy(node):
            return
        kept = [taint for taint in taints if taint["key"] not in _OURS]
        key = _wanted_taint(node)
        if key:
            added = stamp(self.context.clock.now())
            kept.append({"key": key, "effect": "NoSchedule", "timeAdded": added})
            kept.append({"key": key, "effect": "NoExecute", "timeAdded": added})
        await self.context.merge("Node", node, {"spec": {"taints": kept or None}})

    async def _pods_not_ready(self, node: str) -> None:
        for pod in self.pods.find("node", node):
            if not is_true(pod, "Ready"):
                continue
            conditions = with_condition(
                pod["status"]["conditions"], "Ready", "False", "", "", now=self.context.clock.now()
            )
            for entry in conditions:
                if entry["type"] == "Ready":
                    entry.pop("reason", None)
                    entry.pop("message", None)
            try:
                await self.context.merge(
                    "Pod", pod, {"status": {"conditions": conditions}}, subresource="status"
                )
            except NotFound:
                continue
            self.context.tell("Pod", pod, "NodeNotReady", "Node is not ready", COMPONENT, warn=True)

    async def _evict(self, node: str) -> float | None:
        taint = {"key": _UNREACHABLE, "effect": "NoExecute"}
        for pod in self.pods.find("node", node):
            owner = (pod["metadata"].get("ownerReferences") or [{}])[0]
            forever = owner.get("kind") == "DaemonSet" or (
                tolerates(pod, taint) and not _limited(pod, taint["key"])
            )
            if pod["metadata"].get("deletionTimestamp") or forever:
                continue
            self.context.tell(
                "Pod",
                pod,
                "TaintManagerEviction",
                f"Marking for deletion Pod {key_of(pod)}",
                "taint-eviction-controller",
            )
            await self.context.delete("Pod", pod)
        return None


def _limited(pod: JSON, key: str) -> bool:
    return any(
        toleration.get("key") == key and toleration.get("tolerationSeconds") is not None
        for toleration in pod["spec"].get("tolerations") or ()
    )


def _wanted_taint(node: JSON) -> str:
    ready = condition(node, "Ready") or {"status": "Unknown"}
    return {"True": "", "False": _NOT_READY}.get(ready["status"], _UNREACHABLE)


def _tidy(node: JSON) -> bool:
    """Whether the taints say what the Ready condition says."""
    have = {taint["key"] for taint in (node.get("spec") or {}).get("taints") or () if taint["key"] in _OURS}
    wanted = _wanted_taint(node)
    return have == ({wanted} if wanted else set())
