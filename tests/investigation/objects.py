"""Objects as a real API server gives them, and scenes made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from activities.analyzers import analyze
from activities.gathering import event_fact
from activities.resolve import backends
from cortexops.domain.conclusion import conclude, onset_of
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.evidence import EvidenceBook, Gap
from cortexops.domain.kubernetes import hosts, meta, references, selectors
from cortexops.domain.kubernetes.values import mapping, texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import LogExcerpt, Scene
from cortexops.domain.signal import Signal, SignalType
from cortexops.domain.topology import Edge, Relation, topology

NOW = datetime(2026, 8, 14, 3, 0, tzinfo=UTC)
CLUSTER = "prod-eu"


def ago(**span: float) -> str:
    """A Kubernetes timestamp that long before NOW."""
    return (NOW - timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def ref(kind: str, name: str, namespace: str = "shop") -> ResourceRef:
    return ResourceRef(cluster=CLUSTER, kind=kind, namespace="" if kind == "Node" else namespace, name=name)


def container(name: str = "api", image: str = "registry.example.com/shop/api:1.4.0", **more: Any) -> JSON:
    base = {
        "name": name,
        "image": image,
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"memory": "128Mi"}},
    }
    return base | more


def template(app: str, *containers: JSON, **spec: Any) -> JSON:
    return {
        "metadata": {"creationTimestamp": None, "labels": {"app": app}},
        "spec": {"containers": list(containers) or [container()], "restartPolicy": "Always", **spec},
    }


def deployment(
    name: str = "api", pod_template: JSON | None = None, replicas: int = 2, ready: int = 2, **more: Any
) -> JSON:
    status = {"observedGeneration": 4, "replicas": replicas, "updatedReplicas": replicas}
    if ready:
        status |= {"readyReplicas": ready, "availableReplicas": ready}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "generation": 4,
            "creationTimestamp": ago(days=90),
            "labels": {"app": name},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template or template(name),
        },
        "status": status,
    } | more


def replica_set(owner: JSON, revision: int, pod_template: JSON, created: str, replicas: int = 0) -> JSON:
    name, suffix = owner["metadata"]["name"], f"{revision:x}5f7c9d4b"
    body = {
        **pod_template,
        "metadata": {"labels": {**pod_template["metadata"]["labels"], "pod-template-hash": suffix}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name}-{suffix}",
            "namespace": "shop",
            "creationTimestamp": created,
            "labels": body["metadata"]["labels"],
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "uid": f"uid-{name}-{suffix}",
            "ownerReferences": [
                {"kind": "Deployment", "name": name, "uid": f"uid-{name}", "controller": True}
            ],
        },
        "spec": {"replicas": replicas, "template": body},
        "status": {"replicas": replicas},
    }


def running(
    name: str = "api", *, ready: bool = True, since: str = "", restarts: int = 0, last: JSON | None = None
) -> JSON:
    return {
        "name": name,
        "image": "docker.io/x",
        "ready": ready,
        "started": True,
        "restartCount": restarts,
        "state": {"running": {"startedAt": since or ago(days=2)}},
        "lastState": {"terminated": last} if last else {},
    }


def terminated(code: int, reason: str = "Error", *, at: str = "", started: str = "") -> JSON:
    return {
        "exitCode": code,
        "reason": reason,
        "startedAt": started or ago(minutes=3),
        "finishedAt": at or ago(minutes=2),
        "containerID": "containerd://0a1b",
    }


def waiting(
    reason: str, message: str = "", name: str = "api", *, restarts: int = 0, last: JSON | None = None
) -> JSON:
    return {
        "name": name,
        "image": "registry.example.com/shop/api:1.4.0",
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": restarts,
        "state": {"waiting": {"reason": reason, **({"message": message} if message else {})}},
        "lastState": {"terminated": last} if last else {},
    }


def crash_loop(last: JSON, name: str = "api", restarts: int = 7) -> JSON:
    message = f"back-off 5m0s restarting failed container={name} pod=api-0_shop(1b2c)"
    return waiting("CrashLoopBackOff", message, name, restarts=restarts, last=last)


def pod(
    owner: JSON,
    *statuses: JSON,
    suffix: str = "x7k2p",
    ready: bool | None = None,
    node: str = "node-1",
    created: str = "",
    unready_since: str = "",
    phase: str = "Running",
) -> JSON:
    well = all(s["ready"] for s in statuses) if ready is None else ready
    body = owner["spec"]["template"]
    since = unready_since or ago(minutes=10)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{owner['metadata']['name']}-{suffix}",
            "namespace": "shop",
            "uid": f"uid-{suffix}",
            "creationTimestamp": created or ago(days=2),
            "labels": dict(body["metadata"]["labels"]),
            "ownerReferences": [
                {
                    "kind": owner["kind"],
                    "name": owner["metadata"]["name"],
                    "uid": f"uid-{owner['metadata']['name']}",
                    "controller": True,
                }
            ],
        },
        "spec": {**body["spec"], "nodeName": node},
        "status": {
            "phase": phase,
            "conditions": [
                {"type": "Initialized", "status": "True", "lastTransitionTime": created or ago(days=2)},
                {
                    "type": "Ready",
                    "status": "True" if well else "False",
                    **({} if well else {"reason": "ContainersNotReady"}),
                    "lastTransitionTime": ago(days=2) if well else since,
                },
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": created or ago(days=2)},
            ],
            "containerStatuses": list(statuses),
        },
    }


def config_map(
    name: str, data: dict[str, str], *, changed: dict[str, str] | None = None, manager: str = "kubectl-edit"
) -> JSON:
    """`changed`: key → when that manager wrote it; the others are as old as the object."""
    created = ago(days=60)
    fields: list[JSON] = [
        {
            "manager": "helm",
            "operation": "Update",
            "apiVersion": "v1",
            "time": created,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {".": {}} | {f"f:{k}": {} for k in data if k not in (changed or {})}},
        }
    ]
    for key, at in (changed or {}).items():
        fields.append(
            {
                "manager": manager,
                "operation": "Update",
                "apiVersion": "v1",
                "time": at,
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {f"f:{key}": {}}},
            }
        )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "creationTimestamp": created,
            "managedFields": fields,
        },
        "data": data,
    }


def service(name: str, selector: dict[str, str] | None = None, port: Any = 8080, **spec: Any) -> JSON:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": ago(days=60)},
        "spec": {
            "clusterIP": "10.96.14.7",
            "selector": selector or {"app": name},
            "ports": [{"port": 80, "targetPort": port}],
            **spec,
        },
    }


def node(name: str = "node-1", *, ready: str = "True", since: str = "", **conditions: str) -> JSON:
    reason = {"True": "KubeletReady", "Unknown": "NodeStatusUnknown", "False": "KubeletNotReady"}[ready]
    message = "kubelet is posting ready status" if ready == "True" else "Kubelet stopped posting node status."
    taints = [] if ready == "True" else [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "creationTimestamp": ago(days=200)},
        "spec": {"taints": taints},
        "status": {
            "allocatable": {"memory": "16Gi"},
            "conditions": [
                {"type": kind, "status": status, "lastTransitionTime": ago(minutes=12)}
                for kind, status in {"MemoryPressure": "False", "DiskPressure": "False", **conditions}.items()
            ]
            + [
                {
                    "type": "Ready",
                    "status": ready,
                    "reason": reason,
                    "message": message,
                    "lastTransitionTime": since or ago(minutes=12),
                }
            ],
        },
    }


def event(
    about: JSON, reason: str, message: str, *, kind: str = "Warning", count: int = 5, first: str = ""
) -> JSON:
    involved = {
        "kind": about["kind"],
        "name": about["metadata"]["name"],
        "namespace": about["metadata"].get("namespace", ""),
    }
    return {
        "metadata": {"name": f"{involved['name']}.{reason}.{abs(hash(message)):x}", "namespace": "shop"},
        "involvedObject": involved,
        "type": kind,
        "reason": reason,
        "message": message,
        "count": count,
        "firstTimestamp": first or ago(minutes=8),
        "lastTimestamp": ago(minutes=1),
    }


def signal(
    target: ResourceRef, name: str = "KubePodNotReady", kind: SignalType = SignalType.CRASH_LOOP
) -> Signal:
    return Signal(
        source="alertmanager",
        cluster=CLUSTER,
        name=name,
        type=kind,
        resource=target,
        started_at=NOW - timedelta(minutes=5),
    ).sealed()


def scene(
    target: ResourceRef,
    *objects: JSON,
    events: tuple[JSON, ...] = (),
    logs: tuple[tuple[JSON, str, bool, list[str]], ...] = (),
    kind: SignalType = SignalType.CRASH_LOOP,
    gaps: tuple[Gap, ...] = (),
) -> Scene:
    """The scene that collecting these objects gives: edges from owners, selectors, references, hosts."""
    by_ref = {meta.ref_of(CLUSTER, obj["kind"], obj): obj for obj in objects}
    edges: list[Edge] = []

    def edge(source: ResourceRef, relation: Relation, end: ResourceRef) -> None:
        edges.append(Edge(source=source, relation=relation, target=end))

    for its, obj in by_ref.items():
        owner = meta.owner(obj)
        if owner is not None:
            edge(ref(owner[0], owner[1], its.namespace), Relation.OWNS, its)
        if its.kind == "Pod" and obj["spec"].get("nodeName"):
            edge(its, Relation.RUNS_ON, ref("Node", obj["spec"]["nodeName"]))
        body = mapping(obj, "spec", "template")
        if body and its.kind in ("Deployment", "StatefulSet"):
            uses = references.config_uses(body["spec"])
            for use in uses:
                relation = Relation.USES_CONFIG if use.kind == "ConfigMap" else Relation.USES_SECRET
                edge(its, relation, ref(use.kind, use.name))
            data = {u.name: texts(by_ref.get(ref("ConfigMap", u.name)) or {}, "data") for u in uses}
            for host in hosts.hosts_of_template(body["spec"], data):
                address = hosts.service_address(host, "shop")
                if address and ref("Service", address[1], address[0]) in by_ref:
                    edge(its, Relation.CALLS, ref("Service", address[1], address[0]))
        if its.kind == "Ingress":
            for name in backends(obj):
                edge(its, Relation.ROUTES_TO, ref("Service", name))
        if its.kind == "Service":
            selector = texts(obj, "spec", "selector")
            for other, candidate in by_ref.items():
                labels = texts(candidate, "spec", "template", "metadata", "labels") or meta.labels(candidate)
                if other.kind in ("Deployment", "StatefulSet", "Pod") and selectors.equals(selector, labels):
                    edge(its, Relation.SELECTS, other)
    facts = [fact for raw in events if (fact := event_fact(CLUSTER, raw)) is not None]
    made = Scene(
        cluster=CLUSTER,
        environment="production",
        target=target,
        now=NOW,
        onset=NOW,
        signals=(signal(target, kind=kind),),
        objects={its.key: obj for its, obj in by_ref.items()},
        topology=topology(edges),
        events=tuple(facts),
        logs=tuple(
            LogExcerpt(
                pod=meta.ref_of(CLUSTER, "Pod", owner), container=name, previous=previous, lines=tuple(lines)
            )
            for owner, name, previous, lines in logs
        ),
        gaps=gaps,
    )
    return made.model_copy(update={"onset": onset_of(made)})


def diagnose(made: Scene) -> Diagnosis:
    book = EvidenceBook()
    return conclude(made, analyze(made, book), book.entries)


def told(diagnosis: Diagnosis) -> tuple[str, str, str]:
    """(verdict, category, `Kind name`) of a diagnosis, for short assertions."""
    cause = diagnosis.cause
    if cause is None:
        return diagnosis.verdict.value, "", ""
    return diagnosis.verdict.value, cause.category.value, f"{cause.resource.kind} {cause.resource.name}"
