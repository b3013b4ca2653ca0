"""Reading what a model asked for: only what was shown, only reading, nothing secret."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.reasoning import ReasoningActivities
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.contracts.reasoning import MoreInput
from cortexops.domain.evidence import Evidence
from cortexops.domain.reasoning_answers import EvidenceRequest, Gathered
from cortexops.domain.resource import ResourceRef
from sandbox.cluster.kinds import BY_KIND
from sandbox.cluster.server import SimulatedApiServer
from tests.investigation.objects import container, deployment, event, pod, replica_set, running, template
from tests.investigation.test_collecting import put
from tests.model.support import Diagnoses

SECRET = "correct-horse-battery-staple"


def ref(kind: str, name: str) -> ResourceRef:
    return ResourceRef(cluster="test", kind=kind, namespace="shop", name=name)


@pytest.fixture
async def server() -> AsyncIterator[SimulatedApiServer]:
    async with SimulatedApiServer() as running_server:
        put(running_server, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}})
        yield running_server


@pytest.fixture
async def activities(server: SimulatedApiServer, tmp_path: Path) -> AsyncIterator[ReasoningActivities]:
    client = await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "admin"), request_timeout=5)
    store: Any = Diagnoses()
    yield ReasoningActivities(None, {"test": client}, store)
    await client.close()


def a_pod(server: SimulatedApiServer, *lines: str) -> ResourceRef:
    """A Deployment with one pod that uses a Secret and wrote these lines."""
    env: dict[str, Any] = {"envFrom": [{"secretRef": {"name": "db"}}]}
    live = deployment(pod_template=template("api", container(**env)), ready=1)
    rs = replica_set(live, 4, live["spec"]["template"], live["metadata"]["creationTimestamp"], 1)
    made = pod(rs, running())
    data = {"password": base64.b64encode(SECRET.encode()).decode()}
    secret = {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "db", "namespace": "shop"},
        "data": data,
    }
    for obj in (live, rs, made, secret):
        put(server, obj)
    stored = server.store.get(BY_KIND["Pod"].key, "shop", made["metadata"]["name"])
    assert stored is not None
    server.logs.append("shop", stored["metadata"]["uid"], "api", "".join(f"{line}\n" for line in lines))
    return ref("Pod", made["metadata"]["name"])


async def read(
    activities: ReasoningActivities, *requests: EvidenceRequest, objects: tuple[ResourceRef, ...]
) -> Gathered:
    question = MoreInput(
        incident_id="INC-1",
        target=objects[0],
        requests=requests,
        objects=objects,
        used=("e1", "e7"),
        seconds=10,
    )
    found = await ActivityEnvironment().run(activities.more_evidence, question)
    assert isinstance(found, Gathered)
    return found


def asking(object: str, collector: str, **more: Any) -> EvidenceRequest:
    base = {"collector": collector, "object": object, "container": "", "previous": False, "lines": 50}
    return EvidenceRequest(**{**base, **more})


def only(found: Gathered) -> Evidence:
    (fact,) = found.evidence
    return fact


async def test_lines_of_a_log_come_with_a_new_id_and_without_the_pods_secrets(
    server: SimulatedApiServer, activities: ReasoningActivities
) -> None:
    name = a_pod(server, "one", f"login with {SECRET} failed", "three")
    fact = only(await read(activities, asking("o1", "logs", lines=2), objects=(name,)))
    assert fact.id == "e8"
    assert fact.excerpt.splitlines() == ["login with [redacted:known_secret] failed", "three"]
    assert fact.command.startswith("kubectl -n shop logs ")


async def test_a_container_that_the_pod_does_not_have_is_refused(
    server: SimulatedApiServer, activities: ReasoningActivities
) -> None:
    name = a_pod(server, "one")
    found = await read(activities, asking("o1", "logs", container="sidecar"), objects=(name,))
    assert found == Gathered(refused=1)


async def test_events_status_revisions_and_quota_are_told(
    server: SimulatedApiServer, activities: ReasoningActivities
) -> None:
    name = a_pod(server, "one")
    about = {"kind": "Pod", "metadata": {"name": name.name, "namespace": "shop"}}
    put(server, {"kind": "Event", "apiVersion": "v1"} | event(about, "BackOff", "it restarts"))
    quota = {"hard": {"pods": "2"}, "used": {"pods": "2"}}
    put(
        server,
        {
            "kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "small", "namespace": "shop"},
            "spec": {"hard": {"pods": "2"}}, "status": quota,
        },
    )  # fmt: skip
    found = await read(
        activities,
        asking("o1", "events"), asking("o1", "status"), asking("o2", "revisions"), asking("o1", "quota"),
        objects=(name, ref("Deployment", "api")),
    )  # fmt: skip
    said = [fact.summary for fact in found.evidence]
    assert found.refused == 0 and len({fact.id for fact in found.evidence}) == 4
    assert "it restarts" in said[0] and said[1].startswith(f"status of {name}: phase Running")
    assert said[2] == "revisions of Deployment shop/api" and "revision 4 since" in found.evidence[2].excerpt
    assert said[3] == "ResourceQuota shop/small uses pods 2 of 2"


async def test_what_was_not_shown_or_is_not_there_is_refused_and_nothing_is_written(
    server: SimulatedApiServer, activities: ReasoningActivities
) -> None:
    objects = (ref("Deployment", "gone"), ref("Secret", "db"))
    requests = (
        asking("o1", "status"), asking("o2", "status"), asking("o3", "status"), asking("o1", "exec"),
        asking("o1", "logs"), asking("Pod shop/x", "logs"),
    )  # fmt: skip
    before = server.store.dump()
    assert await read(activities, *requests, objects=objects) == Gathered(refused=6)
    assert server.store.dump() == before
