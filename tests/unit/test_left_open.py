"""What alerts speak of, and what forbids to call a target healthy whose own pods are well."""

from __future__ import annotations

from typing import Any

import pytest

from cortexops.domain.left_open import left_open
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Scene
from cortexops.domain.seen import shown_by_no_status, signal_types
from cortexops.domain.signal import SignalType, signal_type
from cortexops.domain.topology import Edge, Relation, topology
from tests.investigation.objects import (
    ago,
    container,
    deployment,
    diagnose,
    pod,
    ref,
    replica_set,
    running,
    scene,
    service,
    signal,
    template,
    told,
)

API = ref("Deployment", "api")


def workload(name: str, *states: JSON, calls: str = "") -> tuple[JSON, ...]:
    """A Deployment with a pod for each state, and its Service."""
    env = [{"name": "PEER_URL", "value": f"http://{calls}"}] if calls else []
    ready = sum(state["ready"] for state in states)
    live = deployment(name, template(name, container(name, env=env)), replicas=len(states), ready=ready)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), len(states))
    own = [pod(rs, state, suffix=f"aa{place}zz") for place, state in enumerate(states)]
    return live, rs, *own, service(name)


def alerted(made: Scene, name: str, summary: str = "", kind: str = "Deployment") -> Scene:
    one = signal(ref(kind, "api"), name, signal_type(name)).model_copy(update={"summary": summary})
    return made.model_copy(update={"signals": (one,)})


@pytest.mark.parametrize(
    ("name", "summary", "kind"),
    [
        ("KafkaConsumerLag", "", "Deployment"),
        ("QueueNotDrained", "", "StatefulSet"),
        ("InboxQueueDepth", "", "Service"),
        ("RenderBacklogGrowing", "", "Deployment"),
        ("FeedStale", "", "Service"),
        ("MailWorkerIdle", "", "Deployment"),
        ("Pager", "no messages consumed for 5m", "DaemonSet"),
        ("NodejsEventLoopDelayed", "", "Deployment"),
        ("ImportStuck", "", "Rollout"),
        ("BrokerSaturation", "", "Service"),
    ],
)
def test_work_that_waits_is_late_answers_to_those_who_wait(name: str, summary: str, kind: str) -> None:
    made = alerted(scene(API), name, summary, kind)
    assert SignalType.LATENCY in signal_types(made)
    assert shown_by_no_status(made) == [name]


@pytest.mark.parametrize(
    ("name", "summary"),
    [
        ("MenuUnavailable", ""), ("LoginsRejected", ""), ("Pager", "no orders for 10 minutes"), ("SiteDegraded", ""),
        ("UpstreamTimeouts", ""), ("PacketsDropped", ""), ("Watch", "the page is unreachable"),
    ],
)  # fmt: skip
def test_what_is_not_served_is_bad_answers(name: str, summary: str) -> None:
    assert SignalType.ERROR_RATE in signal_types(alerted(scene(API), name, summary, "Service"))


@pytest.mark.parametrize(
    ("name", "summary", "kind"),
    [
        ("KubePersistentVolumeStuck", "", "Deployment"),
        ("NodeClockLag", "", "Deployment"),
        ("PodCleanup", "pod is stuck terminating", "Deployment"),
        ("DeploymentWithoutPods", "", "Deployment"),
        ("Check", "", "Deployment"),
        ("BatchLag", "", "CronJob"),
        ("KubeDeploymentReplicasUnavailable", "", "Deployment"),
        ("QueueCreated", "queue orders declared", "Deployment"),
        ("LagoonVisits", "", "Service"),
    ],
)
def test_rules_of_the_platform_and_other_words_are_no_late_answers(
    name: str, summary: str, kind: str
) -> None:
    assert not signal_types(alerted(scene(API), name, summary, kind)) & {
        SignalType.LATENCY,
        SignalType.ERROR_RATE,
    }


@pytest.mark.parametrize(
    ("name", "summary", "hidden"),
    [
        ("SignUps", "sign-ups per minute 55% below last week", True),
        ("LoginLoopRate", "share of repeated logins above 30%", True),
        ("SettlementSLOBurn", "", True),
        ("RestartsOfApi", "more than 3 restarts in 10m", False),
        ("ReplicasOfApi", "replicas below 2", False),
        ("HighErrorRate", "5% of requests fail", False),
        ("KubeQuotaAlmostFull", "usage above 90%", False),
    ],
)
def test_a_measure_of_the_teams_own_is_shown_by_no_status(name: str, summary: str, hidden: bool) -> None:
    assert bool(shown_by_no_status(alerted(scene(API), name, summary))) is hidden


def test_with_everything_well_the_target_is_healthy_unless_the_alert_is_about_what_no_status_shows() -> None:
    made = scene(API, *workload("api", running("api"), running("api")))
    assert told(diagnose(alerted(made, "DeploymentWithoutPods")))[0] == "healthy"
    found = diagnose(alerted(made, "ConsumerLag"))
    assert told(found)[0] == "unknown"
    assert "no status" in found.summary


def with_callee(*states: JSON, lines: tuple[str, ...] = ()) -> Scene:
    callee = workload("depot", *states)
    logs: Any = tuple((callee[2], "depot", False, list(lines)) for _ in range(bool(lines)))
    return scene(API, *workload("api", running("api"), calls="depot"), *callee, logs=logs)


def test_a_callee_that_is_short_of_pods_lately_leaves_the_question_open() -> None:
    made = alerted(with_callee(running("depot"), running("depot", ready=False)), "Check")
    (said,) = left_open(made, [API])
    assert "depot" in said and "1 of 2" in said
    assert told(diagnose(made))[0] == "unknown"


def test_a_callee_that_is_well_and_says_little_leaves_nothing_open() -> None:
    lines = ("INFO served", "ERROR one thing failed", *["INFO served"] * 20)
    made = alerted(with_callee(running("depot"), lines=lines), "Check")
    assert left_open(made, [API]) == ()
    assert told(diagnose(made))[0] == "healthy"


def test_a_callee_that_logs_failures_in_numbers_leaves_the_question_open() -> None:
    made = alerted(with_callee(running("depot"), lines=("ERROR cannot seal crate",) * 6), "Check")
    assert any("logs failures" in said for said in left_open(made, [API]))
    assert told(diagnose(made))[0] != "healthy"


def scaler(reason: str, since: str) -> JSON:
    limited = {"type": "ScalingLimited", "status": "True", "reason": reason, "lastTransitionTime": since}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "api", "namespace": "shop", "creationTimestamp": ago(days=60)},
        "spec": {
            "minReplicas": 1, "maxReplicas": 1,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
        },
        "status": {"currentReplicas": 1, "conditions": [limited]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "since", "name", "open_"),
    [
        ("TooManyReplicas", ago(days=6), "Check", True),
        ("TooManyReplicas", ago(minutes=20), "KubePodCrashLooping", True),
        ("TooManyReplicas", ago(days=6), "KubePodCrashLooping", False),
        ("TooFewReplicas", ago(minutes=20), "Check", False),
    ],
)
def test_an_autoscaler_at_its_maximum_leaves_the_question_open(
    reason: str, since: str, name: str, open_: bool
) -> None:
    made = alerted(scene(API, *workload("api", running("api")), scaler(reason, since)), name)
    scales = Edge(source=ref("HorizontalPodAutoscaler", "api"), relation=Relation.SCALES, target=API)
    made = made.model_copy(update={"topology": topology([*made.topology.edges, scales])})
    assert bool(left_open(made, [API])) is open_


def test_a_number_that_no_container_declares_is_a_cause_only_where_nobody_listens() -> None:
    caller, callee = workload("api", running("api"), calls="depot"), workload("depot", running("depot"))
    callee = (*callee[:-1], service("depot", port=9999))
    for line, root in (
        ("ERROR dial tcp depot:80: connect: connection refused", True),
        ("ERROR GET http://depot/x answered 500 internal server error", False),
    ):
        logs: Any = ((caller[2], "api", False, [line] * 4),)
        made = scene(API, *caller, *callee, logs=logs, kind=SignalType.ERROR_RATE)
        found = diagnose(made)
        assert (told(found) == ("root_cause", "service_misrouted", "Service depot")) is root, line


def test_a_port_that_the_program_tells_is_a_cause_only_where_callers_are_refused() -> None:
    caller, callee = workload("api", running("api"), calls="depot"), workload("depot", running("depot"))
    refused = "ERROR dial tcp depot:80: connect: connection refused"
    for said, opens, root in (
        (refused, "server listening on 0.0.0.0:9797", True),
        ("ERROR GET http://depot/x answered 500", "server listening on 0.0.0.0:9797", False),
        (refused, "metrics server listening on 0.0.0.0:9797", False),
        (refused, "connected to server db:9797", False),
    ):
        logs: Any = ((caller[2], "api", False, [said] * 4), (callee[2], "depot", False, [opens]))
        made = scene(API, *caller, *callee, logs=logs, kind=SignalType.ERROR_RATE)
        is_it = told(diagnose(made)) == ("root_cause", "service_misrouted", "Service depot")
        assert is_it is root, (said, opens)
