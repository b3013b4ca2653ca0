"""The same incident as in a cluster that is lived in: every object carries what controllers and the kubelet
write into it all the time, and every namespace what each one has. None of it is a change, or a cause."""

from __future__ import annotations

import copy

from tests.evals.expand import Incident
from tests.evals.shapes import JSON, ago, entry, uid_of

_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
_TOKEN = {
    "name": "kube-api-access-x2x4q",
    "projected": {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
                }
            },
        ],
    },
}


def lived_in(incident: Incident) -> Incident:
    """With writes of the status by controllers a minute ago, owners that sync, mounted tokens, new events."""
    objects = copy.deepcopy(incident.objects)
    for obj in objects:
        if obj["kind"] in _WORKLOADS:
            _workload(obj)
        elif obj["kind"] == "Pod":
            _pod(obj)
        elif obj["kind"] == "Event" and obj.get("eventTime"):
            _event(obj)
        elif obj["kind"] == "Node":
            obj["metadata"].setdefault("managedFields", []).append(_status("kubelet", "v1", "1m"))
    known = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects}
    for namespace in sorted({space for _, space, _ in known if space}):
        for kind, name, body in (
            ("ConfigMap", "kube-root-ca.crt", {"data": {"ca.crt": "-----BEGIN CERTIFICATE-----\nMIIB\n"}}),
            ("ServiceAccount", "default", {}),
        ):
            if (kind, namespace, name) not in known:
                objects.append(_made(kind, namespace, name, body))
    return incident._replace(objects=objects)


def _made(kind: str, namespace: str, name: str, body: JSON) -> JSON:
    metadata = {
        "name": name, "namespace": namespace, "uid": uid_of(kind, namespace, name), "creationTimestamp": ago("90d"),
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **body}


def _status(manager: str, version: str, when: str) -> JSON:
    fields: JSON = {"f:status": {"f:conditions": {".": {}, 'k:{"type":"Ready"}': {"f:status": {}}}}}
    return {**entry(manager, version, when, fields), "subresource": "status"}


def _workload(obj: JSON) -> None:
    """Applied by Argo CD when it was made; its status is written by its controller."""
    metadata = obj["metadata"]
    fields: JSON = {
        "f:metadata": {"f:annotations": {"f:argocd.argoproj.io/tracking-id": {}}, "f:labels": {"f:app": {}}},
        "f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {"f:spec": {"f:containers": {}}}},
    }
    applied = {**entry("argocd-controller", "apps/v1", "1m", fields), "time": metadata["creationTimestamp"]}
    metadata["managedFields"] = [
        {**applied, "operation": "Apply"},
        *metadata.get("managedFields", []),
        _status("kube-controller-manager", "apps/v1", "2m"),
    ]
    metadata.setdefault("annotations", {})["argocd.argoproj.io/tracking-id"] = (
        f"apps:apps/{obj['kind']}:{metadata.get('namespace')}/{metadata['name']}"
    )


def _pod(obj: JSON) -> None:
    """With the token that every pod mounts, the defaults of admission, and the kubelet's writes."""
    metadata, spec = obj["metadata"], obj["spec"]
    made = entry("kube-controller-manager", "v1", "1m", {"f:spec": {"f:containers": {}}})
    metadata["managedFields"] = [
        *metadata.get("managedFields", []),
        {**made, "time": metadata["creationTimestamp"]},
        _status("kubelet", "v1", "1m"),
    ]
    spec.setdefault("volumes", []).append(copy.deepcopy(_TOKEN))
    spec.setdefault(
        "tolerations",
        [
            {
                "key": f"node.kubernetes.io/{key}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for key in ("not-ready", "unreachable")
        ],
    )
    spec |= {"priority": 0, "preemptionPolicy": "PreemptLowerPriority", "enableServiceLinks": True}


def _event(obj: JSON) -> None:
    """As a component reports it that writes events of `events.k8s.io`."""
    obj.pop("count", None)
    obj |= {
        "source": {}, "action": "Observed", "reportingComponent": "default-scheduler",
        "reportingInstance": "default-scheduler-cp-1",
    }  # fmt: skip
