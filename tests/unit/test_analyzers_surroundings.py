"""Causes around the workload: configuration, nodes, dependencies, quotas, routing. Each with a twin."""

from __future__ import annotations

from cortexops.domain.resource import JSON
from cortexops.domain.signal import SignalType
from tests.investigation.objects import (
    ago,
    config_map,
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
    told,
    waiting,
)

API = ref("Deployment", "api")
FROM_MAP: JSON = {"envFrom": [{"configMapRef": {"name": "api-env"}}]}


def configured(ready: int = 0, **more):
    live = deployment(pod_template=template("api", container(**(more or FROM_MAP))), ready=ready)
    return live, replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)


def test_a_value_changed_hours_ago_that_the_crash_names_is_the_cause():
    live, rs = configured()
    bad = pod(rs, crash_loop(terminated(1)), created=ago(days=3), unready_since=ago(minutes=10))
    cm = config_map("api-env", {"POOL_SIZE": "ten", "LOG_LEVEL": "info"}, changed={"POOL_SIZE": ago(hours=6)})
    logs = ((bad, "api", True, ["INFO booting", 'FATAL strconv.Atoi: parsing "ten": invalid POOL_SIZE']),)
    found = diagnose(scene(API, live, rs, bad, cm, logs=logs))
    assert told(found) == ("root_cause", "configmap_changed", "ConfigMap api-env")
    assert found.cause and found.cause.facts["key"] == "POOL_SIZE"
    assert found.cause.facts["changed_by"] == "kubectl-edit"


def test_a_change_of_an_unrelated_key_is_innocent_of_a_releases_crash():
    body, before = (
        template("api", container(image="x/api:2", **FROM_MAP)),
        template("api", container(image="x/api:1", **FROM_MAP)),
    )
    live = deployment(pod_template=body, ready=0)
    older, newer = replica_set(live, 11, before, ago(days=9)), replica_set(live, 12, body, ago(minutes=30), 2)
    bad = pod(newer, crash_loop(terminated(2)), created=ago(minutes=29), unready_since=ago(minutes=29))
    good = pod(older, running(), suffix="old01")
    cm = config_map("api-env", {"LOG_LEVEL": "debug"}, changed={"LOG_LEVEL": ago(minutes=50)})
    logs = ((bad, "api", True, ["panic: runtime error: invalid memory address"]),)
    found = diagnose(scene(API, live, older, newer, bad, good, cm, logs=logs))
    assert told(found)[1:] == ("crash_since_release", "Deployment api")


def test_a_complaint_about_an_untouched_value_after_a_release_is_the_releases():
    body, before = (
        template("api", container(image="x/api:2", **FROM_MAP)),
        template("api", container(image="x/api:1", **FROM_MAP)),
    )
    live = deployment(pod_template=body, ready=0)
    older, newer = replica_set(live, 11, before, ago(days=9)), replica_set(live, 12, body, ago(minutes=30), 2)
    bad = pod(newer, crash_loop(terminated(2)), created=ago(minutes=29), unready_since=ago(minutes=29))
    good = pod(older, running(), suffix="old01")
    cm = config_map("api-env", {"FEATURES": "a;b"})
    logs = ((bad, "api", True, ["FATAL cannot parse FEATURES: expected JSON"]),)
    assert (
        told(diagnose(scene(API, live, older, newer, bad, good, cm, logs=logs)))[1] == "crash_since_release"
    )


def test_a_setting_inside_a_mounted_file_is_found():
    mounted = container(volumeMounts=[{"name": "cfg", "mountPath": "/etc/app"}])
    live = deployment(
        pod_template=template("api", mounted, volumes=[{"name": "cfg", "configMap": {"name": "app-cfg"}}]),
        ready=0,
    )
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, crash_loop(terminated(1)))
    cm = config_map(
        "app-cfg", {"app.yaml": "server:\n  max_connections: lots\n"}, changed={"app.yaml": ago(hours=2)}
    )
    logs = ((bad, "api", True, ["Error: server.max_connections must be an integer"]),)
    assert told(diagnose(scene(API, live, rs, bad, cm, logs=logs)))[1:] == (
        "configmap_changed",
        "ConfigMap app-cfg",
    )


def test_a_changed_secret_is_blamed_when_credentials_are_refused():
    live, rs = configured(envFrom=[{"secretRef": {"name": "db-cred"}}])
    bad = pod(rs, crash_loop(terminated(1)))
    secret = config_map("db-cred", {"PASSWORD": ""}, changed={"PASSWORD": ago(hours=1)}) | {"kind": "Secret"}
    logs = ((bad, "api", True, ['FATAL: password authentication failed for user "api"']),)
    found = diagnose(scene(API, live, rs, bad, secret, logs=logs))
    assert told(found)[1:] == ("secret_changed", "Secret db-cred")


def test_a_missing_key_is_named_from_the_kubelets_words():
    live, rs = configured(
        env=[{"name": "DB_URL", "valueFrom": {"configMapKeyRef": {"name": "api-env", "key": "DB_URL"}}}]
    )
    bad = pod(
        rs,
        waiting("CreateContainerConfigError", "couldn't find key DB_URL in ConfigMap shop/api-env"),
        phase="Pending",
    )
    found = diagnose(scene(API, live, rs, bad, config_map("api-env", {"OTHER": "1"})))
    assert told(found) == ("root_cause", "config_missing", "ConfigMap api-env")
    assert found.cause and found.cause.facts["key"] == "DB_URL"


def test_a_missing_secret_that_a_volume_needs_is_named_from_the_event():
    live, rs = configured()
    bad = pod(rs, waiting("ContainerCreating"), phase="Pending")
    said = event(bad, "FailedMount", 'MountVolume.SetUp failed for volume "tls" : secret "api-tls" not found')
    assert told(diagnose(scene(API, live, rs, bad, events=(said,))))[1:] == (
        "config_missing",
        "Secret api-tls",
    )


def test_a_lost_node_is_the_cause_of_its_pods_trouble():
    live, rs = configured(ready=1)
    bad, good = pod(rs, running(ready=False)), pod(rs, running(), suffix="qq8zz", node="node-2")
    found = diagnose(scene(API, live, rs, bad, good, node(ready="Unknown"), node("node-2")))
    assert told(found) == ("root_cause", "node_not_ready", "Node node-1")


def test_a_node_under_pressure_that_evicts():
    live, rs = configured(ready=1)
    gone = pod(rs, phase="Failed", ready=False)
    gone["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
    found = diagnose(scene(API, live, rs, gone, node(MemoryPressure="True")))
    assert told(found)[1:] == ("node_pressure", "Node node-1")


def test_a_lost_node_elsewhere_is_innocent():
    live, rs = configured()
    bad = pod(rs, crash_loop(terminated(1)), node="node-2")
    found = diagnose(scene(API, live, rs, bad, node("node-1", ready="Unknown"), node("node-2")))
    assert all(h.category != "node_not_ready" for h in found.hypotheses)


def calling(ready: int = 0):
    return configured(
        ready=ready, env=[{"name": "DB_HOST", "value": "postgres"}, {"name": "MQ_HOST", "value": "rabbit"}]
    )


REFUSED = ["ERROR dial tcp: connect to postgres:5432 failed: connection refused"]


def test_an_upstream_out_of_memory_is_the_cause_of_the_callers_crash():
    live, rs = calling()
    bad = pod(rs, crash_loop(terminated(1)))
    db = deployment("postgres", template("postgres", container("postgres")), replicas=1, ready=0)
    db_rs = replica_set(db, 2, db["spec"]["template"], ago(days=30), 1)
    dead = pod(db_rs, crash_loop(terminated(137, "OOMKilled"), "postgres"))
    mq = deployment("rabbit", template("rabbit", container("rabbit")), replicas=1, ready=0)
    objects = (live, rs, bad, db, db_rs, dead, service("postgres"), mq, service("rabbit"))
    found = diagnose(scene(API, *objects, logs=((bad, "api", True, REFUSED),)))
    assert told(found) == ("root_cause", "oom_limit_too_low", "Deployment postgres")
    assert not any(h.resource.name == "rabbit" for h in found.hypotheses)  # nothing complains about it


def test_an_upstream_scaled_to_zero_is_named():
    live, rs = calling()
    bad = pod(rs, crash_loop(terminated(1)))
    db = deployment("postgres", replicas=0, ready=0)
    db["spec"]["template"] = template("postgres")
    found = diagnose(scene(API, live, rs, bad, db, service("postgres"), logs=((bad, "api", True, REFUSED),)))
    assert told(found) == ("root_cause", "scaled_to_zero", "Deployment postgres")


def test_a_broken_neighbour_is_innocent_when_the_target_is_out_of_memory():
    live, rs = calling()
    bad = pod(rs, crash_loop(terminated(137, "OOMKilled")))
    mq = deployment("rabbit", template("rabbit", container("rabbit")), replicas=1, ready=0)
    logs = ((bad, "api", True, ["ERROR publish to rabbit:5672 failed: connection refused", "INFO ok"]),)
    found = diagnose(scene(API, live, rs, bad, mq, service("rabbit"), logs=logs, kind=SignalType.OOM_KILL))
    assert told(found) == ("root_cause", "oom_limit_too_low", "Deployment api")


def test_a_host_outside_the_cluster_is_an_external_cause():
    live, rs = configured()
    bad = pod(rs, running(ready=False))
    line = 'ERROR Post "https://api.payments.example.com/v1/charges": dial tcp 203.0.113.28:443: i/o timeout'
    found = diagnose(scene(API, live, rs, bad, logs=((bad, "api", False, [line, line]),)))
    assert told(found) == ("external", "external_dependency", "ExternalHost api.payments.example.com")


def test_an_external_hiccup_in_the_logs_of_a_healthy_target_is_innocent():
    live, rs = configured(ready=2)
    one, two = pod(rs, running()), pod(rs, running(), suffix="qq8zz")
    line = 'ERROR Post "https://api.payments.example.com/v1/charges": i/o timeout'
    assert told(diagnose(scene(API, live, rs, one, two, logs=((one, "api", False, [line]),))))[0] == "healthy"


def test_pods_that_no_node_takes():
    live, rs = configured(ready=1)
    bad = pod(rs, ready=False, phase="Pending", node="")
    bad["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu.",
            "lastTransitionTime": ago(minutes=9),
        }
    ]
    assert told(diagnose(scene(API, live, rs, bad)))[1:] == ("scheduling", "Deployment api")


def test_an_exhausted_quota_is_named():
    live, rs = configured(ready=1)
    said = event(
        rs,
        "FailedCreate",
        'Error creating: pods "api-x" is forbidden: exceeded quota: compute, '
        "requested: limits.memory=256Mi, used: limits.memory=1Gi, limited: limits.memory=1Gi",
    )
    quota = {
        "kind": "ResourceQuota",
        "metadata": {"name": "compute", "namespace": "shop"},
        "status": {"hard": {"limits.memory": "1Gi"}, "used": {"limits.memory": "1Gi"}},
    }
    found = diagnose(scene(API, live, rs, pod(rs, running()), quota, events=(said,)))
    assert told(found) == ("root_cause", "quota_exceeded", "ResourceQuota compute")


def test_a_target_scaled_to_zero():
    live = deployment(replicas=0, ready=0)
    assert told(diagnose(scene(API, live, kind=SignalType.REPLICAS_MISSING)))[1:] == (
        "scaled_to_zero",
        "Deployment api",
    )


def test_a_pod_that_hangs_in_deletion():
    live, rs = configured(ready=2)
    one, two = pod(rs, running()), pod(rs, running(), suffix="qq8zz")
    hanging = pod(rs, running(), suffix="gone1", ready=False)
    hanging["metadata"] |= {"deletionTimestamp": ago(hours=1), "finalizers": ["example.com/wait"]}
    assert told(diagnose(scene(API, live, rs, one, two, hanging, node())))[1:] == (
        "stuck_pod",
        "Pod api-45f7c9d4b-gone1",
    )


def test_a_service_whose_selector_misses_the_pods():
    live, rs = configured(ready=2)
    one, two = pod(rs, running()), pod(rs, running(), suffix="qq8zz")
    wrong = service("api", {"app": "api-v2"})
    found = diagnose(scene(API, live, rs, one, two, wrong, kind=SignalType.ERROR_RATE))
    assert told(found) == ("root_cause", "service_misrouted", "Service api")


def test_a_service_of_another_workload_is_innocent():
    live, rs = configured(ready=2)
    one, two = pod(rs, running()), pod(rs, running(), suffix="qq8zz")
    other = service("worker", {"app": "worker"})
    assert told(diagnose(scene(API, live, rs, one, two, service("api"), other)))[0] == "healthy"


def test_a_target_that_is_gone_is_unknown_not_an_error():
    assert told(diagnose(scene(API)))[0] == "unknown"
