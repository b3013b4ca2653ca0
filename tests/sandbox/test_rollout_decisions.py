"""What a Deployment does next: pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sandbox.cluster.controllers.clock import stamp
from sandbox.cluster.controllers.rollout import deployment_status, limits, next_scales

NOW = datetime(2026, 3, 19, 15, 20, tzinfo=UTC)


def deployment(replicas: int = 3, **spec):
    return {
        "metadata": {"name": "web", "generation": 2},
        "spec": {"replicas": replicas, "template": {}, **spec},
        "status": {},
    }


def replica_set(name: str, replicas: int, available: int, revision: int):
    return {
        "metadata": {"name": name, "annotations": {"deployment.kubernetes.io/revision": str(revision)}},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available},
    }


def test_three_replicas_by_default_surge_one_and_lose_none() -> None:
    assert limits(deployment()) == (1, 0)
    assert limits(deployment(4)) == (1, 1)
    rolling = {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}
    assert limits(deployment(3, **rolling)) == (0, 1)


def test_it_grows_by_the_surge_waits_for_it_and_then_takes_one_old_pod() -> None:
    new, old = replica_set("new", 0, 0, 2), replica_set("old", 3, 3, 1)
    assert [
        (s.replica_set["metadata"]["name"], s.replicas) for s in next_scales(deployment(), new, [old])
    ] == [("new", 1)]
    assert next_scales(deployment(), replica_set("new", 1, 0, 2), [old]) == []
    after = next_scales(deployment(), replica_set("new", 1, 1, 2), [old])
    assert [(s.replica_set["metadata"]["name"], s.replicas) for s in after] == [("old", 2)]


def test_broken_old_pods_go_first_when_a_rollout_is_undone() -> None:
    back, broken = replica_set("good", 3, 3, 3), replica_set("broken", 1, 0, 2)
    scales = next_scales(deployment(), back, [broken])
    assert [(s.replica_set["metadata"]["name"], s.replicas) for s in scales] == [("broken", 0)]


def test_recreate_stops_everything_old_before_anything_new() -> None:
    recreate = deployment(3, strategy={"type": "Recreate"})
    old, new = replica_set("old", 3, 3, 1), replica_set("new", 0, 0, 2)
    assert [s.replicas for s in next_scales(recreate, new, [old])] == [0]
    stopping = replica_set("old", 0, 0, 1)
    stopping["status"]["replicas"] = 1
    assert next_scales(recreate, new, [stopping]) == []
    assert [s.replicas for s in next_scales(recreate, new, [replica_set("old", 0, 0, 1)])] == [3]


def test_a_paused_rollout_moves_nothing() -> None:
    new, old = replica_set("new", 1, 1, 2), replica_set("old", 3, 3, 1)
    assert next_scales(deployment(3, paused=True), new, [old]) == []


def test_no_progress_within_the_deadline_is_reported_once_and_progress_clears_it() -> None:
    owner = deployment()
    new, old = replica_set("new", 1, 0, 2), replica_set("old", 3, 3, 1)
    owner["status"] = deployment_status(owner, new, [old], NOW, real_deadline=60)
    reasons = {c["type"]: c["reason"] for c in owner["status"]["conditions"]}
    assert reasons["Progressing"] == "ReplicaSetUpdated"
    late = deployment_status(owner, new, [old], NOW + timedelta(seconds=61), real_deadline=60)
    progressing = next(c for c in late["conditions"] if c["type"] == "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert progressing["message"] == 'ReplicaSet "new" has timed out progressing.'
    assert progressing["lastTransitionTime"] == stamp(NOW + timedelta(seconds=61))
    owner["status"] = late
    done = deployment_status(
        owner, replica_set("new", 3, 3, 2), [], NOW + timedelta(seconds=90), real_deadline=60
    )
    reasons = {c["type"]: c["reason"] for c in done["conditions"]}
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
