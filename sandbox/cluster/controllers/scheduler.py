"""The scheduler: a Ready node with room for the pod's requests, the emptiest first."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.base import Controller
from sandbox.cluster.controllers.clock import stamp
from sandbox.cluster.controllers.objects import is_true, key_of, labels_match, pod_requests, quantity

COMPONENT = "default-scheduler"
_RETRY_SECONDS = 20.0  # nominal; changes of nodes and pods retry earlier
_MOST_PODS = 110


class Scheduler(Controller):
    """Binds pending pods; explains those that fit nowhere as the real scheduler words it."""

    workers = 1

    def register(self) -> None:
        self.pods = self.context.informers["Pod"]
        self.nodes = self.context.informers["Node"]
        self.pods.add_index("node", lambda pod: [pod["spec"].get("nodeName") or ""])
        self.pods.on_change(self._pod_changed)
        self.nodes.on_change(self._node_changed)

    def _pod_changed(self, old: JSON | None, new: JSON | None) -> None:
        if (
            new is not None
            and not new["spec"].get("nodeName")
            and not new["metadata"].get("deletionTimestamp")
        ):
            if old is None or old["spec"] != new["spec"]:
                self.queue.add(key_of(new))
        elif new is None and old is not None and old["spec"].get("nodeName"):
            self._retry()

    def _node_changed(self, old: JSON | None, new: JSON | None) -> None:
        if old is None or new is None or _offer(old) != _offer(new):
            self._retry()

    def _retry(self) -> None:
        for pod in self.pods.find("node", ""):
            self.queue.add(key_of(pod))

    async def reconcile(self, key: str) -> float | None:
        pod = self.pods.get(key)
        if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            return None
        nodes = self.nodes.all()
        reasons: Counter[str] = Counter()
        fitting: list[tuple[Decimal, int, str]] = []
        for node in nodes:
            here = [one for one in self.pods.find("node", node["metadata"]["name"]) if _occupies(one)]
            why, load = unfit(pod, node, here)
            if why:
                reasons.update(why)
            else:
                fitting.append((load, len(here), node["metadata"]["name"]))
        if fitting:
            await self._bind(pod, min(fitting)[2])
            return None
        await self._explain(pod, len(nodes), reasons)
        return self.context.clock.real(_RETRY_SECONDS)

    async def _bind(self, pod: JSON, node: str) -> None:
        meta = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self.context.cluster.create(
            "Pod", meta["namespace"], binding, subresource="binding", name=meta["name"]
        )
        self.pods.ingest(await self.context.cluster.get("Pod", meta["namespace"], meta["name"]))
        message = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
        self.context.tell("Pod", pod, "Scheduled", message, COMPONENT)

    async def _explain(self, pod: JSON, nodes: int, reasons: Counter[str]) -> None:
        if nodes == 0:
            message = "no nodes available to schedule pods"
        else:
            listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
            short = sum(
                count for reason, count in reasons.items() if reason.startswith(("Insufficient", "Too many"))
            )
            victims = f"{short} No preemption victims found for incoming pod"
            helpless = f"{nodes - short} Preemption is not helpful for scheduling"
            parts = [part for part, shown in ((victims, short > 0), (helpless, nodes > short)) if shown]
            message = (
                f"0/{nodes} nodes are available: {listed}. "
                f"preemption: 0/{nodes} nodes are available: {', '.join(parts)}."
            )
        self.context.tell("Pod", pod, "FailedScheduling", message, COMPONENT, warn=True)
        old = (pod.get("status") or {}).get("conditions") or ()
        if any(entry["type"] == "PodScheduled" and entry.get("message") == message for entry in old):
            return
        entry = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": stamp(self.context.clock.now()),
        }
        await self.context.merge(
            "Pod", pod, {"status": {"phase": "Pending", "conditions": [entry]}}, subresource="status"
        )


def unfit(pod: JSON, node: JSON, here: list[JSON]) -> tuple[list[str], Decimal]:
    """Why the pod cannot go to the node (nothing: it can), and the share of memory then in use."""
    spec = node.get("spec") or {}
    labels = node["metadata"].get("labels") or {}
    if spec.get("unschedulable"):
        return ["node(s) were unschedulable"], Decimal(0)
    for taint in spec.get("taints") or ():
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerates(pod, taint):
            return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"], Decimal(0)
    if not is_true(node, "Ready"):
        return ["node(s) were not ready"], Decimal(0)
    if not labels_match(pod["spec"].get("nodeSelector") or {}, labels) or not _affine(pod, node):
        return ["node(s) didn't match Pod's node affinity/selector"], Decimal(0)
    room = (node.get("status") or {}).get("allocatable") or {}
    used_cpu = used_memory = Decimal(0)
    for other in here:
        cpu, memory = pod_requests(other)
        used_cpu, used_memory = used_cpu + cpu, used_memory + memory
    cpu, memory = pod_requests(pod)
    capacity = quantity(room.get("memory", "1Gi"))
    why: list[str] = []
    if used_cpu + cpu > quantity(room.get("cpu", "1")):
        why.append("Insufficient cpu")
    if used_memory + memory > capacity:
        why.append("Insufficient memory")
    if len(here) + 1 > int(room.get("pods", _MOST_PODS)):
        why.append("Too many pods")
    return why, (used_memory + memory) / max(capacity, Decimal(1))


def tolerates(pod: JSON, taint: JSON) -> bool:
    """Whether one of the pod's tolerations covers the taint."""
    for toleration in pod["spec"].get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if toleration.get("operator") == "Exists":
            if toleration.get("key") in (None, "", taint["key"]):
                return True
        elif toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


def _affine(pod: JSON, node: JSON) -> bool:
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not affinity:
        return True
    labels = node["metadata"].get("labels") or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        fields = all(
            rule["operator"] == "In" and node["metadata"]["name"] in rule["values"]
            for rule in term.get("matchFields") or ()
        )
        named = all(
            labels.get(rule["key"]) in rule.get("values", ())
            if rule["operator"] == "In"
            else (rule["key"] in labels) is (rule["operator"] == "Exists")
            for rule in term.get("matchExpressions") or ()
        )
        if fields and named:
            return True
    return False


def _occupies(pod: JSON) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _offer(node: JSON) -> tuple[object, ...]:
    status = node.get("status") or {}
    return (
        node.get("spec"),
        status.get("allocatable"),
        is_true(node, "Ready"),
        node["metadata"].get("labels"),
    )
