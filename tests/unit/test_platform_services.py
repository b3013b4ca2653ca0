"""What Services, schedules, schedulers and nodes do to a workload; each rule with a twin in which it keeps quiet."""

from __future__ import annotations

from datetime import timedelta

import pytest

from activities.analyzers import ANALYZERS
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.kubernetes.delivery import failure
from cortexops.domain.kubernetes.gateways import untaken
from cortexops.domain.kubernetes.nodes import file_server, missing_attacher
from cortexops.domain.kubernetes.placement import taints_until_ready, takes_taint
from cortexops.domain.kubernetes.schedules import longest_gap, overdue
from cortexops.domain.resource import JSON
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Edge, Relation, topology
from tests.investigation.objects import (
    NOW,
    ago,
    container,
    crash_loop,
    deployment,
    diagnose,
    event,
    node,
    pod,
    ref,
    replica_set,
    running,
    scene,
    service,
    template,
    terminated,
)

API = ref("Deployment", "api")


def outside(kind: str = "LoadBalancer", *addresses: str) -> JSON:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "entry", "namespace": "shop"},
        "spec": {"type": kind, "selector": {"app": "entry"}},
        "status": {"loadBalancer": {"ingress": [{"ip": each} for each in addresses]}},
    }


NO_SUBNET = "Error syncing load balancer: could not find any suitable subnets"


def balanced(live: JSON, *said: tuple[str, str]) -> list[str]:
    events = tuple(event(live, reason, message) for reason, message in said)
    made = scene(ref("Service", "entry"), live, events=events)
    return [each.summary for each in ANALYZERS["load_balancers"](made, EvidenceBook())]


def test_a_service_that_gets_no_load_balancer_says_why():
    found = balanced(outside(), ("SyncLoadBalancerFailed", NO_SUBNET))
    assert len(found) == 1
    assert "suitable subnets" in found[0]


@pytest.mark.parametrize(
    ("live", "reason", "message"),
    [
        (outside("LoadBalancer", "203.0.113.9"), "SyncLoadBalancerFailed", NO_SUBNET),
        (outside("ClusterIP"), "SyncLoadBalancerFailed", NO_SUBNET),
        (outside(), "Sync", "Error obtaining TLS certificate: secret was not found"),
        (outside(), "FailedToUpdateEndpoint", "conflict"),
    ],
)
def test_a_service_that_wants_or_has_none_is_left_alone(live: JSON, reason: str, message: str):
    assert balanced(live, (reason, message)) == []


def job_pod(beside: str, ended: str) -> tuple[JSON, JSON]:
    names = ("work", beside)
    live = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"template": {"spec": {"containers": [{"name": name} for name in names]}}},
        "status": {"active": 1, "startTime": ago(hours=3)},
    }  # fmt: skip
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": ended}}
    states: list[JSON] = [done, {"running": {"startedAt": ago(hours=3)}}]
    its: JSON = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "api-x", "namespace": "shop", "ownerReferences": [
            {"kind": "Job", "name": "api", "controller": True}]},
        "spec": {"containers": [{"name": name} for name in names]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": name, "image": "x", "ready": False, "restartCount": 0, "state": state}
            for name, state in zip(names, states, strict=True)]},
    }  # fmt: skip
    return live, its


@pytest.mark.parametrize(
    ("beside", "ended", "sure"),
    [("istio-proxy", 60, 0.92), ("second-half", 60, 0.55), ("istio-proxy", 1, 0.0)],
)
def test_a_job_is_held_open_by_what_stands_beside_its_work(beside: str, ended: int, sure: float):
    made = scene(ref("Job", "api"), *job_pod(beside, ago(minutes=ended)))
    found = ANALYZERS["jobs"](made, EvidenceBook())
    assert [each.support.direct for each in found] == ([sure] if sure else [])


def test_how_long_a_webhook_may_take_is_no_sign_of_waiting():
    def failed(message: str) -> bool:
        condition = {"type": "Ready", "status": "False", "reason": "UpgradeFailed", "message": message}
        return failure("HelmRelease", {"status": {"conditions": [condition]}}) is not None

    assert failed(
        'failed calling webhook "a.b": Post "https://a.b.svc:443/x?timeout=10s": no endpoints available'
    )
    assert not failed("timeout waiting for: [Deployment/shop/api status: 'InProgress']")


def test_a_driver_whose_attacher_does_not_answer_is_read_from_the_event():
    said = "timed out waiting for external-attacher of ebs.csi.aws.com CSI driver to attach volume vol-1"
    assert missing_attacher(said) == "ebs.csi.aws.com"
    assert missing_attacher("Multi-Attach error for volume") == ""


def test_new_pods_that_are_refused_are_told_while_those_of_before_serve():
    live = deployment(replicas=2, ready=2)
    says = 'pods "api-1-" is forbidden: no PriorityClass with name top was found'
    live["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": says}]
    found = diagnose(scene(API, live))
    assert found.cause is not None
    assert "no PriorityClass with name top" in found.cause.summary
    live["status"]["conditions"][0]["status"] = "False"
    assert diagnose(scene(API, live)).cause is None


@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        ("*/10 * * * *", timedelta(minutes=10)),
        ("5 * * * *", timedelta(hours=1)),
        ("0 */6 * * *", timedelta(hours=7)),
        ("30 1 * * *", timedelta(days=1)),
        ("TZ=Europe/Vienna 30 1 * * *", timedelta(days=1)),
        ("30 1 * * 1-5", timedelta(days=7)),
        ("30 1 1 * *", timedelta(days=31)),
        ("30 1 1 1 *", timedelta(days=366)),
        ("@hourly", timedelta(hours=1)),
        ("@every 90m", None),
        ("whenever", None),
    ],
)
def test_how_long_a_schedule_may_be_silent_is_never_guessed_too_short(schedule: str, gap: timedelta | None):
    assert longest_gap(schedule) == gap


@pytest.mark.parametrize(
    ("spec", "status", "late"),
    [
        ({}, {"lastScheduleTime": ago(days=2)}, True),
        ({}, {}, True),
        ({}, {"lastScheduleTime": ago(minutes=70)}, False),
        ({"suspend": True}, {"lastScheduleTime": ago(days=2)}, False),
        ({}, {"lastScheduleTime": ago(days=2), "active": [{"name": "x"}]}, False),
        ({"schedule": "whenever"}, {"lastScheduleTime": ago(days=2)}, False),
    ],
)
def test_a_cron_job_is_late_when_a_run_was_due_and_none_began(spec: JSON, status: JSON, late: bool):
    live: JSON = {
        "metadata": {"name": "x", "creationTimestamp": ago(days=9)},
        "spec": {"schedule": "0 * * * *", **spec},
        "status": status,
    }
    assert (overdue(live, NOW) is not None) is late


def test_the_file_server_is_read_from_the_mount_that_failed():
    said = "Mounting command: mount\nMounting arguments: -t nfs -o vers=4.1 10.96.1.2:/films /var/lib/x\nOutput: no"
    assert file_server(said) == "10.96.1.2"
    assert file_server("Mounting arguments: -t nfs4 shares.depot.svc:/films /x") == "shares.depot.svc"
    assert file_server("Mounting arguments: -t ext4 -o bind /dev/x /y") == ""


@pytest.mark.parametrize(
    ("scheduler", "minutes", "named"), [("volcano", 30, True), ("volcano", 1, False), ("default-scheduler", 30, False)]
)  # fmt: skip
def test_pods_that_a_scheduler_of_their_own_does_not_look_at_are_told(
    scheduler: str, minutes: int, named: bool
):
    live = deployment(replicas=1, ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 1)
    waits = pod(rs, node="", created=ago(minutes=minutes), ready=False)
    waits["spec"]["schedulerName"] = scheduler
    waits["spec"].pop("nodeName", None)
    waits["status"] = {"phase": "Pending"}
    found = ANALYZERS["scheduling"](scene(API, live, rs, waits), EvidenceBook())
    assert [each.facts.get("scheduler") for each in found] == (["volcano"] if named else [])


def local(policy: str, *nodes: str) -> tuple[JSON, JSON]:
    live = service("cache")
    live["spec"]["internalTrafficPolicy"] = policy
    slices = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "cache-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cache"}},
        "endpoints": [{"nodeName": name, "conditions": {"ready": True}} for name in nodes],
    }  # fmt: skip
    return live, slices


@pytest.mark.parametrize(
    ("policy", "nodes", "blamed"),
    [
        ("Local", ["node-2"], True),
        ("Cluster", ["node-2"], False),
        ("Local", ["node-1", "node-2"], False),
        ("Local", [], False),
    ],
)
def test_a_service_kept_to_its_node_is_blamed_where_the_caller_has_none_beside_it(
    policy: str, nodes: list[str], blamed: bool
):
    body = template("api", container(env=[{"name": "CACHE", "value": "cache:8080"}]))
    live = deployment(pod_template=body, replicas=1, ready=0)
    rs = replica_set(live, 4, body, ago(days=20), 1)
    fails = pod(rs, crash_loop(terminated(1)), ready=False)
    said = ["FATAL cache: dial tcp 10.96.1.1:8080: connect: connection refused (cache:8080)"]
    made = scene(API, live, rs, fails, node(), *local(policy, *nodes), logs=((fails, "api", True, said),))
    found = ANALYZERS["service_reach"](made, EvidenceBook())
    assert [each.resource.name for each in found] == (["cache"] if blamed else [])


def restless(*reasons: tuple[str, int]) -> list[str]:
    live = node()
    events = tuple(event(live, reason, f"{reason} {n}", count=n) for reason, n in reasons)
    found = diagnose(scene(ref("Node", "node-1"), live, events=events, kind=SignalType.NODE_NOT_READY))
    return [found.verdict.value, *(each.summary for each in found.hypotheses)]


def test_a_node_that_boots_again_and_again_is_not_well_though_it_is_ready():
    assert restless(("Rebooted", 4)) == [
        "root_cause", "Node node-1 was rebooted 4 times within two hours, and is ready at the moment"
    ]  # fmt: skip
    assert "has stopped being ready 5 times" in restless(("NodeNotReady", 5))[1]
    assert restless(("Rebooted", 1), ("NodeNotReady", 1)) == ["healthy"]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("KubeNodeNotReady", "healthy"),
        ("KubeNodeUnreachable", "healthy"),
        ("NodeFilesystemAlmostOutOfSpace", "unknown"),
        ("NodeClockNotSynchronising", "unknown"),
        ("NodeHighNumberConntrackEntriesUsed", "unknown"),
    ],
)
def test_a_node_is_called_well_only_of_what_its_status_shows(name: str, verdict: str):
    made = scene(ref("Node", "node-1"), node(), kind=SignalType.OTHER)
    signals = tuple(each.model_copy(update={"name": name, "summary": ""}) for each in made.signals)
    found = diagnose(made.model_copy(update={"signals": signals}))
    assert found.verdict.value == verdict
    assert ("no status of an object shows" in found.summary) is (verdict == "unknown")


def beside(other_port: int | None) -> list[str]:
    def workload(name: str, port: int | None) -> JSON:
        ports = [{"containerPort": port}] if port else []
        body = template("api", container(ports=ports))
        body["metadata"]["labels"] = {"app": name, "part": "api"}
        live = deployment(name, pod_template=body)
        live["spec"]["selector"] = {"matchLabels": {"app": name}}
        return live

    entry = service("api", {"part": "api"})
    both = [workload("api", 8080), workload("worker", other_port)]
    edges = [
        Edge(source=ref("Service", "api"), relation=Relation.SELECTS, target=ref("Deployment", name))
        for name in ("api", "worker")
    ]
    made = scene(ref("Service", "api"), entry, *both, kind=SignalType.ERROR_RATE)
    made = made.model_copy(update={"topology": topology(edges)})
    return [each.facts["other"] for each in ANALYZERS["service_reach"](made, EvidenceBook())]


def test_a_service_that_selects_pods_without_its_port_is_told_of_them():
    assert beside(9090) == ["worker"]
    assert beside(None) == ["worker"]
    assert beside(8080) == []


@pytest.mark.parametrize(
    ("name", "key", "takes"),
    [
        ("cilium", "node.cilium.io/agent-not-ready", True),
        ("node-exporter", "node.cilium.io/agent-not-ready", False),
        ("ebs-csi-node", "ebs.csi.aws.com/agent-not-ready", True),
        ("aws-cloud-controller-manager", "node.cloudprovider.kubernetes.io/uninitialized", True),
        ("kube-controller-manager", "node.cloudprovider.kubernetes.io/uninitialized", False),
    ],
)
def test_who_takes_a_taint_from_new_nodes_is_known_by_its_name(name: str, key: str, takes: bool):
    assert takes_taint({"metadata": {"name": name}}, key) is takes
    assert taints_until_ready(f"1 node(s) had untolerated taint {{{key}: true}}, 2 Insufficient cpu.") == [
        key
    ]


def test_taints_of_pools_and_of_conditions_are_nobodys_to_take():
    for key in ("pool.acme.dev/batch", "node.kubernetes.io/disk-pressure", "node.kubernetes.io/unreachable"):
        assert taints_until_ready(f"1 node(s) had untolerated taint {{{key}: }}.") == []


@pytest.mark.parametrize(
    ("policy", "began", "done", "told"),
    [
        ("Replace", ago(minutes=6), ago(hours=26), True),
        ("Replace", ago(minutes=6), ago(minutes=12), False),
        ("Replace", ago(hours=26), ago(hours=26), False),
        ("Allow", ago(minutes=6), ago(hours=26), False),
    ],
)
def test_runs_that_replace_one_another_are_told_when_none_has_ended_for_long(
    policy: str, began: str, done: str, told: bool
):
    live: JSON = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "api", "namespace": "shop", "creationTimestamp": ago(days=9)},
        "spec": {"schedule": "*/10 * * * *", "concurrencyPolicy": policy},
        "status": {"lastScheduleTime": began, "lastSuccessfulTime": done, "active": [{"name": "api-1"}]},
    }
    found = ANALYZERS["jobs"](scene(ref("CronJob", "api"), live), EvidenceBook())
    assert ["Replace" in each.summary for each in found] == ([True] if told else [])


@pytest.mark.parametrize(
    ("gate", "ready", "told"),
    [("False", True, "is False"), ("", True, "is set by nobody"), ("True", True, ""), ("", False, "")],
)
def test_a_readiness_gate_is_told_where_all_containers_are_ready(gate: str, ready: bool, told: str):
    live = deployment(replicas=1, ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 1)
    its = pod(rs, running(ready=ready), ready=False)
    its["spec"]["readinessGates"] = [{"conditionType": "acme.dev/warm"}]
    if gate:
        its["status"]["conditions"].append({"type": "acme.dev/warm", "status": gate, "reason": "Cold"})
    found = ANALYZERS["readiness_gates"](scene(API, live, rs, its), EvidenceBook())
    assert [told in each.summary for each in found] == ([True] if told else [])


@pytest.mark.parametrize(
    ("status", "untouched"),
    [
        ({}, True),
        ({"conditions": [{"type": "Accepted", "status": "Unknown", "reason": "Pending"}]}, True),
        ({"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]}, False),
        ({"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]}, False),
        ({"addresses": [{"value": "203.0.113.9"}]}, False),
    ],
)
def test_a_gateway_as_the_api_server_made_it_has_no_controller(status: JSON, untouched: bool):
    assert untaken({"status": status}) is untouched


@pytest.mark.parametrize(("label", "told"), [("other", ["carries=logs"]), ("logs", [])])
def test_a_daemon_set_for_a_label_that_no_node_has_is_told(label: str, told: list[str]):
    body = template("api", container(), nodeSelector={"carries": "logs"})
    live: JSON = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"template": body},
        "status": {"desiredNumberScheduled": 0},
    }
    at = node()
    at["metadata"]["labels"] = {"carries": label}
    found = ANALYZERS["daemons"](scene(ref("DaemonSet", "api"), live, at), EvidenceBook())
    assert [each.facts["labels"] for each in found] == told


@pytest.mark.parametrize(
    ("manager", "written", "wants", "told"),
    [
        ("argocd-controller", 2, 6, True),
        ("argocd-controller", 30, 6, False),
        ("kube-controller-manager", 2, 6, False),
        ("argocd-controller", 2, 2, False),
    ],
)
def test_who_writes_replicas_against_an_autoscaler_is_told(
    manager: str, written: int, wants: int, told: bool
):
    live = deployment(replicas=2, ready=2)
    live["metadata"]["managedFields"] = [
        {"manager": manager, "operation": "Update", "time": ago(minutes=written), "fieldsType": "FieldsV1",
         "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    ]  # fmt: skip
    scaler: JSON = {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"maxReplicas": 10, "scaleTargetRef": {"kind": "Deployment", "name": "api"}},
        "status": {"currentReplicas": 2, "desiredReplicas": wants, "lastScaleTime": ago(minutes=5),
                   "conditions": [{"type": "ScalingActive", "status": "True"}]},
    }  # fmt: skip
    where = ref("HorizontalPodAutoscaler", "api")
    made = scene(where, live, scaler, kind=SignalType.OTHER)
    edges = [Edge(source=where, relation=Relation.SCALES, target=API)]
    made = made.model_copy(update={"topology": topology(edges)})
    found = ANALYZERS["autoscaling"](made, EvidenceBook())
    assert [each.category.value for each in found] == (["scaled_down"] if told else [])
