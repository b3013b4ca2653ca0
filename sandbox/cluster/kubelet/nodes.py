"""Node objects and their heartbeats."""

from __future__ import annotations

from datetime import datetime

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.clock import micro_stamp, stamp

LEASE_NAMESPACE = "kube-node-lease"
_HEALTHY = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
}
_PRESSED = {
    "MemoryPressure": ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    "DiskPressure": ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    "PIDPressure": ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
}


def node_object(name: str, cpu: str, memory: str, pods: int) -> JSON:
    """A Node to register."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
        "spec": {},
        "status": {"capacity": {"cpu": cpu, "memory": memory, "pods": str(pods)}},
    }


def node_status(
    *,
    cpu: str,
    memory: str,
    pods: int,
    address: str,
    port: int,
    pressure: frozenset[str],
    now: datetime,
    old: JSON,
) -> JSON:
    """The status of a node whose kubelet is alive. `old` keeps the transition times."""
    before = {entry["type"]: entry for entry in old.get("conditions") or ()}
    conditions = []
    for kind, healthy in _HEALTHY.items():
        pressed = kind in pressure
        reason, message = _PRESSED[kind] if pressed else healthy
        conditions.append(_condition(before, kind, pressed, reason=reason, message=message, now=now))
    conditions.append(
        _condition(
            before, "Ready", True, reason="KubeletReady", message="kubelet is posting ready status", now=now
        )
    )
    room = {"cpu": cpu, "memory": memory, "pods": str(pods), "ephemeral-storage": "100Gi"}
    return {
        "capacity": room,
        "allocatable": dict(room),
        "conditions": conditions,
        "addresses": [{"type": "InternalIP", "address": address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "osImage": "Debian GNU/Linux 12 (bookworm)",
            "kernelVersion": "6.1.0",
            "containerRuntimeVersion": "containerd://1.7.27",
            "kubeletVersion": "v1.32.0",
            "kubeProxyVersion": "v1.32.0",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }


def lease_object(node: str, now: datetime) -> JSON:
    """The lease that a live kubelet renews."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node, "namespace": LEASE_NAMESPACE},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": micro_stamp(now)},
    }


def _condition(
    before: dict[str, JSON],
    kind: str,
    holds: bool,
    *,
    reason: str,
    message: str,
    now: datetime,
) -> JSON:
    status = "True" if holds else "False"
    known = before.get(kind)
    since = known["lastTransitionTime"] if known and known.get("status") == status else stamp(now)
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": stamp(now),
        "lastTransitionTime": since,
    }
