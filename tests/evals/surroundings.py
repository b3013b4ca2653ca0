"""What stands around workloads: Services with their endpoints, configuration, nodes, events."""
# ruff: noqa: E501 - one condition or status a line reads best

from __future__ import annotations

import base64
import json

from tests.evals.shapes import JSON, ago, certificate, entry, hash_of, managed, merge, uid_of
from tests.evals.workloads import Workloads


class Cluster(Workloads):
    """All objects of one cluster."""

    def service(self, key: str, short: JSON | None) -> None:
        namespace, _, name = key.rpartition("/")
        namespace, short = namespace or self.namespace, dict(short or {})
        number = int(hash_of(name, namespace, size=2).encode().hex(), 16) % 250
        spec: JSON = {
            "type": "ClusterIP",
            "clusterIP": f"10.96.{number}.{len(name)}",
            "selector": {"app": name},
            "ports": [
                {"name": "http", "port": 80, "protocol": "TCP", "targetPort": short.get("target", 8080)}
            ],
        }
        spec = merge(spec, short.get("spec", {}))
        if "selector" in short:
            spec["selector"] = short["selector"]
        if spec.get("type") == "ExternalName":
            spec.pop("selector"), spec.pop("clusterIP")
        self.add(
            "v1",
            "Service",
            name,
            namespace,
            short.get("age", "60d"),
            {"spec": spec, "status": {"loadBalancer": {}}},
            managedFields=managed(short.get("managed", {}), "v1"),
        )
        if not spec.get("selector"):
            return
        endpoints = []
        for pod in self.objects:
            if (
                pod["kind"] == "Pod"
                and pod["metadata"].get("namespace") == namespace
                and spec["selector"].items() <= pod["metadata"]["labels"].items()
                and pod.get("status", {}).get("phase") == "Running"
            ):
                ready = any(
                    c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"]
                )
                endpoints.append(
                    {
                        "addresses": [pod["status"].get("podIP", "10.244.1.9")],
                        "conditions": {"ready": ready, "serving": ready, "terminating": False},
                        "nodeName": pod["spec"].get("nodeName"),
                        "targetRef": {
                            "kind": "Pod",
                            "name": pod["metadata"]["name"],
                            "namespace": namespace,
                            "uid": pod["metadata"]["uid"],
                        },
                    }
                )
        self.add(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            f"{name}-{hash_of(name, namespace, 'es', size=5)}",
            namespace,
            short.get("age", "60d"),
            {
                "addressType": "IPv4",
                "endpoints": endpoints or None,
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            },
            labels={
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        )

    def config(self, kind: str, key: str, short: JSON) -> None:
        namespace, _, name = key.rpartition("/")
        data = {k: str(v) for k, v in (short.get("data") or {}).items()}
        body: JSON = {"data": data}
        if kind == "Secret":
            if "tls" in short:
                data |= certificate(
                    short["tls"].get("host", "shop.acme.dev"),
                    str(short["tls"]["from"]),
                    str(short["tls"]["to"]),
                )
            body = {
                "type": short.get("type", "kubernetes.io/tls" if "tls" in short else "Opaque"),
                "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
            }
        changed = short.get("changed") or {}
        fields: dict[str, list[str]] = {}
        for field, when in changed.items():
            fields.setdefault(when, []).append(field)
        age = short.get("age", "60d")
        rest = [k for k in data if k not in changed]
        entries = [
            entry(short.get("by", "helm"), "v1", age, {"f:data": {".": {}, **{f"f:{k}": {} for k in rest}}})
        ]
        for when, names in fields.items():
            span_, _, manager = when.partition(" ")
            entries.append(
                entry(manager or "kubectl-edit", "v1", span_, {"f:data": {f"f:{k}": {} for k in names}})
            )
        metadata: JSON = {"managedFields": entries}
        if short.get("applied"):
            metadata["annotations"] = {
                "kubectl.kubernetes.io/last-applied-configuration": json.dumps(
                    {"apiVersion": "v1", "kind": kind, "data": short["applied"]}
                )
            }
        self.add("v1", kind, name, namespace or self.namespace, age, body, **metadata)

    def node(self, name: str, short: JSON | None) -> None:
        short = dict(short or {})
        ready = short.get("ready", "True")
        since = ago(short.get("since", "9m")) if ready != "True" else ago("90d")
        reason, message = {
            "True": ("KubeletReady", "kubelet is posting ready status"),
            "Unknown": ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            "False": (
                "KubeletNotReady",
                short.get(
                    "message",
                    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
                ),
            ),
        }[ready]
        pressures = {
            "MemoryPressure": ("KubeletHasSufficientMemory", "KubeletHasInsufficientMemory"),
            "DiskPressure": ("KubeletHasNoDiskPressure", "KubeletHasDiskPressure"),
            "PIDPressure": ("KubeletHasSufficientPID", "KubeletHasInsufficientPID"),
        }
        conditions = [
            {"type": kind, "status": ("Unknown" if ready == "Unknown" else "True" if kind == short.get("pressure") else "False"), "reason": (reason if ready == "Unknown" else words[kind == short.get("pressure")]), "lastHeartbeatTime": ago("1m"), "lastTransitionTime": ago(short.get("since", "9m")) if kind == short.get("pressure") else ago("90d")}
            for kind, words in pressures.items()
        ]  # fmt: skip
        conditions.append(
            {
                "type": "Ready",
                "status": ready,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": ago("1m"),
                "lastTransitionTime": since,
            }
        )
        conditions += short.get("conditions", [])
        taints = list(short.get("taints", []))
        if ready == "Unknown":
            taints += [
                {"key": "node.kubernetes.io/unreachable", "effect": effect, "timeAdded": since}
                for effect in ("NoSchedule", "NoExecute")
            ]
        if ready == "False":
            taints += [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": since}]
        if short.get("unschedulable"):
            taints.append(
                {
                    "key": "node.kubernetes.io/unschedulable",
                    "effect": "NoSchedule",
                    "timeAdded": ago(short["unschedulable"]),
                }
            )
        spec: JSON = {
            "podCIDR": "10.244.1.0/24",
            **({"taints": taints} if taints else {}),
            **({"unschedulable": True} if short.get("unschedulable") else {}),
        }
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": short.get("zone", "eu-west-1a"),
            **short.get("labels", {}),
        }
        status = {
            "conditions": conditions,
            "allocatable": {"cpu": "4", "memory": "15Gi", "pods": "110"},
            "capacity": {"cpu": "4", "memory": "16Gi", "pods": "110"},
            "nodeInfo": {"architecture": short.get("arch", "amd64"), "kubeletVersion": "v1.29.4"},
        }
        managed = (
            [entry("kubectl-cordon", "v1", short["unschedulable"], {"f:spec": {"f:unschedulable": {}}})]
            if short.get("unschedulable")
            else []
        )
        self.add(
            "v1",
            "Node",
            name,
            "",
            "90d",
            {"spec": spec, "status": status},
            labels=labels,
            managedFields=managed,
        )

    def event(self, number: int, about: str, reason: str, message: str, more: JSON) -> None:
        kind, *rest = about.split("/")
        namespace, name = (
            (rest[0], rest[1]) if len(rest) == 2 else ("" if kind in ("Node",) else self.namespace, rest[0])
        )
        where = more.get("in") or namespace or "default"
        involved: JSON = {"kind": kind, "name": name, "uid": uid_of(kind, namespace, name)}
        if namespace:
            involved["namespace"] = namespace
        if more.get("container"):
            involved["fieldPath"] = f"spec.containers{{{more['container']}}}"
        body: JSON = {
            "involvedObject": involved, "reason": reason, "message": message, "type": more.get("type", "Warning"), "count": more.get("count", 6),
            "firstTimestamp": ago(more.get("first", "9m")), "lastTimestamp": ago(more.get("last", "1m")),
            "source": {"component": more.get("from", "kubelet")}, "eventTime": None, "reportingComponent": "", "reportingInstance": "",
        }  # fmt: skip
        if more.get("new_style"):
            body |= {
                "firstTimestamp": None,
                "lastTimestamp": None,
                "count": 0,
                "eventTime": ago(more.get("first", "9m")).replace("Z", ".004211Z"),
                "series": {
                    "count": more.get("count", 6),
                    "lastObservedTime": ago(more.get("last", "1m")).replace("Z", ".904211Z"),
                },
            }
        self.add("v1", "Event", f"{name}.17a{number:013x}", where, more.get("first", "9m"), body)
