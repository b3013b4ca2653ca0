"""For each action one scene: an object to act on, made anew for each run, and the action's parameters."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.action import Action
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.ports.cluster import PatchType
from tests.git.support import MANIFEST
from tests.remediation.support import eventually, workload

NEVER = {"never": "there"}
"""A node selector that no node fulfils: pods stay Pending, no kubelet is needed."""


class Scene(NamedTuple):
    """`meddle` is what somebody else writes over the action's field between two lives of the worker. Without
    `undo` the change is never taken back: no action offers that. `files` are the object's Git repository."""

    action: Action
    subject: ResourceRef
    meddle: JSON | None = None
    undo: bool = True
    files: Mapping[str, str] | None = None


_CONTROLLERS = 100.0
"""Seconds for controllers to do their part: after the API server was killed they look for it with growing pauses."""
_TAINT = [{"key": "crash", "value": "lent", "effect": "NoSchedule"}]
_TOLERATION = {"key": "crash", "operator": "Exists"}
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def ready_node(admin: KubernetesCluster, name: str) -> None:
    """A node without a kubelet that says it is ready; for a control plane that does not soon doubt it."""
    await admin.create("Node", "", {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
    resources = {"cpu": "64", "memory": "256Gi", "pods": "500"}
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
    status = {"status": {"conditions": conditions, "capacity": resources, "allocatable": resources}}
    await admin.patch("Node", "", name, status, patch_type=PatchType.STRATEGIC, subresource="status")


class Lending:
    """Nodes with kubelets, lent to one run at a time and given back as they were; none: runs make their own."""

    def __init__(self, admin: KubernetesCluster) -> None:
        self._admin = admin
        self._free: asyncio.Queue[str] = asyncio.Queue()
        self.lends = False

    async def open(self, names: Sequence[str]) -> None:
        """Keep everybody else's pods off these nodes."""
        for name in names:
            notes = {"annotations": {"crash/lent": "true"}}  # every real node has some
            await self._set(name, {"metadata": notes, "spec": {"taints": _TAINT}})
            self._free.put_nowait(name)
            self.lends = True

    async def take(self) -> str:
        return await self._free.get()

    async def give_back(self, name: str) -> None:
        notes = {"annotations": {"cortexops.io/operation": None}}
        excluded = {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": None}}
        await self._set(
            name, {"metadata": notes | excluded, "spec": {"unschedulable": None, "taints": _TAINT}}
        )
        self._free.put_nowait(name)

    async def _set(self, name: str, body: JSON) -> None:
        await self._admin.patch("Node", "", name, body, patch_type=PatchType.MERGE)


class Site:
    """A namespace of one run's own, and the nodes that it makes or borrows."""

    def __init__(self, admin: KubernetesCluster, lending: Lending) -> None:
        self.admin = admin
        self.space = f"t-{secrets.token_hex(5)}"
        self.nodes: list[str] = []
        self._lending = lending

    async def open(self) -> None:
        await self.admin.create("Namespace", "", {"metadata": {"name": self.space}})

    async def close(self) -> None:
        """Leave nothing that keeps a control loop busy."""
        if self._lending.lends:
            await self.admin.delete("Namespace", "", self.space)
        for name in self.nodes:
            if self._lending.lends:
                await self._lending.give_back(name)
            else:
                await self.admin.delete("Node", "", name)

    @property
    def places(self) -> list[str]:
        """Names that are part of the path of every request that concerns this site."""
        return [self.space, *self.nodes]

    def ref(self, kind: str, name: str) -> ResourceRef:
        namespace = "" if kind in ("Node", "PersistentVolume", "StorageClass") else self.space
        return ResourceRef(cluster=self.admin.name, kind=kind, namespace=namespace, name=name)

    async def live(self, ref: ResourceRef) -> JSON:
        return await self.admin.get(ref.kind, ref.namespace, ref.name)

    async def make(self, kind: str, body: JSON) -> JSON:
        ref = self.ref(kind, body["metadata"]["name"])
        return await self.admin.create(kind, ref.namespace, body)

    async def edit(self, ref: ResourceRef, body: JSON) -> JSON:
        merge = PatchType.STRATEGIC
        return await self.admin.patch(ref.kind, ref.namespace, ref.name, body, patch_type=merge)

    async def deployment(self, name: str = "api", **spec: Any) -> ResourceRef:
        """Without replicas, once its controller has seen it."""
        await self.make("Deployment", workload(name, **spec))
        ref = self.ref("Deployment", name)
        await self.revision(ref, 1)
        return ref

    async def revision(self, ref: ResourceRef, number: int) -> None:
        async def there() -> bool:
            live = await self.live(ref)
            seen = live.get("status", {}).get("observedGeneration") == live["metadata"]["generation"]
            notes = live["metadata"].get("annotations") or {}
            return seen and notes.get("deployment.kubernetes.io/revision") == str(number)

        await eventually(there, _CONTROLLERS)

    async def pods(self, name: str = "web", replicas: int = 1, node: str = "") -> list[JSON]:
        """A ReplicaSet's pods: never started, or bound to the node."""
        labels = {"app": name}
        spec: JSON = {
            "containers": [{"name": "main", "image": "r.local/api:1.0"}],
            "nodeSelector": {"kubernetes.io/hostname": node} if node else NEVER,
            "tolerations": [_TOLERATION],
        }
        template = {"metadata": {"labels": labels}, "spec": spec}
        body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        await self.make("ReplicaSet", {"metadata": {"name": name}, "spec": body})

        async def made() -> list[JSON]:
            found = (await self.admin.list("Pod", self.space, labels=f"app={name}")).items
            placed = [pod for pod in found if pod["spec"].get("nodeName", "") == node]
            return placed if len(placed) == replicas else []

        found: list[JSON] = await eventually(made, _CONTROLLERS)
        return found

    async def node(self, **spec: Any) -> ResourceRef:
        """A node of the run's own once the control loops leave its spec alone."""
        if self._lending.lends:
            name = await self._lending.take()
            self.nodes.append(name)
        else:
            name = f"n-{secrets.token_hex(5)}"
            self.nodes.append(name)
            await ready_node(self.admin, name)
        ref = self.ref("Node", name)
        if spec:
            await self.edit(ref, {"spec": spec})
        specs: list[Any] = []

        async def left_alone() -> bool:
            specs.append((await self.live(ref))["spec"])
            await asyncio.sleep(0.1)
            return len(specs) > 6 and all(spec == specs[-1] for spec in specs[-5:])

        await eventually(left_alone, _CONTROLLERS)
        return ref

    async def _cron_version(self) -> str:
        """Servers before 1.21 know no other."""
        major, minor = (await self.admin.version()).removeprefix("v").split(".")[:2]
        return "batch/v1beta1" if (int(major), int(minor)) < (1, 21) else "batch/v1"

    def job_template(self) -> JSON:
        containers = [{"name": "main", "image": "r.local/job:1.0"}]
        return {"spec": {"restartPolicy": "Never", "containers": containers, "nodeSelector": NEVER}}

    async def cron_job(self, *, suspend: bool) -> ResourceRef:
        """One that is due once a year."""
        jobs = {"spec": {"template": self.job_template()}}
        spec = {"schedule": "0 0 1 1 *", "suspend": suspend, "jobTemplate": jobs}
        version = {} if self.admin.name == "simulated" else {"apiVersion": await self._cron_version()}
        await self.make("CronJob", version | {"metadata": {"name": "nightly"}, "spec": spec})
        return self.ref("CronJob", "nightly")


SCENES: dict[str, Callable[[Site], Awaitable[Scene]]] = {}


def scene(make: Callable[[Site], Awaitable[Scene]]) -> Callable[[Site], Awaitable[Scene]]:
    """The scene of the action that the function is named for; `action__variant` is another of the same."""
    SCENES[make.__name__] = make
    return make


def action_of(name: str) -> str:
    """The action that a scene is about."""
    return name.partition("__")[0]


def _on(target: ResourceRef, type_: str, meddle: JSON | None = None, **params: Any) -> Scene:
    return Scene(Action(type=type_, target=target, params=params), target, meddle)


@scene
async def restart_workload(site: Site) -> Scene:
    theirs = {"kubectl.kubernetes.io/restartedAt": "2020-01-01T00:00:00Z"}
    meddle = {"spec": {"template": {"metadata": {"annotations": theirs}}}}
    return _on(await site.deployment(), "restart_workload", meddle)


@scene
async def rollback_rollout(site: Site) -> Scene:
    ref = await site.deployment()
    (first,) = (await site.admin.list("ReplicaSet", site.space)).items
    container: JSON = {"name": "main", "image": "r.local/api:2.0"}
    await site.edit(ref, {"spec": {"template": {"spec": {"containers": [container]}}}})
    await site.revision(ref, 2)
    theirs = {"containers": [{"name": "main", "image": "r.local/api:3.0"}]}
    meddle = {"spec": {"template": {"spec": theirs}}}
    return _on(ref, "rollback_rollout", meddle, to_revision=1, replica_set=first["metadata"]["name"])


@scene
async def adjust_resources(site: Site) -> Scene:
    resources = {"limits": {"memory": "300Mi"}, "requests": {"memory": "99Mi"}}
    meddle = {"spec": {"template": {"spec": {"containers": [{"name": "main", "resources": resources}]}}}}
    ref = await site.deployment()
    return _on(
        ref, "adjust_resources", meddle, container="main", memory_limit="256Mi", memory_request="192Mi"
    )


@scene
async def scale_workload(site: Site) -> Scene:
    ref = await site.deployment()
    return _on(ref, "scale_workload", {"spec": {"replicas": 3}}, replicas=1)


@scene
async def delete_pod(site: Site) -> Scene:
    pods = await site.pods(replicas=2)
    return _on(site.ref("Pod", pods[0]["metadata"]["name"]), "delete_pod")


@scene
async def cordon_node(site: Site) -> Scene:
    return _on(await site.node(), "cordon_node")


@scene
async def evict_pod(site: Site) -> Scene:
    pods = await site.pods(replicas=2)
    return _on(site.ref("Pod", pods[0]["metadata"]["name"]), "evict_pod")


@scene
async def uncordon_node(site: Site) -> Scene:
    return _on(await site.node(unschedulable=True), "uncordon_node")


@scene
async def remove_node_from_service(site: Site) -> Scene:
    return _on(await site.node(), "remove_node_from_service")


@scene
async def drain_node(site: Site) -> Scene:
    ref = await site.node()
    await site.pods(replicas=3, node=ref.name)
    return _on(ref, "drain_node")


@scene
async def pause_rollout(site: Site) -> Scene:
    return _on(await site.deployment(), "pause_rollout")


@scene
async def resume_rollout(site: Site) -> Scene:
    ref = await site.deployment()
    await site.edit(ref, {"spec": {"paused": True}})
    await site.revision(ref, 1)
    return _on(ref, "resume_rollout")


@scene
async def hpa_bounds(site: Site) -> Scene:
    deployment = await site.deployment()
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name}
    spec = {"scaleTargetRef": scaled, "minReplicas": 1, "maxReplicas": 2}
    await site.make("HorizontalPodAutoscaler", {"metadata": {"name": "api"}, "spec": spec})
    ref = site.ref("HorizontalPodAutoscaler", "api")
    return _on(ref, "hpa_bounds", {"spec": {"maxReplicas": 9}}, max_replicas=4)


@scene
async def suspend_cronjob(site: Site) -> Scene:
    return _on(await site.cron_job(suspend=False), "suspend_cronjob")


@scene
async def resume_cronjob(site: Site) -> Scene:
    return _on(await site.cron_job(suspend=True), "resume_cronjob")


@scene
async def rerun_job(site: Site) -> Scene:
    return _on(await site.cron_job(suspend=False), "rerun_job")


@scene
async def rerun_job__failed(site: Site) -> Scene:
    await site.make("Job", {"metadata": {"name": "once"}, "spec": {"template": site.job_template()}})
    ref = site.ref("Job", "once")
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    status = {"status": {"conditions": [failed]}}

    async def said() -> bool:
        """Its controller has begun, and does not write over it any more."""
        if not (await site.live(ref)).get("status", {}).get("active"):
            return False
        merge = PatchType.MERGE
        await site.admin.patch(
            ref.kind, ref.namespace, ref.name, status, patch_type=merge, subresource="status"
        )
        await asyncio.sleep(0.3)
        return bool((await site.live(ref))["status"].get("conditions"))

    await eventually(said, _CONTROLLERS)
    return _on(ref, "rerun_job")


@scene
async def patch_config(site: Site) -> Scene:
    applied = {_APPLIED: json.dumps({"data": {"MODE": "steady"}})}
    body = {"metadata": {"name": "env", "annotations": applied}, "data": {"MODE": "wild", "OTHER": "1"}}
    await site.make("ConfigMap", body)
    ref = site.ref("ConfigMap", "env")
    return _on(ref, "patch_config", {"data": {"MODE": "theirs"}}, key="MODE", source="last_applied")


@scene
async def patch_config__secret(site: Site) -> Scene:
    applied = {_APPLIED: json.dumps({"stringData": {"TOKEN": "steady"}})}
    body = {"metadata": {"name": "env", "annotations": applied}, "data": {"TOKEN": "d2lsZA=="}}
    await site.make("Secret", body)
    ref = site.ref("Secret", "env")
    return _on(ref, "patch_config", {"data": {"TOKEN": "dGhlaXJz"}}, key="TOKEN", source="last_applied")


@scene
async def expand_pvc(site: Site) -> Scene:
    """A claim that is bound to a volume; on the simulated cluster nothing binds, so its status is written."""
    name = site.space
    driver = {"provisioner": "none.local/none", "allowVolumeExpansion": True}
    await site.make("StorageClass", {"metadata": {"name": name}} | driver)
    modes, size = {"accessModes": ["ReadWriteOnce"], "storageClassName": name}, {"storage": "1Gi"}
    claim = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": site.space, "name": "data"}
    volume = {"capacity": size, "hostPath": {"path": "/nowhere"}, "claimRef": claim}
    await site.make("PersistentVolume", {"metadata": {"name": name}, "spec": modes | volume})
    wanted = modes | {"resources": {"requests": size}, "volumeName": name}
    await site.make("PersistentVolumeClaim", {"metadata": {"name": "data"}, "spec": wanted})
    ref = site.ref("PersistentVolumeClaim", "data")
    if site.admin.name == "simulated":
        status = {"status": {"phase": "Bound", "capacity": size}}
        await site.admin.patch(
            ref.kind, ref.namespace, ref.name, status, patch_type=PatchType.MERGE, subresource="status"
        )

    async def bound() -> bool:
        live = await site.live(ref)
        return live.get("status", {}).get("phase") == "Bound" and "capacity" in live["status"]

    await eventually(bound, _CONTROLLERS)
    return _on(ref, "expand_pvc", size="2Gi")._replace(undo=False)  # no volume can be made smaller


@scene
async def escalate(site: Site) -> Scene:
    return _on(await site.deployment(), "escalate", reason="a person is to look")


@scene
async def open_pull_request(site: Site) -> Scene:
    """A Deployment that Argo CD owns; its manifest is in a repository with a provider of pull requests."""
    ref = await site.deployment()
    await site.edit(ref, {"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/api"}}})
    await site.revision(ref, 1)
    memory: dict[str, Any] = {"container": "main", "memory_limit": "256Mi", "memory_request": "192Mi"}
    scene = _on(ref, "open_pull_request", remedy="adjust_resources", **memory)
    return scene._replace(files={"api.yaml": MANIFEST})
