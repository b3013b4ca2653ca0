"""What stands behind a symptom that Kubernetes itself names; each rule with a twin in which it must keep quiet."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cortexops.domain.diagnosis import Category
from cortexops.domain.evidence import Gap, GapReason
from cortexops.domain.kubernetes.absences import absence
from cortexops.domain.kubernetes.aggregation import undiscovered
from cortexops.domain.memory_volumes import MemoryVolume, mounted, told_of
from cortexops.domain.placement import requested, too_large
from cortexops.domain.preemption import is_it, preemptor_of
from cortexops.domain.pulling import category_of, worded
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Scene
from cortexops.domain.signal import SignalType
from tests.investigation.objects import (
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
    template,
    terminated,
    told,
)

API = ref("Deployment", "api")
UID = "0b9c2a1e-7f55-4c1c-9a51-7d1f0e6b2c11"
FULL = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims."
ELSEWHERE = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."


def asking(cpu: str, message: str = FULL, **spec: JSON) -> tuple[JSON, JSON, JSON]:
    """A Deployment with its ReplicaSet and a pod that waits for a node."""
    body = template("api", container(resources={"requests": {"cpu": cpu}}), **spec)
    live = deployment(pod_template=body, replicas=1, ready=0)
    rs = replica_set(live, 4, body, ago(days=20), 1)
    waits = pod(rs, node="", created=ago(minutes=9), ready=False)
    waits["status"]["phase"] = "Pending"
    waits["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    ]
    waits["status"].pop("containerStatuses")
    waits["spec"].pop("nodeName")
    return live, rs, waits


def sized(cpu: str, name: str = "node-1", **labels: str) -> JSON:
    found = node(name)
    found["status"]["allocatable"]["cpu"] = cpu
    found["metadata"]["labels"] = labels
    return found


def test_a_request_beyond_every_node_is_told_with_the_largest():
    live, rs, waits = asking("64")
    found = diagnose(scene(API, live, rs, waits, sized("4"), sized("8", "node-2")))
    assert told(found) == ("root_cause", "scheduling", "Deployment api")
    assert found.cause and "64 cores of cpu" in found.cause.summary
    assert "largest allocatable: 8 cores, node-2" in found.cause.summary


@pytest.mark.parametrize(
    ("cpu", "message"),
    [("6", FULL), ("64", ELSEWHERE), ("64", "0/1 nodes are available: 1 Insufficient memory.")],
)
def test_a_request_that_an_empty_node_would_hold_is_not_called_too_large(cpu: str, message: str):
    live, rs, waits = asking(cpu, message)
    assert too_large(scene(API, live, rs, waits, sized("8")), waits, message) is None


def test_nothing_is_said_of_the_largest_node_when_not_all_were_read():
    live, rs, waits = asking("64")
    cut = (Gap(reason=GapReason.CUT, what="list nodes", detail="only the first 100 were read"),)
    assert too_large(scene(API, live, rs, waits, sized("8"), gaps=cut), waits, FULL) is None


def test_only_nodes_that_the_selector_allows_are_measured():
    live, rs, waits = asking("6", nodeSelector={"pool": "small"})
    made = scene(API, live, rs, waits, sized("8"), sized("2", "node-2", pool="small"))
    found = too_large(made, waits, FULL)
    assert found is not None and found.node == ref("Node", "node-2")
    assert "more than any node that its selector allows has" in found.words


def test_what_a_pod_asks_for_counts_sidecars_overhead_and_the_largest_first_container():
    each = {"resources": {"requests": {"cpu": "500m"}}}
    spec: JSON = {
        "containers": [each, {"resources": {"limits": {"cpu": "1"}}}],
        "initContainers": [{**each, "restartPolicy": "Always"}, {"resources": {"requests": {"cpu": "3"}}}],
        "overhead": {"cpu": "250m"},
    }
    assert requested(spec, "cpu") == Decimal("3.25")
    spec["initContainers"].pop()
    assert requested(spec, "cpu") == Decimal("2.25")


@pytest.mark.parametrize(
    ("message", "who", "namespace"),
    [
        (f"Preempted by pod {UID} on node w2", UID, ""),
        ("Preempted by a pod on node w2", "", ""),
        ("Preempted by ml/train-0 on node w2", "train-0", "ml"),
    ],
)  # fmt: skip
def test_who_preempted_is_read_in_the_words_of_each_version(message: str, who: str, namespace: str):
    found = preemptor_of(message)
    assert found == (who, namespace, "w2")
    train: JSON = {"metadata": {"name": "train-0", "namespace": "ml", "uid": UID}}
    assert is_it(train, found) is bool(who)


def preempted(message: str) -> Scene:
    live, rs, waits = asking("2", message)
    urgent: JSON = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "urgent-1", "namespace": "ml", "uid": "9f3e", "ownerReferences": [
            {"kind": "Job", "name": "urgent", "controller": True}]},
        "spec": {"priorityClassName": "now", "priority": 9000, "nodeName": "node-1"},
    }  # fmt: skip
    gone = {"kind": "Pod", "metadata": {"name": f"{rs['metadata']['name']}-vb2nk", "namespace": "shop"}}
    events = (event(gone, "Preempted", "Preempted by pod 9f3e on node node-1"),)
    return scene(API, live, rs, waits, urgent, sized("4"), events=events)


def test_who_took_the_room_is_named_with_its_priority_class():
    found = diagnose(preempted(FULL)).cause
    assert found is not None and found.resource == API
    assert "preempted by Job ml/urgent (PriorityClass now, priority 9000)" in found.summary


def test_a_preemption_is_not_told_where_room_is_not_what_is_missing():
    found = diagnose(preempted(ELSEWHERE)).cause
    assert found is not None and "preempted by" not in found.summary


def tmpfs(size: str = "", **mount: bool) -> JSON:
    """A template whose container has 256Mi and mounts a volume in memory."""
    kept = {"medium": "Memory", **({"sizeLimit": size} if size else {})}
    own = container(volumeMounts=[{"name": "work", "mountPath": "/work", **mount}])
    return template("api", own, volumes=[{"name": "work", "emptyDir": kept}])


def test_only_volumes_that_can_fill_the_limit_count():
    assert [each.name for each in mounted(tmpfs(), "api")] == ["work"]
    assert [each.size for each in mounted(tmpfs("200Mi"), "api")] == ["200Mi"]
    assert mounted(tmpfs("16Mi"), "api") == []
    assert mounted(tmpfs(readOnly=True), "api") == []
    assert mounted(tmpfs(), "sidecar") == []


@pytest.mark.parametrize(
    ("line", "fills"),
    [
        ("cache at /work: 190MiB in 12 files", True),
        ("write /work/part-7: no space left on device", True),
        ("cache at /work: 2MiB in 1 file", False),
        ("cache at /workspace: 190MiB", False),
        ("heap 190MiB of 200MiB", False),
    ],
)
def test_a_volume_is_full_by_the_programs_words_only_when_they_name_it_and_much(line: str, fills: bool):
    volume = MemoryVolume("work", "/work", "")
    assert (told_of([volume], Decimal(256 * 2**20), [line]) is not None) is fills


def killed(new: JSON, old: JSON, said: str = "INFO serving") -> Scene:
    live = deployment(pod_template=new, replicas=1, ready=0)
    older = replica_set(live, 11, old, ago(days=9))
    newer = replica_set(live, 12, new, ago(minutes=30), 1)
    bad = pod(
        newer,
        crash_loop(terminated(137, "OOMKilled")),
        created=ago(minutes=29),
        unready_since=ago(minutes=20),
    )
    return scene(API, live, older, newer, bad, logs=((bad, "api", True, [said]),), kind=SignalType.OOM_KILL)


def test_a_release_that_lets_a_memory_volume_grow_is_the_cause_of_the_kills():
    found = diagnose(killed(tmpfs(), tmpfs("32Mi"))).cause
    assert found is not None and found.category is Category.OOM_AFTER_RELEASE
    assert found.facts["memory_volume"] == "work" and "counts against that limit" in found.summary


@pytest.mark.parametrize(
    ("new", "old"), [(tmpfs(), tmpfs()), (tmpfs("16Mi"), tmpfs("8Mi")), (tmpfs("1Gi"), tmpfs())]
)
def test_a_memory_volume_that_did_not_grow_is_not_blamed_without_a_word_of_it(new: JSON, old: JSON):
    new["spec"]["containers"][0]["image"] = "registry.example.com/shop/api:1.5.0"
    found = diagnose(killed(new, old)).cause
    assert found is not None and "memory_volume" not in found.facts


def probed(
    *killed_pods: int, said: str = "INFO ready", says: str = 'command timed out: "ping" timed out after 1s'
):
    body = template("api", container(livenessProbe={"exec": {"command": ["ping"]}}))
    live = deployment(pod_template=body, replicas=3, ready=3)
    rs = replica_set(live, 4, body, ago(days=20), 3)
    pods = [
        pod(rs, running(restarts=5, since=ago(minutes=4), last=terminated(0, "Completed", at=ago(minutes=4))), suffix=s)
        for s in ("aaaa1", "bbbb2", "cccc3")
    ]  # fmt: skip
    events = [
        made
        for place in killed_pods
        for made in (
            event(pods[place], "Unhealthy", f"Liveness probe failed: {says}"),
            event(
                pods[place],
                "Killing",
                "Container api failed liveness probe, will be restarted",
                kind="Normal",
            ),
        )
    ]
    logs = tuple((each, "api", False, [said]) for each in pods)
    return diagnose(scene(API, live, rs, *pods, events=tuple(events), logs=logs)).cause


def test_an_impatient_probe_in_every_pod_is_the_cause():
    found = probed(0, 1, 2)
    assert found is not None and found.category is Category.LIVENESS_PROBE and found.confidence >= 0.75


def test_one_pod_of_three_or_one_that_waits_for_others_leaves_the_probe_a_hypothesis():
    for found in (
        probed(0),
        probed(0, 1, 2, said="WARN waiting for connection to db:5432: connection refused"),
    ):
        assert found is None or found.category is not Category.LIVENESS_PROBE or found.confidence < 0.7
    other = probed(0, 1, 2, says="HTTP probe failed with statuscode: 500")
    assert other is None or other.confidence < 0.7


LOOP = '[FATAL] plugin/loop: Loop (127.0.0.1:4711 -> :53) detected for zone ".", see https://coredns.io/plugins/loop'


def resolver(*lines: str, code: int = 1):
    live = deployment(replicas=1, ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 1)
    bad = pod(rs, crash_loop(terminated(code)))
    return diagnose(scene(API, live, rs, bad, logs=((bad, "api", True, list(lines)),))).cause


def test_a_resolver_that_forwards_to_itself_is_told_in_words():
    found = resolver(".:53", "CoreDNS-1.11.1", LOOP)
    assert found is not None and found.category is Category.DNS_FAILURE and found.confidence >= 0.8
    assert "forwards to itself" in found.summary and "loopback" in found.summary


@pytest.mark.parametrize(
    "line", [f"INFO shipped from node-2: {LOOP}", '{"log":"' + LOOP.replace('"', "'") + '"}']
)
def test_a_program_that_only_repeats_such_a_line_is_in_no_loop(line: str):
    found = resolver(line, "panic: disk full")
    assert found is None or found.category is not Category.DNS_FAILURE


def dying(*, deleted: bool = True, available: str = "False") -> Scene:
    message = (
        "unable to retrieve the complete list of server APIs: stats.example.com/v1beta2: stale GroupVersion"
    )
    space: JSON = {
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "old", **({"deletionTimestamp": ago(hours=1)} if deleted else {})},
        "status": {"conditions": [{"type": "NamespaceDeletionDiscoveryFailure", "status": "True", "message": message}]},
    }  # fmt: skip
    api: JSON = {
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta2.stats.example.com"},
        "spec": {"group": "stats.example.com", "version": "v1beta2", "service": {"namespace": "ops", "name": "stats"}},
        "status": {"conditions": [{"type": "Available", "status": available, "reason": "MissingEndpoints"}]},
    }  # fmt: skip
    assert bool(undiscovered(space)) is deleted
    target = ref("Namespace", "old", "")
    return scene(target, space, api)


def test_an_api_that_nobody_serves_is_what_a_namespace_waits_for():
    found = diagnose(dying())
    assert told(found) == ("root_cause", "dependency_down", "APIService v1beta2.stats.example.com")
    assert found.cause and "Service ops/stats" in found.cause.summary


def test_an_api_that_answers_again_or_a_namespace_that_stays_is_not_told_of():
    assert told(diagnose(dying(available="True")))[1] == "namespace_terminating"
    assert told(diagnose(dying(deleted=False)))[1] == ""


def test_an_untrusted_registry_is_told_from_one_that_does_not_answer():
    said = ["tls: failed to verify certificate: x509: certificate signed by unknown authority"]
    assert category_of(said)[0] is Category.REGISTRY_UNREACHABLE
    assert "not trusted" in worded(Category.REGISTRY_UNREACHABLE, said)
    assert "does not answer" in worded(Category.REGISTRY_UNREACHABLE, ["dial tcp: i/o timeout"])


def test_what_the_kubelet_misses_is_read_with_its_key():
    assert absence('Error: secret "db-login" not found') == ("Secret", "db-login", "")
    assert absence("couldn't find key TOKEN in ConfigMap shop/env") == ("ConfigMap", "env", "TOKEN")
    assert absence("MountVolume.SetUp failed: timed out waiting for the condition") is None


def cron(policy: str = "Forbid", *, hours: int = 9, active: bool = True, told_so: bool = True):
    """A CronJob whose newest Job runs for so long, and the one before it took 20 minutes."""
    body = template("api")
    name = {"apiVersion": "batch/v1", "namespace": "shop", "kind": "Job", "name": "night-2"}
    live: JSON = {
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "night", "namespace": "shop"},
        "spec": {"schedule": "0 * * * *", "concurrencyPolicy": policy, "jobTemplate": {"spec": {"template": body}}},
        "status": {"active": [name]} if active else {},
    }  # fmt: skip
    owner = [{"kind": "CronJob", "name": "night", "controller": True}]

    def job(number: int, began: str, **status: object) -> JSON:
        metadata = {
            "name": f"night-{number}",
            "namespace": "shop",
            "creationTimestamp": began,
            "ownerReferences": owner,
        }
        spec = {"template": body}
        return {"kind": "Job", "metadata": metadata, "spec": spec, "status": {"startTime": began, **status}}

    done = {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1}
    before = job(1, ago(hours=30), completionTime=ago(hours=30, minutes=-20), **done)
    now = job(
        2, ago(hours=hours), **({"active": 1} if active else {**done, "completionTime": ago(minutes=5)})
    )
    runs = pod({"kind": "Job", **now}, running(since=ago(hours=hours)), suffix="k2k2k")
    if not active:
        runs["status"]["phase"] = "Succeeded"
    events = (event(live, "JobAlreadyActive", "Not starting job because prior execution is running"),)
    logs = ((runs, "api", False, ["INFO opened", "INFO holding for reviewer"]),)
    made = scene(
        ref("CronJob", "night"), live, before, now, runs, events=events if told_so else (), logs=logs
    )
    return diagnose(made).cause


@pytest.mark.parametrize("told_so", [True, False])
def test_a_run_without_end_is_named_with_its_age_and_last_words(told_so: bool):
    found = cron(told_so=told_so)
    assert found is not None and found.category is Category.JOB_FAILED
    assert "Job shop/night-2 has been running for 8 hours" in found.summary
    assert "holding for reviewer" in found.summary and found.facts["job"] == "night-2"


def test_a_run_that_holds_nobody_back_or_is_over_is_not_blamed():
    for found in (
        cron("Allow", told_so=False),
        cron(active=False),
        cron(hours=0),
        cron(hours=1, told_so=False),
    ):
        assert found is None


def late(*told_of: tuple[str, str, int]):
    """A Job that its deadline ended, with events (reason, message, minutes ago) about its pod, which is gone."""
    job: JSON = {
        "kind": "Job", "metadata": {"name": "pack", "namespace": "shop", "creationTimestamp": ago(minutes=40)},
        "spec": {"activeDeadlineSeconds": 1800, "template": template("pack")},
        "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]},
    }  # fmt: skip
    gone = {"kind": "Pod", "metadata": {"name": "pack-zz9kq", "namespace": "shop"}}
    events = [
        event(gone, reason, message) | {"lastTimestamp": ago(minutes=minutes)}
        for reason, message, minutes in told_of
    ]
    return diagnose(scene(ref("Job", "pack"), job, events=tuple(events))).cause


MOUNT = ("FailedMount", 'MountVolume.SetUp failed for volume "data": mount failed: exit status 32', 12)
CRASHES = ("BackOff", "Back-off restarting failed container api in pod pack-zz9kq_shop(1b2c)", 11)


@pytest.mark.parametrize(
    ("events", "category"),
    [
        ([MOUNT], Category.STUCK_POD),
        ([CRASHES], Category.JOB_FAILED),
        ([MOUNT, ("Started", "Started container api", 12), CRASHES], Category.JOB_FAILED),
        ([("FailedScheduling", FULL, 20)], Category.SCHEDULING),
        (
            [("FailedScheduling", FULL, 20), ("Scheduled", "Successfully assigned", 19)],
            Category.JOB_DEADLINE_EXCEEDED,
        ),
        ([MOUNT, ("Started", "Started container api", 10)], Category.JOB_DEADLINE_EXCEEDED),
        ([("Killing", "Stopping container api", 9)], Category.JOB_DEADLINE_EXCEEDED),
        ([], Category.JOB_DEADLINE_EXCEEDED),
    ],
)
def test_a_deadline_is_traced_to_what_nothing_followed(events, category: Category):
    found = late(*events)
    assert found is not None and found.category is category and found.resource == ref("Job", "pack")


def test_pods_of_a_job_with_a_longer_name_are_not_its_own():
    other = {"kind": "Pod", "metadata": {"name": "pack-eu-zz9kq", "namespace": "shop"}}
    job: JSON = {
        "kind": "Job", "metadata": {"name": "pack", "namespace": "shop"}, "spec": {"template": template("pack")},
        "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]},
    }  # fmt: skip
    found = diagnose(scene(ref("Job", "pack"), job, events=(event(other, *CRASHES[:2]),))).cause
    assert found is not None and found.category is Category.JOB_DEADLINE_EXCEEDED
