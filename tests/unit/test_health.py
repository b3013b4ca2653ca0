"""Health, measured on statuses as API servers give them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cortexops.domain.health import measure_node, measure_workload
from cortexops.domain.resource import JSON
from cortexops.domain.verification import Measurement, Phase
from tests.investigation.objects import (
    NOW,
    ago,
    deployment,
    pod,
    running,
    terminated,
    waiting,
)

SINCE = NOW - timedelta(minutes=5)
_P = Phase


def phases(live: JSON, *pods: JSON, **more: Any) -> dict[str, Phase]:
    return {m.check: m.phase for m in measured(live, *pods, **more)}


def measured(live: JSON, *pods: JSON, **more: Any) -> list[Measurement]:
    return measure_workload(live, list(pods), since=SINCE, now=NOW, **more)


def status(live: JSON, **fields: Any) -> JSON:
    return live | {"status": live["status"] | fields}


def stateful_set(**fields: Any) -> JSON:
    live = deployment(replicas=3)
    seen = {"observedGeneration": 4, "replicas": 3, "readyReplicas": 3, "currentReplicas": 3}
    return live | {"kind": "StatefulSet", "status": seen | {"updatedReplicas": 3} | fields}


def daemon_set(**fields: Any) -> JSON:
    live = deployment()
    del live["spec"]["replicas"]
    seen = {"observedGeneration": 4, "desiredNumberScheduled": 3, "currentNumberScheduled": 3}
    return live | {
        "kind": "DaemonSet",
        "status": seen | {"numberReady": 3, "updatedNumberScheduled": 3} | fields,
    }


def fresh(*statuses: JSON, suffix: str = "new") -> JSON:
    return pod(deployment(), *statuses, suffix=suffix, created=ago(minutes=4))


@pytest.mark.parametrize("live", [deployment(), stateful_set(), daemon_set()])
def test_a_rolled_out_workload_is_well(live: JSON) -> None:
    assert set(phases(live, fresh(running())).values()) == {_P.SUCCESSFUL}


@pytest.mark.parametrize(
    ("live", "check"),
    [
        (status(deployment(), updatedReplicas=1), "rollout_complete"),
        (status(deployment(), replicas=3), "rollout_complete"),  # an old pod is still there
        (status(deployment(), observedGeneration=3), "rollout_complete"),
        (status(deployment(), readyReplicas=1), "replicas_ready"),
        (deployment(ready=0), "replicas_ready"),
        (stateful_set(updatedReplicas=2), "rollout_complete"),
        (stateful_set(readyReplicas=2), "replicas_ready"),
        (daemon_set(updatedNumberScheduled=1), "rollout_complete"),
        (daemon_set(numberReady=2), "replicas_ready"),
        (deployment() | {"status": {}}, "rollout_complete"),
        (deployment() | {"status": {}}, "replicas_ready"),
    ],
)
def test_a_rollout_on_its_way_is_not_well_yet(live: JSON, check: str) -> None:
    assert phases(live)[check] is _P.RUNNING


def test_a_workload_without_replicas_is_never_ready() -> None:
    empty = deployment(replicas=0, ready=0)
    assert phases(empty)["replicas_ready"] is _P.RUNNING
    assert phases(empty, least_replicas=1)["rollout_complete"] is _P.RUNNING


def test_one_restart_of_a_new_pod_is_forgiven_once_it_is_past() -> None:
    past = fresh(running(restarts=1, last=terminated(1, at=ago(minutes=2))))
    just_now = fresh(running(restarts=1, last=terminated(1, at=ago(seconds=3))))
    assert phases(deployment(), past)["no_new_restarts"] is _P.SUCCESSFUL
    assert phases(deployment(), just_now)["no_new_restarts"] is _P.RUNNING


def test_two_restarts_of_a_new_pod_fail_and_say_which_and_why() -> None:
    looping = fresh(running(restarts=2, last=terminated(1, at=ago(minutes=1))))
    (found,) = [m for m in measured(deployment(), looping) if m.check == "no_new_restarts"]
    assert found.phase is _P.FAILED
    assert found.detail == "api-new was killed 2 times since the change (Error, exit 1)"


def test_a_well_behaved_sidecar_does_not_hide_a_looping_container() -> None:
    looping = running(restarts=6, last=terminated(1, at=ago(minutes=1)))
    sidecar = running("proxy", restarts=1, last=terminated(0, at=ago(minutes=2)))
    assert phases(deployment(), fresh(looping, sidecar))["no_new_restarts"] is _P.FAILED


def test_a_new_pod_that_is_killed_for_memory_fails_at_once() -> None:
    killed = fresh(running(restarts=1, last=terminated(137, "OOMKilled", at=ago(minutes=1))))
    assert phases(deployment(), killed)["no_new_restarts"] is _P.FAILED


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"])
def test_a_new_pod_that_cannot_start_fails_at_once_an_old_one_does_not(reason: str) -> None:
    assert phases(deployment(), fresh(waiting(reason)))["no_new_restarts"] is _P.FAILED
    old = pod(deployment(), waiting(reason), created=ago(hours=1))
    assert phases(deployment(), old)["no_new_restarts"] is _P.SUCCESSFUL


def test_what_happened_before_the_change_does_not_count_against_it() -> None:
    old = pod(deployment(), running(restarts=40, last=terminated(137, "OOMKilled", at=ago(minutes=6))))
    assert phases(deployment(), old)["no_new_restarts"] is _P.SUCCESSFUL


def test_pods_that_are_going_do_not_count() -> None:
    going = fresh(running(restarts=9, last=terminated(1, at=ago(minutes=1))))
    going["metadata"]["deletionTimestamp"] = ago(seconds=5)
    assert phases(deployment(), going)["no_new_restarts"] is _P.SUCCESSFUL


@pytest.mark.parametrize("when", ["not a time", "", None, "2026-08-14T02:59:00"])
def test_odd_times_are_no_reason_to_break(when: str | None) -> None:
    odd = terminated(1) | {"finishedAt": when}
    assert "no_new_restarts" in phases(deployment(), fresh(running(restarts=1, last=odd)))


def test_a_node_is_contained_while_it_is_cordoned() -> None:
    for spec, phase in (({"unschedulable": True}, _P.SUCCESSFUL), ({}, _P.FAILED)):
        live = {"metadata": {"name": "n"}, "spec": spec}
        (found,) = measure_node(live, now=NOW, criteria=("node_unschedulable",))
        assert (found.check, found.phase) == ("node_unschedulable", phase)
