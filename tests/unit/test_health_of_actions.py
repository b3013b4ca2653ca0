"""The checks of single kinds: what says that such a change helped, and what says that it did not."""

from __future__ import annotations

from typing import Any

import pytest

from activities.health import measure
from cortexops.domain.change import Change, PodRef, Verb, edit
from cortexops.domain.health import (
    measure_autoscaler,
    measure_claim,
    measure_job,
    measure_node,
    measure_place,
)
from cortexops.domain.resource import JSON
from cortexops.domain.verification import Phase
from cortexops.ports.cluster import ObjectList
from tests.investigation.objects import NOW, ref, running, waiting


def job(condition: str = "", **status: Any) -> JSON:
    conditions = (
        [{"type": condition, "status": "True", "reason": "BackoffLimitExceeded"}] if condition else []
    )
    return {"metadata": {"name": "j"}, "status": {"conditions": conditions, **status}}


@pytest.mark.parametrize(
    ("live", "phase"),
    [
        (job("Complete"), Phase.SUCCESSFUL),
        (job("Failed"), Phase.FAILED),
        (job(active=1, ready=1), Phase.SUCCESSFUL),
        (job(active=2, ready=0, succeeded=1), Phase.SUCCESSFUL),
        (job(active=1, ready=0), Phase.RUNNING),
        (job(active=1), Phase.RUNNING),
        (job(active=1, ready=1, failed=1), Phase.RUNNING),
        (job(), Phase.RUNNING),
    ],
)
def test_a_job_is_well_when_it_is_done_or_a_pod_of_it_is_ready_and_none_failed(
    live: JSON, phase: Phase
) -> None:
    assert measure_job(live, now=NOW).phase is phase


def its_pod(*statuses: JSON, ready: bool = False, **status: Any) -> JSON:
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"name": "j-x2x4f"},
        "status": {"conditions": conditions, "containerStatuses": list(statuses), **status},
    }


PULLING = waiting("ContainerCreating")
NO_IMAGE = waiting("ImagePullBackOff")


@pytest.mark.parametrize(
    ("pods", "phase", "words"),
    [
        ([its_pod(running(), ready=True)], Phase.SUCCESSFUL, "runs"),
        ([its_pod(PULLING), its_pod(running(), ready=True)], Phase.SUCCESSFUL, "runs"),
        ([its_pod(PULLING)], Phase.RUNNING, "none is ready yet"),
        ([its_pod()], Phase.RUNNING, "none is ready yet"),  # no node has room for it
        ([its_pod(NO_IMAGE)], Phase.FAILED, "j-x2x4f cannot start: ImagePullBackOff"),
        ([its_pod(waiting("CreateContainerConfigError"))], Phase.FAILED, "CreateContainerConfigError"),
        ([its_pod(PULLING, initContainerStatuses=[NO_IMAGE])], Phase.FAILED, "ImagePullBackOff"),
        ([its_pod(running(), ready=True), its_pod(NO_IMAGE)], Phase.FAILED, "ImagePullBackOff"),
    ],
)
def test_where_a_job_does_not_say_how_many_are_ready_its_pods_do(
    pods: list[JSON], phase: Phase, words: str
) -> None:
    found = measure_job(job(active=len(pods)), pods, now=NOW)
    assert (found.phase, words in found.detail) == (phase, True), found.detail


def test_a_pod_of_a_job_that_is_going_says_nothing_of_it() -> None:
    going = its_pod(NO_IMAGE)
    going["metadata"]["deletionTimestamp"] = "2026-08-14T02:59:00Z"
    assert measure_job(job(active=1), [going], now=NOW).phase is Phase.RUNNING


class Served:
    """A cluster of one Job and the pods of its namespace; it keeps what it was asked."""

    def __init__(self, live: JSON, *pods: JSON) -> None:
        self.live, self.pods = live, list(pods)
        self.asked: list[str] = []

    async def get(self, kind: str, namespace: str, name: str) -> JSON:
        return self.live

    async def list(self, kind: str, namespace: str = "", *, labels: str = "", **more: Any) -> Any:
        self.asked.append(labels)
        return ObjectList(self.pods, "1")


async def test_the_pods_of_a_job_are_looked_at_while_it_has_some() -> None:
    chosen = {"spec": {"selector": {"matchLabels": {"controller-uid": "u"}}}}
    cluster: Any = Served(job(active=1) | chosen, its_pod(NO_IMAGE))
    (found,) = await measure(cluster, ref("Job", "j"), since=NOW, criteria=("job_runs",))
    assert (found.check, found.phase) == ("job_runs", Phase.FAILED)
    assert cluster.asked == ["controller-uid=u"]
    done: Any = Served(job("Complete") | chosen)
    (found,) = await measure(done, ref("Job", "j"), since=NOW, criteria=("job_runs",))
    assert (found.phase, done.asked) == (Phase.SUCCESSFUL, [])


def scaler(current: int, wanted: int, most: int, active: str = "True") -> JSON:
    conditions = [{"type": "ScalingActive", "status": active}]
    status = {"currentReplicas": current, "desiredReplicas": wanted, "conditions": conditions}
    return {"metadata": {"name": "s"}, "spec": {"maxReplicas": most}, "status": status}


@pytest.mark.parametrize(
    ("live", "phase"),
    [
        (scaler(6, 6, 8), Phase.SUCCESSFUL),
        (scaler(8, 8, 8), Phase.SUCCESSFUL),
        (scaler(4, 6, 8), Phase.RUNNING),
        (scaler(4, 0, 8), Phase.RUNNING),
        (scaler(6, 6, 8, "False"), Phase.RUNNING),
    ],
)
def test_an_autoscaler_is_well_when_it_has_what_it_wants_or_all_it_may_have(live: JSON, phase: Phase) -> None:
    assert measure_autoscaler(live, now=NOW).phase is phase


def claim(asked: str, has: str | None, pending: bool = False) -> JSON:
    status: JSON = {"capacity": {"storage": has}} if has else {}
    if pending:
        status["conditions"] = [{"type": "FileSystemResizePending", "status": "True"}]
    return {
        "metadata": {"name": "c"},
        "spec": {"resources": {"requests": {"storage": asked}}},
        "status": status,
    }


@pytest.mark.parametrize(
    ("live", "phase", "words"),
    [
        (claim("15Gi", "15Gi"), Phase.SUCCESSFUL, "has 15Gi"),
        (claim("15Gi", "16Gi"), Phase.SUCCESSFUL, "has 16Gi"),
        (claim("15Gi", "10Gi"), Phase.RUNNING, "10Gi of 15Gi"),
        (claim("15Gi", "10Gi", True), Phase.RUNNING, "when the pod is started again"),
        (claim("15Gi", None), Phase.RUNNING, "not known"),
    ],
)
def test_a_volume_is_well_when_it_has_the_size_that_was_asked_for(
    live: JSON, phase: Phase, words: str
) -> None:
    found = measure_claim(live, now=NOW)
    assert (found.phase, words in found.detail) == (phase, True)


def change_of(live: JSON, **more: Any) -> Change:
    edits = (edit(live, "/spec/paused", True),)
    base = {
        "verb": Verb.PATCH,
        "target": ref("Deployment", "api"),
        "uid": "u",
        "edits": edits,
        "operation_id": "op",
    }
    return Change(**(base | more))


def test_a_change_that_somebody_took_back_is_not_in_place() -> None:
    live: JSON = {"metadata": {"uid": "u"}, "spec": {}}
    change = change_of(live)
    assert (
        measure_place(change, {"metadata": {"uid": "u"}, "spec": {"paused": True}}, now=NOW).phase
        is Phase.SUCCESSFUL
    )
    back = measure_place(change, live, now=NOW)
    assert (back.phase, "/spec/paused" in back.detail) == (Phase.FAILED, True)
    other = measure_place(change, {"metadata": {"uid": "v"}, "spec": {"paused": True}}, now=NOW)
    assert other.phase is Phase.FAILED


def test_a_node_is_drained_when_the_pods_of_the_plan_are_gone_whoever_came_after() -> None:
    pods = tuple(PodRef(namespace="shop", name=name, uid=name) for name in ("a", "b"))
    change = change_of({"spec": {}}, verb=Verb.DRAIN, pods=pods)
    live = {"metadata": {"uid": "u"}, "spec": {"unschedulable": True}}

    def drained(*uids: str) -> Phase:
        there = [{"metadata": {"uid": uid}} for uid in uids]
        found = measure_node(
            live, there, now=NOW, change=change, criteria=("node_unschedulable", "node_drained")
        )
        return {m.check: m.phase for m in found}["node_drained"]

    assert (drained("c"), drained("b", "c")) == (Phase.SUCCESSFUL, Phase.RUNNING)


@pytest.mark.parametrize(("status", "phase"), [("True", Phase.SUCCESSFUL), ("False", Phase.FAILED)])
def test_without_criteria_a_node_is_judged_by_whether_it_works(status: str, phase: Phase) -> None:
    live = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": status, "message": "m"}]}}
    (found,) = measure_node(live, now=NOW)
    assert (found.check, found.phase) == ("node_ready", phase)
