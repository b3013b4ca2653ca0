"""The rest of the catalogue on live objects: each is tried, done once however often it is asked for, taken back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from activities.actions import ACTIONS
from cortexops.contracts.remediation import ApplyOutcome, VerifyInput
from cortexops.domain.action import Action
from cortexops.domain.audit import AuditType
from cortexops.domain.change import OPERATION_ANNOTATION, Change, Verb, carries, edit, json_patch
from cortexops.domain.errors import Conflict, NotFound, Rejected
from cortexops.domain.incident import Reason
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.verification import Phase, Verification
from cortexops.ports.cluster import PatchType
from tests.remediation import test_actions_live as known
from tests.remediation.support import LIMITS, SECRET, Stage, eventually
from tests.remediation.test_actions_live import there_and_back

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def pause(stage: Stage) -> Action:
    await stage.deployment()
    return stage.action("pause_rollout")


async def resume(stage: Stage) -> Action:
    await stage.deployment()
    await stage.edit({"spec": {"paused": True}})
    return stage.action("resume_rollout")


def cron_job(stage: Stage, suspend: bool) -> JSON:
    template = {
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "r.local/job:1"}]}
    }
    spec = {"schedule": "0 0 29 2 *", "suspend": suspend, "jobTemplate": {"spec": {"template": template}}}
    version = "batch/v1beta1" if stage.admin.name == "real" else "batch/v1"  # 1.20 has no newer one
    return {"apiVersion": version, "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": spec}


async def suspend(stage: Stage) -> Action:
    await stage.admin.create("CronJob", stage.space, cron_job(stage, False))
    return stage.action("suspend_cronjob", stage.ref("CronJob", "nightly"))


async def resume_cron(stage: Stage) -> Action:
    await stage.admin.create("CronJob", stage.space, cron_job(stage, True))
    return stage.action("resume_cronjob", stage.ref("CronJob", "nightly"))


async def more_replicas(stage: Stage) -> Action:
    await stage.deployment()
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    spec = {"minReplicas": 1, "maxReplicas": 4, "scaleTargetRef": target}
    await stage.admin.create(
        "HorizontalPodAutoscaler", stage.space, {"metadata": {"name": "api"}, "spec": spec}
    )
    return stage.action("hpa_bounds", stage.ref("HorizontalPodAutoscaler", "api"), max_replicas=8)


MENDERS = [pause, resume, suspend, resume_cron, more_replicas]


@pytest.mark.parametrize("make", MENDERS)
async def test_each_action_can_be_tried_done_twice_and_taken_back(
    stage: Stage, make: Callable[[Stage], Awaitable[Action]]
) -> None:
    action = await make(stage)
    await there_and_back(stage, action)


async def verified(
    stage: Stage, action: Action, operation: str, seconds: float = 10.0, **more: Any
) -> Verification:
    return await stage.activities.verify(
        VerifyInput(
            step=stage.step(),
            action=action,
            operation_id=operation,
            limits=LIMITS.model_copy(update={"window": seconds}),
            subject=stage.ref("Service", "none"),
            **more,
        )
    )


async def ready(stage: Stage, name: str) -> ResourceRef:
    """A node that says that it is ready (its kubelet, if there is one, says so anyway)."""
    if not [n for n in (await stage.admin.list("Node")).items if n["metadata"]["name"] == name]:
        await stage.admin.create("Node", "", {"metadata": {"name": name}, "spec": {}})
    conditions = [{"type": "Ready", "status": "True", "reason": "x", "message": "x"}]
    await stage.admin.patch(
        "Node", "", name, {"status": {"conditions": conditions}}, patch_type=PatchType.STRATEGIC,
        subresource="status",
    )  # fmt: skip
    return stage.ref("Node", name)


@pytest.fixture
async def spare(stage: Stage) -> Any:
    name = f"spare-{stage.space}"
    yield await ready(stage, name)
    await stage.admin.delete("Node", "", name)


async def test_a_node_is_uncordoned_and_cordoned_again_by_the_undo(stage: Stage, node: str) -> None:
    target = await ready(stage, node)
    await stage.edit({"spec": {"unschedulable": True}}, target)
    if stage.admin.name == "real":  # its controller adds a taint, in its own time

        async def tainted() -> bool:
            taints = (await stage.live(target))["spec"].get("taints") or []
            return any(taint["key"] == "node.kubernetes.io/unschedulable" for taint in taints)

        await eventually(tainted)
    await there_and_back(stage, stage.action("uncordon_node", target))


async def test_a_node_is_taken_out_of_service_and_its_label_goes_with_the_undo(
    stage: Stage, node: str, spare: ResourceRef
) -> None:
    target = stage.ref("Node", node)
    before = (await stage.live(target))["metadata"].get("labels")
    action = stage.action("remove_node_from_service", target)
    order = await stage.order(action)
    done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    live = await stage.live(target)
    assert live["spec"]["unschedulable"] is True
    assert live["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] == "true"
    verdict = await verified(stage, action, done.operation_id)
    assert verdict.phase is Phase.SUCCESSFUL, verdict.detail
    assert (await stage.compensate(done.operation_id)).done
    live = await stage.live(target)
    assert live["metadata"].get("labels") == before
    assert not live["spec"].get("unschedulable")


async def test_the_only_node_that_serves_is_not_taken_out_of_service(simulated: Stage) -> None:
    (node,) = (await simulated.admin.list("Node")).items
    target = simulated.ref("Node", node["metadata"]["name"])
    for type_ in ("remove_node_from_service", "drain_node"):
        found = await simulated.dry_run(simulated.action(type_, target))
        assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
        assert "no other node" in found.detail


async def crew(
    stage: Stage, node: str, replicas: int = 2, name: str = "crew", **container: Any
) -> list[JSON]:
    """Pods on that node, which a ReplicaSet makes again there (so that successors show)."""
    labels = {"app": name}
    spec = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "r.local/api:1.0", **container}],
    }
    body = {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    await stage.admin.create("ReplicaSet", stage.space, body)

    async def there() -> list[JSON]:
        found = await stage.admin.list("Pod", stage.space, labels=f"app={name}")
        return found.items if len(found.items) == replicas else []

    made: list[JSON] = await eventually(there)
    return made


async def test_a_drain_evicts_the_pods_of_its_plan_once_and_undoing_it_only_uncordons(
    stage: Stage, node: str, spare: ResourceRef
) -> None:
    pods = {pod["metadata"]["uid"] for pod in await crew(stage, node)}
    target = stage.ref("Node", node)
    action = stage.action("drain_node", target)
    order = await stage.order(action)
    assert {pod.uid for pod in order.prepared.change.pods} >= pods
    done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    assert "evicted" in done.detail
    assert (await stage.live(target))["spec"]["unschedulable"] is True
    after = {p["metadata"]["uid"]: p for p in (await stage.admin.list("Pod", stage.space)).items}
    assert not [uid for uid in pods & after.keys() if not after[uid]["metadata"].get("deletionTimestamp")]
    successors = after.keys() - pods
    assert await stage.apply(order) == done
    assert successors <= {p["metadata"]["uid"] for p in (await stage.admin.list("Pod", stage.space)).items}
    parts = [event for event in await stage.trail() if event.type is AuditType.PART_EXECUTED]
    assert len(parts) == len(order.prepared.change.pods) == len({event.detail for event in parts})
    verdict = await verified(stage, action, done.operation_id)
    assert verdict.phase is Phase.SUCCESSFUL, verdict.detail
    undone = await stage.compensate(done.operation_id)
    assert undone.done and "do not come back" in undone.detail
    assert not (await stage.live(target))["spec"].get("unschedulable")


async def the_job(stage: Stage, *, failed: bool = True) -> Action:
    spec = {
        "backoffLimit": 0,
        "template": {
            "metadata": {"labels": {"app": "import"}},
            "spec": {
                "restartPolicy": "Never",
                "nodeSelector": {"never": "there"},
                "containers": [
                    {"name": "main", "image": "r.local/job:1", "env": [{"name": "PASSWORD", "value": SECRET}]}
                ],
            },
        },
    }
    await stage.admin.create("Job", stage.space, {"metadata": {"name": "import"}, "spec": spec})
    if failed:
        await eventually(lambda: has_failed(stage))
    return stage.action("rerun_job", stage.ref("Job", "import"))


async def has_failed(stage: Stage) -> bool:
    """Say that it failed, until its controller says so too."""
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    await stage.admin.patch(
        "Job",
        stage.space,
        "import",
        {"status": {"conditions": [condition]}},
        patch_type=PatchType.MERGE,
        subresource="status",
    )
    await asyncio.sleep(0.1)
    live = await stage.live(stage.ref("Job", "import"))
    return bool((live.get("status") or {}).get("conditions"))


async def test_a_failed_job_runs_once_more_and_the_new_job_goes_with_the_undo(stage: Stage) -> None:
    action = await the_job(stage)
    order = await stage.order(action)
    assert len((await stage.admin.list("Job", stage.space)).items) == 1
    first = await stage.apply(order)
    assert first.outcome is ApplyOutcome.APPLIED, first.detail
    assert await stage.apply(order) == first
    jobs = {job["metadata"]["name"]: job for job in (await stage.admin.list("Job", stage.space)).items}
    (name,) = jobs.keys() - {"import"}
    assert jobs[name]["metadata"]["annotations"][OPERATION_ANNOTATION] == first.operation_id
    assert "PASSWORD" in json.dumps(jobs[name]["spec"])
    undone = await stage.compensate(first.operation_id)
    assert undone.done, undone.detail
    await eventually(lambda: gone(stage, name))
    assert (await stage.live(stage.ref("Job", "import")))["metadata"]["uid"] == order.prepared.change.uid
    assert (await stage.compensate(first.operation_id)).done
    assert SECRET not in order.model_dump_json() + first.model_dump_json() + await stage.said()


async def gone(stage: Stage, name: str) -> bool:
    return name not in {job["metadata"]["name"] for job in (await stage.admin.list("Job", stage.space)).items}


async def test_a_job_of_that_name_that_is_not_ours_is_left_alone(stage: Stage) -> None:
    order = await stage.order(await the_job(stage))
    done = await stage.apply(order)
    assert done.change is not None
    target = done.change.target
    await stage.admin.patch(
        "Job", stage.space, target.name, {"metadata": {"annotations": {OPERATION_ANNOTATION: "theirs"}}},
        patch_type=PatchType.MERGE,
    )  # fmt: skip
    undone = await stage.compensate(done.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_REFUSED)
    assert await stage.live(target)


async def test_a_job_that_still_tries_or_is_done_is_not_run_again(simulated: Stage) -> None:
    action = await the_job(simulated, failed=False)
    found = await simulated.dry_run(action)
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "has not failed" in found.detail


@pytest.mark.parametrize(
    ("meanwhile", "words"),
    [
        ({"status": {"active": [{"kind": "Job", "name": "nightly-1"}]}}, "has a run under way"),
        ({"spec": {"suspend": True}}, "is suspended"),
    ],
)
async def test_a_run_that_was_agreed_on_is_not_made_once_the_cronjob_runs_or_is_suspended(
    simulated: Stage, meanwhile: JSON, words: str
) -> None:
    await simulated.admin.create("CronJob", simulated.space, cron_job(simulated, False))
    target = simulated.ref("CronJob", "nightly")
    order = await simulated.order(simulated.action("rerun_job", target))
    await simulated.admin.patch(
        "CronJob", simulated.space, "nightly", meanwhile, patch_type=PatchType.MERGE,
        subresource="status" if "status" in meanwhile else "",
    )  # fmt: skip
    found = await simulated.apply(order)
    assert (found.outcome, found.reason) == (ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED)
    assert words in found.detail
    assert not (await simulated.admin.list("Job", simulated.space)).items
    assert await simulated.store.rows_of(simulated.incident) == []


async def test_a_new_run_whose_pod_finds_no_node_is_not_taken_for_well(stage: Stage) -> None:
    action = await the_job(stage)
    done = await stage.apply(await stage.order(action))
    assert done.change is not None
    target = done.change.target

    async def begun() -> bool:
        return bool(((await stage.live(target)).get("status") or {}).get("active"))

    await eventually(begun)
    verdict = await verified(stage, action, done.operation_id, seconds=1.0)
    assert verdict.phase is Phase.FAILED, verdict.detail
    assert "none is ready yet" in verdict.detail


async def test_a_pod_is_evicted_once_and_its_successor_is_left_alone(stage: Stage) -> None:
    await known.owner_of_pods(stage)
    pod = await known.its_pod(stage)
    action = stage.action("evict_pod", stage.ref("Pod", pod["metadata"]["name"]))
    order = await stage.order(action)
    done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    successor = await known.its_pod(stage)
    assert successor["metadata"]["uid"] != pod["metadata"]["uid"]
    assert await stage.apply(order) == done
    assert (await known.its_pod(stage))["metadata"]["uid"] == successor["metadata"]["uid"]
    assert (await stage.compensate(done.operation_id)).reason is Reason.NOT_REVERSIBLE


async def test_escalation_that_was_chosen_changes_nothing_and_says_why(simulated: Stage) -> None:
    before = await simulated.deployment()
    found = await simulated.dry_run(simulated.action("escalate", reason="the owner is at work on it"))
    assert (found.ok, found.reason) == (False, Reason.ESCALATION_CHOSEN)
    assert "the owner is at work on it" in found.detail
    assert await simulated.live() == before
    assert not (await simulated.dry_run(simulated.action("escalate"))).ok


async def test_the_undo_of_a_job_that_somebody_deleted_finds_nothing_to_do(simulated: Stage) -> None:
    done = await simulated.apply(await simulated.order(await the_job(simulated)))
    assert done.change is not None
    target = done.change.target
    await simulated.admin.delete("Job", simulated.space, target.name)
    undone = await simulated.compensate(done.operation_id)
    assert undone.done and "gone already" in undone.detail
    with pytest.raises(NotFound):
        await simulated.live(target)


def test_every_action_of_the_catalogue_has_a_life_in_these_tests() -> None:
    here = {
        "pause_rollout", "resume_rollout", "suspend_cronjob", "resume_cronjob", "hpa_bounds", "uncordon_node",
        "open_pull_request",
        "remove_node_from_service", "drain_node", "rerun_job", "patch_config", "expand_pvc", "evict_pod", "escalate",
    }  # fmt: skip
    elsewhere = {
        "adjust_resources", "restart_workload", "scale_workload", "rollback_rollout", "cordon_node", "delete_pod",
    }  # fmt: skip
    assert here | elsewhere == set(ACTIONS.kinds)


async def test_a_status_that_moves_meanwhile_does_not_stop_a_patch_of_an_object_without_annotations(
    stage: Stage,
) -> None:
    target = stage.ref("PersistentVolumeClaim", "bare")
    wants = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    await stage.admin.create(target.kind, stage.space, {"metadata": {"name": "bare"}, "spec": wants})
    bare = await stage.live(target)
    assert "annotations" not in bare["metadata"] and "labels" not in bare["metadata"]
    change = Change(
        verb=Verb.PATCH,
        target=target,
        uid=bare["metadata"]["uid"],
        edits=(edit(bare, "/metadata/labels/tier", "cold"),),
        operation_id="op-1",
    )
    beat = {"status": {"conditions": [{"type": "Resizing", "status": "True"}]}}
    await stage.admin.patch(
        target.kind, stage.space, "bare", beat, patch_type=PatchType.STRATEGIC, subresource="status"
    )
    patch = json_patch(change, bare)
    done = await stage.admin.patch(target.kind, stage.space, "bare", patch)
    assert done["metadata"]["labels"] == {"tier": "cold"} and carries(done, "op-1")
    assert done["status"]["conditions"][0]["type"] == "Resizing"
    with pytest.raises((Conflict, Rejected)):  # now both are there: the very same patch says so
        await stage.admin.patch(target.kind, stage.space, "bare", patch)
