"""How many requests reach what an action touches: counted, or unknown, and never taken for none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities import traffic as module
from activities.collectors._backend import HttpBackend
from activities.investigation import InvestigationActivities
from activities.traffic import Traffic
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.contracts.investigation import Investigated
from cortexops.domain.action import BlastRadius, Candidate
from cortexops.domain.errors import CortexError, InvalidInput, TemporaryError
from cortexops.domain.narrative import blast_text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Edge, Relation, topology
from cortexops.domain.traffic import Touched, touched, traffic_query
from sandbox.cluster.server import SimulatedApiServer
from tests.investigation.objects import NOW
from tests.investigation.test_activity import Diagnoses, question
from tests.investigation.test_collecting import seed
from tests.support.story import a_candidate
from tests.verification.prometheus import BINARY, MISSING, RATE, Server

real = pytest.mark.skipif(not BINARY, reason=MISSING or "there")


def ref(kind: str, name: str, namespace: str = "shop") -> ResourceRef:
    return ResourceRef(cluster="test", kind=kind, namespace=namespace, name=name)


API, POD, SERVICE, CONFIG = (
    ref("Deployment", "api"), ref("Pod", "api-5d9c7b6f4-x2v4z"), ref("Service", "front"), ref("ConfigMap", "env"),
)  # fmt: skip
NODE, OTHER = ref("Node", "n1", ""), ref("Pod", "job-1", "batch")
EDGES = (
    Edge(source=API, relation=Relation.OWNS, target=POD),
    Edge(source=SERVICE, relation=Relation.SELECTS, target=POD),
    Edge(source=API, relation=Relation.USES_CONFIG, target=CONFIG),
    Edge(source=POD, relation=Relation.RUNS_ON, target=NODE),
    Edge(source=OTHER, relation=Relation.RUNS_ON, target=NODE),
)


def scene() -> Scene:
    return Scene(
        cluster="test", environment="staging", target=API, now=NOW, onset=NOW, topology=topology(EDGES),
        objects={each.key: {} for each in (API, POD, SERVICE, CONFIG, NODE, OTHER)},
    )  # fmt: skip


class Says:
    """A Prometheus that answers by namespace, or fails."""

    name = "prometheus"

    def __init__(self, **values: float | CortexError | None) -> None:
        self.values = values
        self.asked: list[str] = []

    async def get(self, path: str, query: dict[str, str]) -> JSON:
        self.asked.append(query["query"])
        value = next(v for space, v in self.values.items() if f'namespace="{space}"' in query["query"])
        if isinstance(value, CortexError):
            raise value
        result = [] if value is None else [{"metric": {}, "value": [1, str(value)]}]
        return {"status": "success", "data": {"resultType": "vector", "result": result}}


def on(target: ResourceRef) -> Candidate:
    given = a_candidate()
    return given.model_copy(update={"action": given.action.model_copy(update={"target": target})})


async def told(backend: Any, *targets: ResourceRef) -> list[float | None]:
    found = await Traffic(backend, scene()).told([on(target) for target in targets])
    return [one.blast_radius.traffic for one in found]


def test_a_workload_is_reached_by_its_pods_and_the_services_in_front_of_it() -> None:
    (part,) = touched(scene(), API)
    assert (part.namespace, part.workloads, part.services) == ("shop", ("api",), ("front",))
    query = traffic_query(part)
    for metric in (
        "http_requests_total", "http_server_requests_seconds_count", "nginx_ingress_controller_requests",
        "istio_requests_total",
    ):  # fmt: skip
        assert f"{metric}{{" in query
    assert 'exported_service="front"' in query and 'destination_workload="api"' in query


def test_a_configmap_is_reached_through_the_workloads_that_use_it() -> None:
    assert touched(scene(), CONFIG) == touched(scene(), API)


def test_a_pod_is_not_taken_for_its_whole_workload() -> None:
    (part,) = touched(scene(), POD)
    assert (part.workloads, part.services) == ((), ())
    assert "nginx" not in traffic_query(part) and "istio" not in traffic_query(part)


def test_nothing_but_names_of_kubernetes_gets_into_the_query() -> None:
    with pytest.raises(InvalidInput):
        traffic_query(Touched(namespace='shop"} or up{x="', pods=("api",)))
    with pytest.raises(InvalidInput):
        traffic_query(Touched(namespace="shop", pods=("api",), services=('a"}',)))
    with pytest.raises(InvalidInput):
        traffic_query(Touched(namespace="shop", pods=tuple("abc" * 50)))


async def test_what_is_not_measured_is_unknown_and_a_measured_zero_is_zero() -> None:
    assert await told(Says(shop=None), API) == [None]
    assert await told(Says(shop=0.0), API) == [0.0]
    assert await told(Says(shop=float("nan")), API) == [None]
    assert await told(None, API) == [None]
    assert await told(Says(shop=5.0), ref("StorageClass", "fast")) == [None]


async def test_a_prometheus_that_fails_leaves_it_unknown() -> None:
    assert await told(Says(shop=TemporaryError("away")), API) == [None]
    node = await told(Says(shop=3.0, batch=TemporaryError("away")), NODE)
    assert node == [None], "a part that could not be asked is not left out silently"


async def test_a_slow_prometheus_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        async def get(self, path: str, query: dict[str, str]) -> JSON:
            await asyncio.sleep(30)
            return {}

    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    async with asyncio.timeout(5):
        assert await told(Slow(), API) == [None]


async def test_a_node_counts_what_reaches_its_pods_in_every_namespace() -> None:
    backend = Says(shop=3.0, batch=4.5)
    assert await told(backend, NODE) == [7.5]
    assert len(backend.asked) == 2


async def test_one_target_is_asked_once() -> None:
    backend = Says(shop=3.0)
    traffic = Traffic(backend, scene())
    await traffic.told([on(API), on(API)])
    await traffic.told([on(API)])
    assert len(backend.asked) == 1


def test_people_read_unknown_where_nobody_measured() -> None:
    assert blast_text(BlastRadius(replicas=3)) == "3 replicas, traffic unknown"
    assert blast_text(BlastRadius(replicas=3, traffic=0)) == "3 replicas, 0 requests/s"
    assert blast_text(BlastRadius(replicas=3, traffic=12345.6)) == "3 replicas, 12,346 requests/s"


async def test_the_investigation_tells_it_with_every_feasible_candidate(tmp_path: Path) -> None:
    async def found(backend: Any) -> Investigated:
        store: Any = Diagnoses()
        async with SimulatedApiServer() as server:
            seed(server)
            async with await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "k")) as cluster:
                activities = InvestigationActivities(
                    {"test": cluster}, store, None, lambda scene, diagnosis: [on(API)], clock=lambda: NOW,
                    telemetry={"test": {"prometheus": backend}} if backend else {},
                )  # fmt: skip
                result: Investigated = await ActivityEnvironment().run(activities.investigate, question())
                return result

    measured = [one for one in (await found(Says(shop=41.5))).candidates if one.feasible]
    assert measured and {one.blast_radius.traffic for one in measured} == {41.5}
    assert {one.blast_radius.traffic for one in (await found(None)).candidates} == {None}


@real
async def test_a_real_prometheus_counts_the_requests(server: Server) -> None:
    server.exporter.traffic("shop")
    backend = HttpBackend("prometheus", server.url)
    await asyncio.sleep(2.5)
    (part,) = touched(scene(), API)
    answer = await backend.get("/api/v1/query", {"query": traffic_query(part, seconds=1.5)})
    ((_, value),) = [item["value"] for item in answer["data"]["result"]]
    assert float(value) == pytest.approx(RATE, rel=0.2)
    (traffic,) = await told(backend, API)
    assert traffic is not None and traffic > 0
    absent = await Traffic(backend, scene()).told([on(ref("Deployment", "api", "empty"))])
    assert absent[0].blast_radius.traffic is None
