"""Collecting from an API server that is large, forbidding, slow or half there."""

from __future__ import annotations

import asyncio
import resource
import time
import uuid
from datetime import timedelta

import pytest

from activities.investigate import investigate
from activities.oneshot import investigate_payload
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.evidence import GapReason
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.signal import Signal
from sandbox.cluster.faults import Fault
from sandbox.cluster.kinds import BY_KIND
from sandbox.cluster.server import SimulatedApiServer
from tests.investigation.objects import (
    NOW,
    ago,
    config_map,
    container,
    crash_loop,
    deployment,
    node,
    pod,
    replica_set,
    running,
    service,
    template,
    terminated,
)


@pytest.fixture
async def server():
    async with SimulatedApiServer() as running_server:
        yield running_server


@pytest.fixture
async def cluster(server, tmp_path):
    client = await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "admin"), request_timeout=5)
    yield client
    await client.close()


def put(server: SimulatedApiServer, obj: JSON) -> None:
    """Store an object just as it is, with its status, times and managed fields."""
    resource_kind = BY_KIND[obj["kind"]]
    metadata = {"uid": str(uuid.uuid4()), "creationTimestamp": NOW.strftime("%Y-%m-%dT%H:%M:%SZ")}
    body = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
    body["metadata"] = metadata | obj["metadata"]
    server.store.put(resource_kind.key, body["metadata"].get("namespace", ""), body["metadata"]["name"], body)


def seed(server: SimulatedApiServer) -> JSON:
    """A crash-looping Deployment in the namespace shop, with configuration and a Service."""
    put(server, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}})
    env: JSON = {"envFrom": [{"configMapRef": {"name": "api-env"}}]}
    live = deployment(pod_template=template("api", container(**env)), ready=1)
    rs = replica_set(live, 4, live["spec"]["template"], live["metadata"]["creationTimestamp"], 2)
    rs["spec"]["selector"] = {"matchLabels": rs["metadata"]["labels"]}
    bad = pod(rs, crash_loop(terminated(1)))
    good = pod(rs, running(), suffix="qq8zz")
    for obj in (
        node(),
        config_map("api-env", {"POOL_SIZE": "ten"}, changed={"POOL_SIZE": ago(hours=6)}),
        service("api"),
        live,
        rs,
        bad,
        good,
    ):
        put(server, obj)
    stored = server.store.get(BY_KIND["Pod"].key, "shop", bad["metadata"]["name"])
    assert stored is not None
    server.logs.append("shop", stored["metadata"]["uid"], "api", "FATAL invalid POOL_SIZE: ten\n")
    server.logs.rotate("shop", stored["metadata"]["uid"], "api")
    return bad


def alert(kind: str, name: str, namespace: str = "shop") -> Signal:
    ref = ResourceRef(cluster="test", kind=kind, namespace=namespace, name=name)
    return Signal(
        source="test", cluster="test", name="KubePodCrashLooping", resource=ref, started_at=NOW
    ).sealed()


async def look(cluster, signal: Signal, **more):
    return await investigate(
        cluster, [signal], target=signal.resource, environment="production", now=NOW, **more
    )


async def test_requests_do_not_grow_with_the_namespace(server, cluster):
    bad = seed(server)
    owner = {"kind": "ReplicaSet", "metadata": {"name": "other"}, "spec": {"template": template("other")}}
    for number in range(5000):
        other = pod(owner, running(), suffix=f"{number:05d}")
        other["metadata"].pop("ownerReferences")
        put(server, other)
        if number % 5 == 0:
            put(
                server,
                {
                    "apiVersion": "v1",
                    "kind": "Event",
                    "metadata": {"name": f"other-{number:05d}.1", "namespace": "shop"},
                    "involvedObject": {"kind": "Pod", "name": f"other-{number:05d}", "namespace": "shop"},
                    "type": "Normal",
                    "reason": "Pulled",
                    "message": "pulled",
                },
            )
    began, before = time.perf_counter(), cluster.requests
    scene, diagnosis = await look(cluster, alert("Pod", bad["metadata"]["name"]))
    seconds, requests = time.perf_counter() - began, cluster.requests - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"5,000 pods: {requests} requests, {seconds:.2f} s, {peak} MiB peak with the server in process")
    assert requests <= 25
    assert seconds < 3
    assert diagnosis.cause is not None and diagnosis.cause.resource.name == "api-env"
    assert len(scene.objects) < 60


async def test_twenty_milliseconds_a_request_stay_below_three_seconds(server, cluster):
    bad = seed(server)
    server.faults.add(Fault(path=".*", latency=0.02))
    began = time.perf_counter()
    _, diagnosis = await look(cluster, alert("Pod", bad["metadata"]["name"]))
    assert time.perf_counter() - began < 3 and diagnosis.cause is not None


async def test_forbidden_logs_are_a_gap_and_the_rest_goes_on(server, cluster):
    seed(server)
    server.faults.add(Fault(path="/log", status=403))
    _, diagnosis = await look(cluster, alert("Deployment", "api"))
    assert any(
        gap.reason is GapReason.FORBIDDEN and gap.what == "get pods/log in namespace shop"
        for gap in diagnosis.gaps
    )
    assert diagnosis.verdict == "hypothesis"  # what the program says is not known


async def test_forbidden_configmaps_are_a_gap_and_the_crash_is_still_told(server, cluster):
    seed(server)
    server.faults.add(Fault(path="/configmaps", status=403))
    _, diagnosis = await look(cluster, alert("Deployment", "api"))
    assert any("configmaps" in gap.what and gap.reason is GapReason.FORBIDDEN for gap in diagnosis.gaps)
    assert diagnosis.cause is not None


async def test_a_failing_kind_is_an_error_gap(server, cluster):
    seed(server)
    server.faults.add(Fault(path="/horizontalpodautoscalers", status=500))
    _, diagnosis = await look(cluster, alert("Deployment", "api"))
    assert any(gap.reason is GapReason.ERROR for gap in diagnosis.gaps) and diagnosis.cause is not None


async def test_an_api_that_hangs_does_not_exceed_the_budget(server, cluster):
    seed(server)
    server.faults.add(Fault(path="/(configmaps|events|nodes)", hang=True))
    began = time.perf_counter()
    _, diagnosis = await look(cluster, alert("Deployment", "api"), budget_seconds=1)
    assert time.perf_counter() - began < 2
    cut = [gap for gap in diagnosis.gaps if gap.reason is GapReason.CUT]
    assert cut and "configuration" in cut[0].what


async def test_an_api_that_hangs_from_the_start_gives_an_unknown_verdict(server, cluster):
    server.faults.add(Fault(path=".*", hang=True))
    _, diagnosis = await look(cluster, alert("Deployment", "api"), budget_seconds=0.5)
    assert diagnosis.verdict == "unknown" and diagnosis.gaps[0].reason is GapReason.CUT


async def test_a_target_that_does_not_exist_is_reported_unknown_with_the_reason(server, cluster):
    seed(server)
    report = await investigate_payload(
        cluster, [alert("Deployment", "nothing")], NOW, lambda scene, diagnosis: []
    )
    (incident,) = report["incidents"]
    assert incident["verdict"] == "unknown" and incident["root_cause"] is None
    assert incident["escalate"] and "nothing" in incident["escalation_reason"]


async def test_a_pod_that_was_replaced_since_the_alert_leads_to_its_workload(server, cluster):
    seed(server)
    report = await investigate_payload(
        cluster, [alert("Pod", "api-45f7c9d4b-zzzzz")], NOW, lambda scene, diagnosis: []
    )
    assert report["incidents"][0]["root_cause"]["resource"]["name"] == "api-env"


async def test_several_alerts_of_one_workload_are_investigated_once(server, cluster):
    bad = seed(server)
    signals = [alert("Pod", bad["metadata"]["name"]), alert("Deployment", "api"), alert("Service", "api")]
    report = await investigate_payload(cluster, signals, NOW, lambda scene, diagnosis: [])
    assert len(report["incidents"]) == 1 and len(report["incidents"][0]["signals"]) == 3


async def test_a_failing_memory_is_counted_and_done_without(server, cluster):
    from cortexops.domain.errors import TemporaryError
    from cortexops.metrics import MEMORY_FAILURES

    class Broken:
        async def recall(self, text, *, cluster, most=3):
            raise TemporaryError("down", delay=timedelta(seconds=1))

    seed(server)
    counter = MEMORY_FAILURES.labels(operation="recall")._value
    before = counter.get()
    _, diagnosis = await look(cluster, alert("Deployment", "api"), memory=Broken())
    assert diagnosis.cause is not None and diagnosis.similar == () and counter.get() == before + 1


async def test_cancelling_an_investigation_leaves_nothing_running(server, cluster):
    seed(server)
    server.faults.add(Fault(path="/configmaps", hang=True))
    before = asyncio.all_tasks()
    task = asyncio.create_task(look(cluster, alert("Deployment", "api")))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = [t for t in asyncio.all_tasks() - before if "gathering" in str(t.get_coro()) or "Reads" in str(t)]
    assert left == []


REFUSED = "ERROR dial tcp: lookup ok, connect to postgres:5432: connection refused"


def seed_chain(server: SimulatedApiServer) -> None:
    """api crashes because postgres is killed for memory; rabbit is down, too, but nobody minds."""
    put(server, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}})
    calls = container(env=[{"name": "DB_HOST", "value": "postgres"}, {"name": "MQ_HOST", "value": "rabbit"}])
    live = deployment(pod_template=template("api", calls), ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, crash_loop(terminated(1)))
    db = deployment("postgres", template("postgres", container("postgres")), replicas=1, ready=0)
    db_rs = replica_set(db, 2, db["spec"]["template"], ago(days=30), 1)
    killed = pod(db_rs, crash_loop(terminated(137, "OOMKilled"), "postgres"))
    mq = deployment("rabbit", template("rabbit", container("rabbit")), replicas=1, ready=0)
    services = [
        service(name) | {"spec": {**service(name)["spec"], "clusterIP": ""}}
        for name in ("api", "postgres", "rabbit")
    ]
    for obj in (node(), live, rs, bad, db, db_rs, killed, mq, *services):
        put(server, obj)
    server.logs.append("shop", bad["metadata"]["uid"], "api", REFUSED + "\n")
    server.logs.rotate("shop", bad["metadata"]["uid"], "api")


async def test_a_crash_is_followed_upstream_to_the_workload_that_broke(server, cluster):
    seed_chain(server)
    before = cluster.requests
    _, diagnosis = await look(cluster, alert("Deployment", "api"))
    assert cluster.requests - before <= 25
    assert diagnosis.cause is not None
    assert (diagnosis.cause.resource.name, diagnosis.cause.category) == ("postgres", "oom_limit_too_low")
    assert not any(h.resource.name == "rabbit" for h in diagnosis.hypotheses)


async def test_alerts_of_victim_and_culprit_are_one_incident(server, cluster):
    seed_chain(server)
    signals = [alert("Deployment", "api"), alert("Deployment", "postgres")]
    report = await investigate_payload(cluster, signals, NOW, lambda scene, diagnosis: [])
    assert [i["root_cause"]["resource"]["name"] for i in report["incidents"]] == ["postgres"]


async def test_an_alert_about_a_service_reaches_the_workload_behind_it(server, cluster):
    seed(server)
    _, diagnosis = await look(cluster, alert("Service", "api"))
    assert diagnosis.cause is not None and diagnosis.cause.resource.name == "api-env"


async def test_an_ingress_to_a_service_that_does_not_exist_is_misrouted(server, cluster):
    seed(server)
    backend = {"service": {"name": "shop-web", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    put(
        server,
        {
            "kind": "Ingress",
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {"rules": [{"host": "shop.example.com", "http": {"paths": paths}}]},
        },
    )
    _, diagnosis = await look(cluster, alert("Ingress", "shop"))
    assert diagnosis.cause is not None and diagnosis.cause.category == "service_misrouted"
