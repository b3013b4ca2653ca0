"""A cluster's objects with addresses, as its API lists them, and alerts that know no more than those."""

from __future__ import annotations

from typing import Any

from cortexops.domain.kubernetes.addresses import INDEXES
from cortexops.domain.resource import JSON
from cortexops.domain.targets import Readings
from ingest.source import parse_time
from sandbox.cluster.kinds import BY_KIND
from sandbox.cluster.server import SimulatedApiServer
from tests.ingest.support import alert

BORN = "2026-02-01T00:00:00Z"
NODE_IP, API_IP, KSM_IP, AGENT_IP, BLACKBOX_IP, MYSQL_IP = (
    "10.0.3.7", "10.244.1.5", "10.244.1.9", "10.244.1.77", "10.244.1.20", "10.244.1.30",
)  # fmt: skip
NODE = "ip-10-0-3-7.ec2.internal"


def item(kind: str, name: str, namespace: str = "shop", **more: Any) -> JSON:
    metadata = {
        "name": name,
        "creationTimestamp": more.pop("born", BORN),
        "labels": more.pop("labels", {}),
        "uid": f"uid-{name}",
        "ownerReferences": more.pop("owners", []),
        **({"namespace": namespace} if namespace else {}),
    }
    return {"kind": kind, "metadata": metadata, **more}


def node(name: str, *addresses: tuple[str, str]) -> JSON:
    listed = [{"type": kind, "address": address} for kind, address in addresses]
    return item("Node", name, "", status={"addresses": listed})


def pod(
    name: str,
    ip: str,
    *,
    namespace: str = "shop",
    images: tuple[str, ...] = ("registry.example/app:1",),
    on_host: bool = False,
    ports: tuple[int, ...] = (8080,),
    at: str = NODE,
    phase: str = "Running",
    **more: Any,
) -> JSON:
    containers: list[JSON] = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
    containers[0]["ports"] = [{"containerPort": port} for port in ports]
    spec = {"nodeName": at, "hostNetwork": on_host, "containers": containers, **more.pop("spec", {})}
    status = {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}]}
    return item("Pod", name, namespace, spec=spec, status=status, **more)


def service(name: str, ip: str, *, namespace: str = "shop", **more: Any) -> JSON:
    return item("Service", name, namespace, spec={"clusterIP": ip, "clusterIPs": [ip], **more})


def ingress(name: str, host: str, paths: dict[str, str], namespace: str = "shop") -> JSON:
    routes = [{"path": path, "backend": {"service": {"name": to}}} for path, to in paths.items()]
    return item("Ingress", name, namespace, spec={"rules": [{"host": host, "http": {"paths": routes}}]})


def owned(kind: str, name: str) -> list[JSON]:
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}]


def cluster() -> list[JSON]:
    """Two nodes, a program, the usual exporters, Services and Ingresses."""
    quay = "quay.io/prometheus"
    return [
        node(NODE, ("InternalIP", NODE_IP), ("Hostname", NODE), ("InternalDNS", NODE)),
        node("node-8", ("InternalIP", "10.0.3.8"), ("InternalIP", "fd00::8"), ("Hostname", "node-8")),
        pod("api-7d9f8b6c5d-x2z4k", API_IP, owners=owned("ReplicaSet", "api-7d9f8b6c5d")),
        pod("node-exporter-abcde", NODE_IP, namespace="monitoring", images=(f"{quay}/node-exporter:v1.7",),
            on_host=True, ports=(9100,), owners=owned("DaemonSet", "node-exporter")),
        pod("edge-fghij", NODE_IP, namespace="edge", on_host=True, ports=(80, 10254),
            owners=owned("DaemonSet", "edge")),
        pod("agent-klmno", AGENT_IP, namespace="monitoring", images=("x/windows-exporter:1",), at="node-8"),
        pod("ksm-0", KSM_IP, namespace="monitoring",
            images=("registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.10",)),
        pod("blackbox-0", BLACKBOX_IP, namespace="monitoring", images=(f"{quay}/blackbox-exporter:v0.24",)),
        pod("mysql-exporter-0", MYSQL_IP, images=("prom/mysqld-exporter:v0.15", "x/kube-rbac-proxy:1")),
        pod("db-0", "10.244.1.40", images=("mysql:8", "prom/mysqld-exporter:v0.15"),
            spec={"hostname": "db-0", "subdomain": "db"}, owners=owned("StatefulSet", "db")),
        pod("old-1", "10.244.1.60", phase="Succeeded"),
        pod("late-1", "10.244.1.61", born="2026-03-01T12:10:00Z"),
        pod("twin-1", "10.244.1.62"), pod("twin-2", "10.244.1.62"),
        service("api", "10.96.0.10", ports=[{"port": 80, "nodePort": 30080}]), service("db", "None"),
        service("kube-state-metrics", "10.96.0.11", namespace="monitoring"),
        ingress("shop", "shop.example.com", {"/": "api"}),
        ingress("wild", "*.apps.example.com", {"/": "api", "/db": "db"}),
        item("HTTPRoute", "store", spec={"hostnames": ["store.example.com"]}),
        item("HTTPRoute", "moving", spec={"hostnames": ["moving.example.com"]}),
        ingress("moved", "moving.example.com", {"/": "api"}),
        *(item("HTTPRoute", name, spec={"hostnames": ["*.both.example.com"]}) for name in ("x", "y")),
        ingress("a", "two.example.com", {"/": "api"}), ingress("b", "two.example.com", {"/": "db"}),
    ]  # fmt: skip


def workloads() -> list[JSON]:
    """The owners of its pods."""
    return [
        item("Deployment", "api"),
        item("ReplicaSet", "api-7d9f8b6c5d", owners=owned("Deployment", "api")),
        item("StatefulSet", "db"),
        item("DaemonSet", "node-exporter", "monitoring"),
        item("DaemonSet", "edge", "edge"),
    ]


def readings(items: list[JSON]) -> Readings:
    found = {kind: index() for kind, index in INDEXES.items()}
    for one in items:
        found[one["kind"]].add(one)
    return found


def seed(server: SimulatedApiServer, items: list[JSON]) -> None:
    """Store them just as they are, with status."""
    for one in items:
        resource = BY_KIND.get(one["kind"])
        if resource is None:  # it is one of the many clusters without the Gateway API
            continue
        body = {key: value for key, value in one.items() if key != "kind"}
        server.store.put(resource.key, body["metadata"].get("namespace", ""), body["metadata"]["name"], body)


def addressed(name: str, instance: str, **labels: str) -> dict[str, Any]:
    """As Alertmanager posts it: with its fingerprint, and no label that names an object."""
    made = alert(name, instance=instance, **labels)
    return {**made, "fingerprint": "c4f2a9d1b7e35068"}


NOW = parse_time("2026-03-01T12:05:00Z", "now")
