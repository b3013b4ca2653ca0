"""A cluster to mend, its two writers, and short ways to call the activities."""

from __future__ import annotations

import asyncio
import copy
import functools
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from activities.remediation import RemediationActivities
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.adapters.postgres import PostgresStore
from cortexops.cli.rbac import manifests
from cortexops.contracts.remediation import (
    ApplyInput,
    ApplyResult,
    CompensateInput,
    CompensateResult,
    DryRunInput,
    DryRunResult,
    Step,
)
from cortexops.domain.action import Action
from cortexops.domain.audit import AuditEvent
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.verification import Limits
from cortexops.ports.cluster import PatchType
from sandbox.cluster.faults import Faults

SECRET = "correct-horse-battery"
WRITER = "remediator"
POLICY = "policy-1"
LIMITS = Limits(window=0.2, stable_for=0.05, interval=0.05)
HEAVY = {"limits": {"memory": "128Mi"}, "requests": {"memory": "64Mi"}}


class Stage:
    """One cluster: `admin` is everybody else, `writer` is the product with the roles of `cortexops rbac`."""

    def __init__(
        self,
        admin: KubernetesCluster,
        writer: KubernetesCluster,
        reader: KubernetesCluster,
        store: PostgresStore,
        incident: str,
        space: str,
        faults: Faults | None,
    ) -> None:
        self.admin, self.writer, self.reader = admin, writer, reader
        self.store, self.space = store, space
        self.incident = incident
        self._faults = faults
        self.activities = RemediationActivities({admin.name: writer}, store)

    @property
    def faults(self) -> Faults:
        """Only of the simulated cluster."""
        assert self._faults is not None
        return self._faults

    def readers(self) -> Stage:
        """The same, but the product was given the reading identity only."""
        return Stage(
            self.admin, self.reader, self.reader, self.store, self.incident, self.space, self._faults
        )

    def ref(self, kind: str = "Deployment", name: str = "api") -> ResourceRef:
        namespace = "" if kind == "Node" else self.space
        return ResourceRef(cluster=self.admin.name, kind=kind, namespace=namespace, name=name)

    def step(self, attempt: int = 1) -> Step:
        return Step(incident_id=self.incident, attempt=attempt)

    def action(self, type_: str, target: ResourceRef | None = None, **params: Any) -> Action:
        return Action(type=type_, target=target or self.ref(), params=params)

    async def live(self, target: ResourceRef | None = None) -> JSON:
        ref = target or self.ref()
        return await self.admin.get(ref.kind, ref.namespace, ref.name)

    async def edit(self, body: JSON, target: ResourceRef | None = None) -> JSON:
        """What somebody else does to the object."""
        ref = target or self.ref()
        return await self.admin.patch(ref.kind, ref.namespace, ref.name, body, patch_type=PatchType.STRATEGIC)

    async def generation(self) -> int:
        return int((await self.live())["metadata"]["generation"])

    async def dry_run(self, action: Action, attempt: int = 1) -> DryRunResult:
        return await self.activities.dry_run(
            DryRunInput(step=self.step(attempt), action=action, policy_revision=POLICY)
        )

    async def order(self, action: Action, attempt: int = 1) -> ApplyInput:
        """The order that follows a dry run which passed."""
        found = await self.dry_run(action, attempt)
        assert found.ok and found.prepared is not None, found.detail
        return ApplyInput(
            step=self.step(attempt), prepared=found.prepared, digest=found.digest, policy_revision=POLICY
        )

    async def apply(self, order: ApplyInput) -> ApplyResult:
        return await self.activities.apply(order)

    async def compensate(self, operation: str, attempt: int = 1) -> CompensateResult:
        return await self.activities.compensate(
            CompensateInput(
                step=self.step(attempt),
                operation_id=operation,
                limits=LIMITS,
                subject=self.ref("Service", "none"),
            )
        )

    async def trail(self) -> list[AuditEvent]:
        """What was recorded of the incident, except that it began."""
        return (await self.store.events(self.incident))[1:]

    async def said(self) -> str:
        """Everything that was written for people: audit rows, and the ledger's details and snapshots."""
        rows = await self.store.rows_of(self.incident)
        return repr([event.model_dump() for event in await self.trail()]) + repr(
            [(row.detail, row.snapshot, str(row.action)) for row in rows]
        )

    async def deployment(self, name: str = "api", **more: Any) -> JSON:
        """A Deployment without replicas, so that no kubelet is needed, once its controller has seen it."""
        await self.admin.create("Deployment", self.space, workload(name, **more))
        return await self.revision(name, 1)

    async def revision(self, name: str, number: int) -> JSON:
        async def there() -> JSON | None:
            live = await self.live(self.ref("Deployment", name))
            seen = live.get("status", {}).get("observedGeneration") == live["metadata"]["generation"]
            notes = live["metadata"].get("annotations") or {}
            return live if seen and notes.get("deployment.kubernetes.io/revision") == str(number) else None

        found: JSON = await eventually(there)
        return found

    async def rolled_out(self) -> tuple[JSON, str]:
        """A Deployment at revision 2 (image 2.0, one variable more); the name of revision 1's ReplicaSet."""
        await self.deployment()
        body = {
            "spec": {
                "template": {
                    "spec": {
                        "containers": [
                            {
                                "name": "main",
                                "image": "r.local/api:2.0",
                                "env": [{"name": "NEW", "value": "1"}],
                            }
                        ]
                    }
                }
            }
        }
        await self.edit(body)
        live = await self.revision("api", 2)
        found = await self.admin.list("ReplicaSet", self.space)
        (first,) = [
            one["metadata"]["name"]
            for one in found.items
            if one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
        ]
        return live, first


def workload(name: str = "api", **spec: Any) -> JSON:
    labels = {"app": name}
    container = {
        "name": "main",
        "image": "r.local/api:1.0",
        "resources": copy.deepcopy(HEAVY),
        "env": [{"name": "DB_PASSWORD", "value": SECRET}, {"name": "LOG_LEVEL", "value": "info"}],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template} | spec,
    }


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """Ask again until the answer is true; that answer."""
    async with asyncio.timeout(seconds):
        while not (answer := await check()):
            await asyncio.sleep(0.02)
        return answer


@functools.cache
def _printed() -> list[JSON]:
    """What `cortexops rbac` prints; not to be changed."""
    return list(yaml.safe_load_all(manifests(None, "cortexops/cortexops")))


async def grant(kubeconfig: str, user: str, role: str, authority: str = "") -> None:
    """Give the user one of the roles (investigator, remediator) that `cortexops rbac` prints."""
    document = yaml.safe_load(Path(kubeconfig).read_text())
    access = document["clusters"][0]["cluster"]
    token = document["users"][0]["user"]["token"]
    context = ssl.create_default_context()
    if authority:
        context.load_verify_locations(cadata=authority)
    else:
        context.load_verify_locations(access["certificate-authority"])
    async with httpx.AsyncClient(
        verify=context,
        trust_env=False,
        base_url=access["server"],
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        for obj in _printed():
            if not obj["metadata"]["name"].endswith(f"-{role}"):
                continue
            if "subjects" in obj:
                subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
                obj = obj | {"subjects": [subject]}  # noqa: PLW2901
            plural = f"{obj['kind'].lower()}s"
            answer = await client.post(f"/apis/rbac.authorization.k8s.io/v1/{plural}", json=obj)
            assert answer.status_code in (201, 409), answer.text
