"""Causes within the workload itself: memory, crashes, images, probes, rollouts. Each with an innocent twin."""

from __future__ import annotations

from cortexops.domain.diagnosis import Category
from cortexops.domain.resource import JSON
from cortexops.domain.signal import SignalType
from tests.investigation.objects import (
    ago,
    container,
    crash_loop,
    deployment,
    diagnose,
    event,
    pod,
    ref,
    replica_set,
    running,
    scene,
    template,
    terminated,
    told,
    waiting,
)

API = ref("Deployment", "api")
OOM = terminated(137, "OOMKilled")


def released(new: JSON, old: JSON, *, at: str = "", replicas: int = 2):
    """A Deployment with its two newest revisions."""
    live = deployment(pod_template=template("api", new), replicas=replicas, ready=0)
    older = replica_set(live, 11, template("api", old), ago(days=9))
    newer = replica_set(live, 12, template("api", new), at or ago(minutes=30), replicas)
    return live, older, newer


def test_a_container_killed_at_its_limit_is_out_of_memory():
    live = deployment(ready=1)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad, good = pod(rs, crash_loop(OOM)), pod(rs, running(), suffix="qq8zz")
    found = diagnose(scene(API, live, rs, bad, good, kind=SignalType.OOM_KILL))
    assert told(found) == ("root_cause", "oom_limit_too_low", "Deployment api")
    assert found.cause and found.cause.facts["limit"] == "256Mi" and found.cause.container == "api"
    assert any("exit code 137" in e.summary and "kubectl" in e.command for e in found.evidence)


def test_exit_137_without_oom_is_not_out_of_memory():
    live = deployment(ready=1)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, crash_loop(terminated(137, "Error")))
    found = diagnose(scene(API, live, rs, bad))
    assert told(found)[1] == "crash"


def test_out_of_memory_right_after_a_release_names_the_revision():
    live, older, newer = released(
        container(image="registry.example.com/shop/api:2.0"),
        container(image="registry.example.com/shop/api:1.9"),
    )
    bad = pod(
        newer,
        running(restarts=3, last=OOM, ready=False),
        created=ago(minutes=29),
        unready_since=ago(minutes=20),
    )
    found = diagnose(scene(API, live, older, newer, bad, kind=SignalType.OOM_KILL))
    assert told(found) == ("root_cause", "oom_after_release", "Deployment api")
    assert (
        found.cause
        and found.cause.facts["revision"] == "12"
        and found.cause.facts["previous_revision"] == "11"
    )


def test_a_release_that_lowered_the_limit_is_a_limit_too_low():
    small = container(resources={"limits": {"memory": "64Mi"}})
    live, older, newer = released(small, container())
    bad = pod(newer, crash_loop(OOM), created=ago(minutes=29), unready_since=ago(minutes=28))
    found = diagnose(scene(API, live, older, newer, bad, kind=SignalType.OOM_KILL))
    assert told(found)[1] == "oom_limit_too_low" and "lowered it from 256Mi" in found.summary


def test_an_old_release_is_not_blamed_for_todays_kill():
    live, older, newer = released(container(image="x/api:2.0"), container(image="x/api:1.9"), at=ago(days=5))
    bad = pod(newer, crash_loop(OOM))
    found = diagnose(scene(API, live, older, newer, bad, kind=SignalType.OOM_KILL))
    assert told(found)[1] == "oom_limit_too_low"


def test_the_sidecar_that_is_killed_is_the_one_named():
    body = template("api", container(), container("mesh-proxy", resources={"limits": {"memory": "64Mi"}}))
    live = deployment(pod_template=body, ready=1)
    rs = replica_set(live, 4, body, ago(days=20), 2)
    bad = pod(rs, running(), crash_loop(OOM, "mesh-proxy"), ready=False)
    found = diagnose(scene(API, live, rs, bad, kind=SignalType.OOM_KILL))
    assert found.cause and found.cause.container == "mesh-proxy" and found.cause.facts["limit"] == "64Mi"


def test_a_crash_of_new_pods_only_is_the_releases():
    live, older, newer = released(container(image="x/api:2.0"), container(image="x/api:1.9"))
    bad = pod(newer, crash_loop(terminated(2)), created=ago(minutes=29), unready_since=ago(minutes=29))
    good = pod(older, running(), suffix="old01")
    lines = ["INFO starting", "panic: runtime error: index out of range [3] with length 3"]
    found = diagnose(scene(API, live, older, newer, bad, good, logs=((bad, "api", True, lines),)))
    assert told(found) == ("root_cause", "crash_since_release", "Deployment api")
    assert found.cause and found.cause.facts["previous_image"] == "x/api:1.9"


def test_a_crash_without_any_release_is_a_hypothesis_only():
    live = deployment(ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, crash_loop(terminated(2)))
    found = diagnose(scene(API, live, rs, bad, logs=((bad, "api", True, ["panic: nil pointer"]),)))
    assert told(found) == ("hypothesis", "crash", "Deployment api")


def test_a_restart_annotation_is_no_release():
    body = template("api")
    live = deployment(pod_template=body, ready=0)
    older = replica_set(live, 11, body, ago(days=9))
    again = template("api")
    again["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": ago(minutes=30)}
    newer = replica_set(live, 12, again, ago(minutes=30), 2)
    bad = pod(newer, crash_loop(terminated(1)), created=ago(minutes=29), unready_since=ago(minutes=29))
    assert told(diagnose(scene(API, live, older, newer, bad)))[1] == "crash"


PULL = {
    "not_found": (
        'rpc error: code = NotFound desc = failed to pull and unpack image "x/api:2.0": failed to resolve '
        'reference "x/api:2.0": x/api:2.0: not found',
        Category.IMAGE_NOT_FOUND,
    ),
    "docker_not_found": (
        "rpc error: code = Unknown desc = Error response from daemon: manifest for x/api:2.0 not found: "
        "manifest unknown: manifest unknown",
        Category.IMAGE_NOT_FOUND,
    ),
    "denied": (
        'failed to pull and unpack image "x/api:2.0": failed to resolve reference "x/api:2.0": pull access '
        "denied, repository does not exist or may require authorization: server message: insufficient_scope: "
        "authorization failed",
        Category.IMAGE_PULL_DENIED,
    ),
    "unauthorized": (
        "failed to authorize: failed to fetch oauth token: unexpected status from GET request to "
        "https://registry.example.com/token: 401 Unauthorized",
        Category.IMAGE_PULL_DENIED,
    ),
    "unreachable": (
        'failed to do request: Head "https://registry.example.com/v2/shop/api/manifests/2.0": dial tcp '
        "203.0.113.9:443: i/o timeout",
        Category.REGISTRY_UNREACHABLE,
    ),
}


def test_what_the_runtime_says_about_a_pull_decides_the_category():
    for name, (message, category) in PULL.items():
        new, old = container(image="x/api:2.0"), container(image="x/api:1.9")
        live, older, newer = released(new, old)
        bad = pod(
            newer,
            waiting("ImagePullBackOff", 'Back-off pulling image "x/api:2.0"'),
            phase="Pending",
            created=ago(minutes=29),
        )
        told_by_kubelet = event(bad, "Failed", f'Failed to pull image "x/api:2.0": {message}')
        found = diagnose(scene(API, live, older, newer, bad, events=(told_by_kubelet,)))
        assert told(found) == ("root_cause", category.value, "Deployment api"), name
        assert found.cause and found.cause.facts["previous_image"] == "x/api:1.9"


def test_a_pod_that_still_pulls_is_no_image_problem():
    live = deployment(ready=1)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    fresh = pod(rs, waiting("ContainerCreating"), phase="Pending", created=ago(seconds=20))
    assert diagnose(scene(API, live, rs, fresh)).cause is None


def test_a_readiness_probe_on_a_path_that_is_not_served():
    probe = {"httpGet": {"path": "/readyz", "port": "http"}}
    before = {"httpGet": {"path": "/ready", "port": "http"}}
    live, older, newer = released(container(readinessProbe=probe), container(readinessProbe=before))
    bad = pod(
        newer,
        running(ready=False, since=ago(minutes=28)),
        created=ago(minutes=29),
        unready_since=ago(minutes=29),
    )
    good = pod(older, running(), suffix="old01")
    said = event(bad, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404")
    found = diagnose(scene(API, live, older, newer, bad, good, events=(said,), kind=SignalType.ROLLOUT_STUCK))
    assert told(found) == ("root_cause", "readiness_probe", "Deployment api")
    assert found.cause and found.cause.facts["revision"] == "12"
    assert Category.BAD_ROLLOUT in {h.category for h in found.hypotheses[1:]}


def test_a_probe_port_that_nothing_listens_on():
    probe = {"httpGet": {"path": "/ready", "port": 9090}}
    live = deployment(pod_template=template("api", container(readinessProbe=probe)), ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, running(ready=False, since=ago(minutes=9)))
    said = event(
        bad,
        "Unhealthy",
        'Readiness probe failed: Get "http://10.1.2.3:9090/ready": dial tcp 10.1.2.3:9090: connect: connection refused',
    )
    logs = ((bad, "api", False, ["INFO server listening on :8080"]),)
    found = diagnose(scene(API, live, rs, bad, events=(said,), logs=logs))
    assert told(found) == ("root_cause", "readiness_probe", "Deployment api") and "8080" in found.summary


def test_a_liveness_kill_is_the_probes_not_a_crash():
    probe = {"httpGet": {"path": "/livez", "port": "http"}}
    live = deployment(pod_template=template("api", container(livenessProbe=probe)), ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, crash_loop(terminated(143)))
    events = (
        event(bad, "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 404"),
        event(bad, "Killing", "Container api failed liveness probe, will be restarted", kind="Normal"),
    )
    assert told(diagnose(scene(API, live, rs, bad, events=events)))[1] == "liveness_probe"


def test_probe_failures_of_a_crashing_program_are_symptoms():
    probe = {"httpGet": {"path": "/ready", "port": "http"}}
    live, older, newer = released(
        container(image="x/api:2.0", readinessProbe=probe), container(image="x/api:1.9", readinessProbe=probe)
    )
    bad = pod(newer, crash_loop(terminated(1)), created=ago(minutes=29), unready_since=ago(minutes=29))
    said = event(
        bad,
        "Unhealthy",
        'Readiness probe failed: Get "http://10.1.2.3:8080/ready": dial tcp: connect: connection refused',
    )
    assert told(diagnose(scene(API, live, older, newer, bad, events=(said,))))[1] == "crash_since_release"


def test_a_probe_that_failed_while_the_pod_started_is_innocent():
    probe = {"httpGet": {"path": "/ready", "port": "http"}}
    live = deployment(pod_template=template("api", container(readinessProbe=probe)))
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    one, two = pod(rs, running()), pod(rs, running(), suffix="qq8zz")
    said = event(one, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", count=1)
    found = diagnose(scene(API, live, rs, one, two, events=(said,)))
    assert told(found) == ("healthy", "", "")


def test_new_pods_that_never_become_ready_are_a_bad_rollout():
    live, older, newer = released(container(image="x/api:2.0"), container(image="x/api:1.9"))
    live["status"]["conditions"] = [
        {
            "type": "Progressing",
            "status": "False",
            "reason": "ProgressDeadlineExceeded",
            "message": 'ReplicaSet "api" has timed out progressing.',
            "lastTransitionTime": ago(minutes=6),
        }
    ]
    bad = pod(
        newer,
        running(ready=False, since=ago(minutes=28)),
        created=ago(minutes=29),
        unready_since=ago(minutes=29),
    )
    good = pod(older, running(), suffix="old01")
    found = diagnose(scene(API, live, older, newer, bad, good, kind=SignalType.ROLLOUT_STUCK))
    assert told(found) == ("root_cause", "bad_rollout", "Deployment api")


def test_noisy_logs_of_a_healthy_workload_are_no_cause():
    live = deployment()
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    one, two = pod(rs, running()), pod(rs, running(), suffix="qq8zz")
    noise = ["ERROR retry 1: upstream timed out, retrying", "ERROR cache miss failed", "WARN slow query"]
    found = diagnose(scene(API, live, rs, one, two, logs=((one, "api", False, noise),)))
    assert told(found) == ("healthy", "", "")


def test_a_completed_job_is_healthy():
    job = {
        "kind": "Job",
        "metadata": {"name": "backup", "namespace": "shop"},
        "spec": {"template": template("backup")},
        "status": {"succeeded": 1},
    }
    done = pod(
        job,
        {**waiting("", name="api"), "state": {"terminated": terminated(0, "Completed")}},
        phase="Succeeded",
        ready=False,
    )
    assert told(diagnose(scene(ref("Job", "backup"), job, done))) == ("healthy", "", "")
