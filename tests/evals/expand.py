"""From the short form of an incident's folder to the objects that a cluster would hold.

The short form says what is particular; what every cluster adds (ReplicaSets, pod conditions, EndpointSlices,
managed fields, times) is added in the shape that kube-apiserver, its controllers and the kubelet give it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.evals.shapes import JSON, ago, hash_of, managed
from tests.evals.surroundings import Cluster

_NAMED = re.compile(r"<([\w/-]+)\.(\d+|rs|old)>")


class Incident(NamedTuple):
    """One folder, expanded."""

    name: str
    objects: list[JSON]
    logs: dict[tuple[str, str, str, bool], str]
    payload: JSON
    truth: JSON
    server: JSON


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """In C where PyYAML has it: thousands of pages are read."""


_Loader.add_constructor("!ago", lambda loader, node: ago(str(node.value)))


def read(path: Path) -> Any:
    return yaml.load(path.read_text("utf-8"), Loader=_Loader)


def _named(cluster: Cluster, value: Any) -> Any:
    """`<api.0>` → the name of its first pod, `<api.rs>`/`<api.old>` → of its present/former ReplicaSet."""
    if isinstance(value, dict):
        return {k: _named(cluster, v) for k, v in value.items()}
    if isinstance(value, list):
        return [_named(cluster, v) for v in value]
    if not isinstance(value, str):
        return value

    def name(match: re.Match[str]) -> str:
        workload, part = match.groups()
        if part in ("rs", "old"):
            return cluster.sets[workload][-1 if part == "rs" else -2]
        return cluster.pods[workload][int(part)]

    return _NAMED.sub(name, value)


def expand(folder: Path, noise: JSON) -> Incident:
    """The folder's objects, logs, alert and truth; `noise` is what stands around every incident."""
    short = read(folder / "cluster.yaml") or {}
    cluster = Cluster(short.get("namespace", "shop"))
    layers = [short] if short.get("quiet") else [noise, short]
    nodes = {"worker-a": None, "worker-b": None, **(short.get("nodes") or {})}
    for name, node in nodes.items():
        cluster.node(name, node)
    for layer in layers:
        for key, workload in (layer.get("workloads") or {}).items():
            cluster.workload(key, workload)
        for key, service in (layer.get("services") or {}).items():
            cluster.service(key, service)
        for kind, part in (("ConfigMap", "configmaps"), ("Secret", "secrets")):
            for key, config in (layer.get(part) or {}).items():
                cluster.config(kind, key, config or {})
    number = 0
    for layer in layers:
        for event in layer.get("events") or []:
            about, reason, message, *more = _named(cluster, event)
            cluster.event(number, about, reason, message, more[0] if more else {})
            number += 1
        for raw in _named(cluster, layer.get("objects") or []):
            metadata = dict(raw["metadata"])
            cluster.add(
                raw["apiVersion"],
                raw["kind"],
                metadata.pop("name"),
                metadata.pop("namespace", ""),
                metadata.pop("age", "60d"),
                {k: v for k, v in raw.items() if k not in ("apiVersion", "kind", "metadata")},
                **(
                    {"managedFields": managed(m, raw["apiVersion"])}
                    if (m := metadata.pop("managed", None))
                    else {}
                ),
                **metadata,
            )
    present = {o["metadata"]["name"] for o in cluster.objects if o["kind"] == "Namespace"}
    for namespace in sorted({o["metadata"].get("namespace", "") for o in cluster.objects} - present - {""}):
        cluster.add(
            "v1",
            "Namespace",
            namespace,
            "",
            "90d",
            {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}},
            labels={"kubernetes.io/metadata.name": namespace},
        )
    for workload in layers[-1:]:
        _logs(cluster, folder, workload)
    alerts = _named(cluster, read(folder / "alert.yaml"))
    payload = (
        alerts if "payload" in alerts else {"alerts": [_alert(a) for a in alerts["alerts"]], "version": "4"}
    )
    return Incident(
        folder.name,
        cluster.objects,
        cluster.logs,
        payload.get("payload", payload),
        _named(cluster, read(folder / "truth.yaml")),
        short.get("server") or {},
    )


def _logs(cluster: Cluster, folder: Path, short: JSON) -> None:
    """Files `logs/WORKLOAD.INDEX[.CONTAINER][.previous].log`; `~` stands for `/` in the workload."""
    for path in sorted((folder / "logs").glob("*.log")) if (folder / "logs").exists() else []:
        workload, index, *rest = path.name.removesuffix(".log").split(".")
        workload = workload.replace("~", "/")
        previous = "previous" in rest
        rest = [part for part in rest if part != "previous"]
        namespace = (
            workload.split("/")[0]
            if "/" in workload
            and workload.split("/")[0] not in {k.split("/")[-1] for k in short.get("workloads") or {}}
            else cluster.namespace
        )
        name = cluster.pods[workload][int(index)]
        pod = next(
            o
            for o in cluster.objects
            if o["kind"] == "Pod"
            and o["metadata"]["name"] == name
            and o["metadata"]["namespace"] == namespace
        )
        container = rest[0] if rest else pod["spec"]["containers"][0]["name"]
        cluster.logs[namespace, name, container, previous] = _named(cluster, path.read_text("utf-8"))


def _alert(short: JSON) -> JSON:
    labels = {
        "severity": "critical",
        **{k: str(v) for k, v in short.items() if k not in ("at", "summary", "description")},
    }
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": short.get("summary", ""), "description": short.get("description", "")},
        "startsAt": ago(short.get("at", "5m")),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": hash_of(*labels.values(), size=16),
    }
