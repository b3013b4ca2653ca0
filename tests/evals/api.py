"""A small read-only Kubernetes API server over objects in memory, for the evaluation set.

It shares nothing with the product or the sandbox, so that it can disagree with both. What it does, it does as
kube-apiserver: discovery, lists without `kind` on items, label and field selectors, `limit` and `continue`,
`Status` bodies, logs with `previous`, `tailLines` and `limitBytes`; groups that it lacks answer a plain 404.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

JSON = dict[str, Any]

_SERVED: tuple[tuple[str, str, str, bool], ...] = (
    ("v1", "Pod", "pods", True), ("v1", "Service", "services", True), ("v1", "Endpoints", "endpoints", True),
    ("v1", "ConfigMap", "configmaps", True), ("v1", "Secret", "secrets", True), ("v1", "Event", "events", True),
    ("v1", "ServiceAccount", "serviceaccounts", True), ("v1", "ResourceQuota", "resourcequotas", True),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", True), ("v1", "LimitRange", "limitranges", True),
    ("v1", "PersistentVolume", "persistentvolumes", False), ("v1", "Namespace", "namespaces", False),
    ("v1", "Node", "nodes", False), ("v1", "ReplicationController", "replicationcontrollers", True),
    ("apps/v1", "Deployment", "deployments", True), ("apps/v1", "ReplicaSet", "replicasets", True),
    ("apps/v1", "StatefulSet", "statefulsets", True), ("apps/v1", "DaemonSet", "daemonsets", True),
    ("apps/v1", "ControllerRevision", "controllerrevisions", True), ("batch/v1", "Job", "jobs", True),
    ("batch/v1", "CronJob", "cronjobs", True),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True),
    ("autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", True),
    ("policy/v1beta1", "PodDisruptionBudget", "poddisruptionbudgets", True),
    ("networking.k8s.io/v1", "Ingress", "ingresses", True),
    ("networking.k8s.io/v1", "IngressClass", "ingressclasses", False),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", True),
    ("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", True),
    ("gateway.networking.k8s.io/v1", "Gateway", "gateways", True),
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", True),
    ("storage.k8s.io/v1", "StorageClass", "storageclasses", False),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", True),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", True),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", False),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", False),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", False),
    ("apiregistration.k8s.io/v1", "APIService", "apiservices", False),
    ("coordination.k8s.io/v1", "Lease", "leases", True),
    ("metrics.k8s.io/v1beta1", "PodMetrics", "pods", True),
    ("cert-manager.io/v1", "Certificate", "certificates", True),
    ("argoproj.io/v1alpha1", "Rollout", "rollouts", True),
    ("argoproj.io/v1alpha1", "Application", "applications", True),
    *(
        ("chaos-mesh.org/v1alpha1", kind, kind.lower(), True)
        for kind in ("PodChaos", "NetworkChaos", "StressChaos", "HTTPChaos", "IOChaos", "DNSChaos", "TimeChaos")
    ),
    ("chaos-mesh.org/v1alpha1", "Schedule", "schedules", True),
    ("litmuschaos.io/v1alpha1", "ChaosEngine", "chaosengines", True),
    ("networking.istio.io/v1", "VirtualService", "virtualservices", True),
    ("networking.istio.io/v1", "DestinationRule", "destinationrules", True),
    ("networking.istio.io/v1", "Gateway", "gateways", True),
    ("networking.istio.io/v1", "Sidecar", "sidecars", True),
    ("security.istio.io/v1", "PeerAuthentication", "peerauthentications", True),
    ("security.istio.io/v1", "AuthorizationPolicy", "authorizationpolicies", True),
    ("keda.sh/v1alpha1", "ScaledObject", "scaledobjects", True),
    ("autoscaling.k8s.io/v1", "VerticalPodAutoscaler", "verticalpodautoscalers", True),
    ("external-secrets.io/v1beta1", "ExternalSecret", "externalsecrets", True),
    ("external-secrets.io/v1beta1", "SecretStore", "secretstores", True),
    ("external-secrets.io/v1beta1", "ClusterSecretStore", "clustersecretstores", False),
    ("bitnami.com/v1alpha1", "SealedSecret", "sealedsecrets", True),
    ("cilium.io/v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies", True),
    ("crd.projectcalico.org/v1", "NetworkPolicy", "networkpolicies", True),
    ("crd.projectcalico.org/v1", "GlobalNetworkPolicy", "globalnetworkpolicies", False),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease", "helmreleases", True),
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "kustomizations", True),
)  # fmt: skip
_OPTIONAL = (
    "gateway.networking.k8s.io", "cert-manager.io", "argoproj.io", "chaos-mesh.org", "litmuschaos.io",
    "networking.istio.io", "security.istio.io", "keda.sh", "autoscaling.k8s.io", "external-secrets.io",
    "bitnami.com", "cilium.io", "crd.projectcalico.org", "helm.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io",
)  # fmt: skip
"""Groups that only some clusters have: served where an object of them is there."""
_TERM = re.compile(
    r"\s*(?:(!?)([\w./-]+)|([\w./-]+)\s*(==|=|!=)\s*([\w./-]*)|([\w./-]+)\s+(in|notin)\s+\(([^)]*)\))\s*$"
)


def _status(code: int, reason: str, message: str, name: str = "", kind: str = "") -> web.Response:
    body: JSON = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    }  # fmt: skip
    if name:
        body["details"] = {"name": name, "kind": kind}
    headers = {"Retry-After": "1"} if code == 429 else {}
    return web.json_response(body, status=code, headers=headers)


def _group(version: str) -> str:
    return version.rpartition("/")[0]


def _sort(version: str, kind: str) -> str:
    """The kind, with its group where only some clusters have that: their names may be those of others."""
    return f"{kind}.{_group(version)}" if _group(version) in _OPTIONAL else kind


def _split(selector: str) -> list[str]:
    return [part for part in re.split(r",(?![^(]*\))", selector) if part.strip()]


def _selected(selector: str, labels: Mapping[str, str]) -> bool:
    for part in _split(selector):
        match = _TERM.match(part)
        if match is None:
            return False
        negated, bare, key, operator, value, set_key, set_operator, values = match.groups()
        if bare and (bare in labels) == bool(negated):
            return False
        if key and (labels.get(key) == value) != (operator != "!="):
            return False
        if set_key:
            among = labels.get(set_key) in {item.strip() for item in values.split(",")}
            if among != (set_operator == "in"):
                return False
    return True


def _field(obj: JSON, path: str) -> str:
    found: Any = obj
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return "" if found is None else str(found)


def _fits(selector: str, obj: JSON) -> bool:
    for part in _split(selector):
        path, _, value = part.partition("!=" if "!=" in part else "=")
        if (_field(obj, path) == value.lstrip("=")) == ("!=" in part):
            return False
    return True


class Api:
    """Serves `objects` and `logs` ((namespace, pod, container, previous) → text) on a free loopback port.

    `denied` holds `verb resource` or `verb resource namespace`; `without` group versions that are not served;
    `failing` maps a resource to a status code; `hanging` names resources that never answer.
    """

    def __init__(
        self,
        objects: Iterable[JSON],
        logs: Mapping[tuple[str, str, str, bool], str | bytes],
        *,
        denied: Iterable[str] = (),
        without: Iterable[str] = ("metrics.k8s.io/v1beta1",),
        failing: Mapping[str, int] | None = None,
        hanging: Iterable[str] = (),
        page: int = 500,
        latency: float = 0.0,
    ) -> None:
        self.requests: list[str] = []
        self._logs = dict(logs)
        self._denied, self._without = set(denied), set(without)
        self._failing, self._hanging = dict(failing or {}), set(hanging)
        self._page, self._latency = page, latency
        self._by_kind: dict[str, list[JSON]] = {}
        self._brought: set[str] = set()
        for obj in objects:
            self._by_kind.setdefault(_sort(str(obj["apiVersion"]), str(obj["kind"])), []).append(obj)
            self._brought.add(_group(str(obj["apiVersion"])))
        for kept in self._by_kind.values():
            kept.sort(key=lambda o: (o["metadata"].get("namespace", ""), o["metadata"]["name"]))
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Api:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def kubeconfig(self, path: Path) -> str:
        """Write a kubeconfig for this server and return its path."""
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "eval",
            "clusters": [{"name": "eval", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "users": [{"name": "reader", "user": {"token": "eval"}}],
            "contexts": [{"name": "eval", "context": {"cluster": "eval", "user": "reader"}}],
        }  # fmt: skip
        path.write_text(json.dumps(config), "utf-8")
        return str(path)

    def _kinds(self) -> list[tuple[str, str, str, bool]]:
        return [
            kind
            for kind in _SERVED
            if kind[0] not in self._without
            and (_group(kind[0]) not in _OPTIONAL or _group(kind[0]) in self._brought)
        ]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        if self._latency:
            await asyncio.sleep(self._latency)
        if request.method != "GET":
            return _status(
                405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
            )
        steps = [step for step in request.path.split("/") if step]
        if steps == ["version"]:
            return web.json_response({"major": "1", "minor": "29", "gitVersion": "v1.29.4"})
        if steps[:1] == ["apis"] and len(steps) == 1:
            return web.json_response(self._groups())
        version, rest = ("/".join(steps[:2]), steps[2:]) if steps[:1] == ["api"] else ("", [])
        version = version.removeprefix("api/")
        if steps[:1] == ["apis"]:
            version, rest = "/".join(steps[1:3]), steps[3:]
        served = [kind for kind in self._kinds() if kind[0] == version]
        if not served:
            return web.Response(status=404, text="404 page not found\n")
        namespace = ""
        if len(rest) >= 3 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        kinds = [kind for kind in served if rest and kind[2] == rest[0]]
        if not kinds:
            return web.Response(status=404, text="404 page not found\n")
        _, kind, plural, _ = kinds[0]
        if plural in self._hanging or (rest[2:] == ["log"] and "pods/log" in self._hanging):
            await asyncio.sleep(3600)
        resource = f"{plural}/{rest[2]}" if len(rest) > 2 else plural
        verb = "get" if len(rest) > 1 else "list"
        if {f"{verb} {resource}", f"{verb} {resource} {namespace}", f"* {resource}"} & self._denied:
            group = version.rpartition("/")[0]
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            return _status(
                403, "Forbidden",
                f'{plural}{"." + group if group else ""} is forbidden: User "reader" cannot {verb} resource'
                f' "{resource}" in API group "{group}"{where}',
                rest[1] if len(rest) > 1 else "", plural,
            )  # fmt: skip
        if resource in self._failing:
            code = self._failing[resource]
            return _status(code, "TooManyRequests" if code == 429 else "InternalError", "the server is busy")
        if len(rest) == 1:
            return self._list(request, version, kind, namespace)
        return self._one(request, version, kind, plural, namespace, rest)

    def _groups(self) -> JSON:
        groups: dict[str, list[JSON]] = {}
        for version in dict.fromkeys(kind[0] for kind in self._kinds()):
            group, slash, number = version.rpartition("/")
            if slash:
                groups.setdefault(group, []).append({"groupVersion": version, "version": number})
        return {
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": [
                {"name": name, "versions": versions, "preferredVersion": versions[0]}
                for name, versions in groups.items()
            ],
        }  # fmt: skip

    def _list(self, request: web.Request, version: str, kind: str, namespace: str) -> web.Response:
        labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
        found = [
            obj
            for obj in self._by_kind.get(_sort(version, kind), [])
            if (not namespace or obj["metadata"].get("namespace", "") == namespace)
            and _selected(labels, obj["metadata"].get("labels") or {})
            and _fits(fields, obj)
        ]
        start = int(base64.b64decode(request.query["continue"])) if request.query.get("continue") else 0
        limit = min(int(request.query.get("limit") or self._page), self._page)
        page = found[start : start + limit]
        metadata: JSON = {"resourceVersion": "884213"}
        if start + limit < len(found):
            metadata["continue"] = base64.b64encode(str(start + limit).encode()).decode()
            metadata["remainingItemCount"] = len(found) - start - limit
        items = [
            {k: v for k, v in self._as(version, obj).items() if k not in ("kind", "apiVersion")}
            for obj in page
        ]
        return web.json_response(
            {"kind": f"{kind}List", "apiVersion": version, "metadata": metadata, "items": items}
        )

    def _one(
        self, request: web.Request, version: str, kind: str, plural: str, namespace: str, rest: list[str]
    ) -> web.Response:
        name = rest[1]
        for obj in self._by_kind.get(_sort(version, kind), []):
            if obj["metadata"]["name"] == name and obj["metadata"].get("namespace", "") == namespace:
                if rest[2:] == ["log"]:
                    return self._log(request, obj)
                return web.json_response({"kind": kind, "apiVersion": version} | self._as(version, obj))
        group = version.rpartition("/")[0]
        what = f"{plural}.{group}" if group else plural
        return _status(404, "NotFound", f'{what} "{name}" not found', name, plural)

    def _log(self, request: web.Request, pod: JSON) -> web.Response:
        metadata = pod["metadata"]
        containers = [c["name"] for c in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]]
        container = request.query.get("container", "")
        previous = request.query.get("previous") == "true"
        if not container and len(pod["spec"]["containers"]) > 1:
            return _status(
                400, "BadRequest", f"a container name must be specified for pod {metadata['name']}"
            )
        container = container or pod["spec"]["containers"][0]["name"]
        if container not in containers:
            return _status(
                400, "BadRequest", f"container {container} is not valid for pod {metadata['name']}"
            )
        key = (metadata.get("namespace", ""), metadata["name"], container, previous)
        if key not in self._logs:
            if previous:
                return _status(
                    400,
                    "BadRequest",
                    f'previous terminated container "{container}" in pod "{metadata["name"]}" not found',
                )
            status = [
                s
                for part in ("initContainerStatuses", "containerStatuses")
                for s in (pod.get("status") or {}).get(part, [])
                if s["name"] == container
            ]
            if not status or "waiting" in (status[0].get("state") or {}):
                return _status(
                    400,
                    "BadRequest",
                    f'container "{container}" in pod "{metadata["name"]}" is waiting to start: ContainerCreating',
                )
            return web.Response(body=b"", content_type="text/plain")
        text = self._logs[key]
        raw = text if isinstance(text, bytes) else text.encode()
        if request.query.get("tailLines"):
            raw = b"".join(raw.splitlines(keepends=True)[-int(request.query["tailLines"]) :])
        return web.Response(
            body=raw[: int(request.query.get("limitBytes") or len(raw) or 1)], content_type="text/plain"
        )

    @staticmethod
    def _as(version: str, obj: JSON) -> JSON:
        """The object in the version asked for, where versions differ."""
        if version != "autoscaling/v1":
            return obj
        spec = dict(obj.get("spec") or {})
        status = dict(obj.get("status") or {})
        annotations = dict(obj["metadata"].get("annotations") or {})
        if "conditions" in status:
            annotations["autoscaling.alpha.kubernetes.io/conditions"] = json.dumps(status.pop("conditions"))
        spec.pop("metrics", None)
        status.pop("currentMetrics", None)
        return {
            **obj,
            "metadata": {**obj["metadata"], "annotations": annotations},
            "spec": spec,
            "status": status,
        }
