"""Every action on a live object: dry run, apply, undo; and what the API server and others have against it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cortexops.contracts.remediation import ApplyOutcome, VerifyInput
from cortexops.domain.action import Action
from cortexops.domain.change import OPERATION_ANNOTATION
from cortexops.domain.errors import Conflict, NotFound, Rejected
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.verification import Phase
from sandbox.cluster.faults import Fault
from tests.remediation.support import LIMITS, SECRET, Stage, eventually, workload


async def adjust(stage: Stage) -> Action:
    await stage.deployment()
    return stage.action("adjust_resources", container="main", memory_limit="256Mi", memory_request="192Mi")


async def adjust_cpu(stage: Stage) -> Action:
    await stage.deployment()
    limited = {"name": "main", "resources": {"limits": {"cpu": "100m"}}}
    await stage.edit({"spec": {"template": {"spec": {"containers": [limited]}}}})
    await stage.revision("api", 2)
    return stage.action("adjust_resources", container="main", cpu_limit="200m", cpu_request="100m")


async def restart(stage: Stage) -> Action:
    await stage.deployment()
    return stage.action("restart_workload")


async def scale(stage: Stage) -> Action:
    await stage.deployment()
    return stage.action("scale_workload", replicas=1)


async def roll_back(stage: Stage) -> Action:
    _, first = await stage.rolled_out()
    return stage.action("rollback_rollout", to_revision=1, replica_set=first)


async def restart_stateful(stage: Stage) -> Action:
    await stage.admin.create("StatefulSet", stage.space, workload("db", serviceName="db"))
    return stage.action("restart_workload", stage.ref("StatefulSet", "db"))


async def restart_daemon(stage: Stage) -> Action:
    body = workload("agent")
    del body["spec"]["replicas"]
    body["spec"]["template"]["spec"]["nodeSelector"] = {"never": "there"}
    await stage.admin.create("DaemonSet", stage.space, body)
    return stage.action("restart_workload", stage.ref("DaemonSet", "agent"))


MENDERS = [adjust, adjust_cpu, restart, scale, roll_back, restart_stateful, restart_daemon]


async def settled(stage: Stage, target: ResourceRef) -> JSON:
    async def seen() -> JSON | None:
        live = await stage.live(target)
        observed = live.get("status", {}).get("observedGeneration")
        tells = target.kind in ("Deployment", "StatefulSet", "DaemonSet")
        return live if not tells or observed == live["metadata"]["generation"] else None

    found: JSON = await eventually(seen)
    return found


@pytest.mark.parametrize("make", MENDERS)
async def test_each_action_can_be_tried_done_twice_and_taken_back(
    stage: Stage, make: Callable[[Stage], Awaitable[Action]]
) -> None:
    await there_and_back(stage, await make(stage))


async def test_a_node_can_be_cordoned_and_given_back(stage: Stage, node: str) -> None:
    await there_and_back(stage, stage.action("cordon_node", stage.ref("Node", node)))


def spec_of(live: JSON) -> JSON:
    """The spec without taints, which controllers set and remove when they get to it."""
    return {key: value for key, value in live["spec"].items() if key != "taints"}


async def there_and_back(stage: Stage, action: Action) -> None:
    before = await settled(stage, action.target)
    order = await stage.order(action)
    assert spec_of(await stage.live(action.target)) == spec_of(before)
    first = await stage.apply(order)
    assert first.outcome is ApplyOutcome.APPLIED, first.detail
    changed = spec_of(await stage.live(action.target))
    assert changed != spec_of(before)
    assert await stage.apply(order) == first
    assert spec_of(await stage.live(action.target)) == changed
    await settled(stage, action.target)
    undone = await stage.compensate(first.operation_id)
    assert undone.done, undone.detail
    back = await stage.live(action.target)
    assert spec_of(back) == spec_of(before)
    assert back["metadata"]["annotations"][OPERATION_ANNOTATION] == f"{first.operation_id}.undo"
    again = await stage.compensate(first.operation_id)
    assert again.done
    assert spec_of(await stage.live(action.target)) == spec_of(before)
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.COMPENSATED
    told = [order, first, undone]
    assert SECRET not in "".join(one.model_dump_json() for one in told) + await stage.said()


def a_pod(owner: JSON | None) -> JSON:
    metadata: JSON = {"name": "one", "labels": {"app": "none"}}
    if owner is not None:
        reference = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "api-1",
            "uid": owner["metadata"]["uid"],
        }
        metadata["ownerReferences"] = [reference | {"controller": True}]
    spec = {
        "containers": [{"name": "main", "image": "r.local/api:1.0"}],
        "nodeSelector": {"never": "there"},
        "terminationGracePeriodSeconds": 0,
    }
    return {"metadata": metadata, "spec": spec}


async def owner_of_pods(stage: Stage) -> JSON:
    labels = {"app": "none"}
    body = {
        "metadata": {"name": "api-1"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": a_pod(None)["spec"] | {"terminationGracePeriodSeconds": 30},
            },
        },
    }
    return await stage.admin.create("ReplicaSet", stage.space, body)


async def its_pod(stage: Stage) -> JSON:
    async def made() -> JSON | None:
        found = (await stage.admin.list("Pod", stage.space)).items
        return next((pod for pod in found if not pod["metadata"].get("deletionTimestamp")), None)

    found: JSON = await eventually(made)
    return found


async def test_a_pod_is_deleted_once_and_its_successor_is_left_alone(stage: Stage) -> None:
    await owner_of_pods(stage)
    pod = await its_pod(stage)
    name = pod["metadata"]["name"]
    action = stage.action("delete_pod", stage.ref("Pod", name))
    order = await stage.order(action)
    assert (await stage.live(action.target))["metadata"]["uid"] == pod["metadata"]["uid"]
    first = await stage.apply(order)
    assert first.outcome is ApplyOutcome.APPLIED, first.detail
    successor = await its_pod(stage)
    assert successor["metadata"]["uid"] != pod["metadata"]["uid"]
    assert await stage.apply(order) == first
    assert (await its_pod(stage))["metadata"]["uid"] == successor["metadata"]["uid"]
    undone = await stage.compensate(first.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.NOT_REVERSIBLE)


async def an_owner(stage: Stage) -> JSON:
    """Something that owns a pod and that no control loop acts for."""
    return await stage.admin.create("ConfigMap", stage.space, {"metadata": {"name": "api-1"}})


async def test_a_pod_of_the_same_name_but_another_uid_is_not_deleted(stage: Stage) -> None:
    await stage.admin.create("Pod", stage.space, a_pod(await an_owner(stage)))
    order = await stage.order(stage.action("delete_pod", stage.ref("Pod", "one")))
    seen = order.prepared.change
    other = seen.model_copy(update={"uid": "00000000-0000-0000-0000-000000000000"})
    stale = order.model_copy(update={"prepared": order.prepared.model_copy(update={"change": other})})
    assert (await stage.apply(stale)).outcome is ApplyOutcome.CHANGED
    with pytest.raises(Conflict, match=r"(?i)precondition|uid"):
        await stage.writer.delete("Pod", stage.space, "one", uid=other.uid)
    assert (await stage.live(stage.ref("Pod", "one")))["metadata"]["uid"] == seen.uid


async def test_a_pod_that_is_replaced_at_the_last_moment_is_not_deleted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await an_owner(stage)
    await stage.admin.create("Pod", stage.space, a_pod(owner))
    order = await stage.order(stage.action("delete_pod", stage.ref("Pod", "one")))
    delete = stage.writer.delete

    async def overtaken(*args: Any, dry_run: bool = False, **options: Any) -> None:
        if not dry_run:
            await stage.admin.delete("Pod", stage.space, "one", grace_seconds=0)
            await stage.admin.create("Pod", stage.space, a_pod(owner))
        await delete(*args, dry_run=dry_run, **options)

    monkeypatch.setattr(stage.writer, "delete", overtaken)
    assert (await stage.apply(order)).outcome is ApplyOutcome.APPLIED  # that very pod is gone
    successor = await stage.live(stage.ref("Pod", "one"))
    assert successor["metadata"]["uid"] != order.prepared.change.uid
    assert "deletionTimestamp" not in successor["metadata"]


async def test_a_pod_that_nothing_would_replace_is_not_deleted(stage: Stage) -> None:
    await stage.admin.create("Pod", stage.space, a_pod(None))
    found = await stage.dry_run(stage.action("delete_pod", stage.ref("Pod", "one")))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "no controller" in found.detail


async def test_somebody_elses_edit_is_never_trampled_by_an_undo(stage: Stage) -> None:
    action = await adjust(stage)
    done = await stage.apply(await stage.order(action))
    theirs = {"limits": {"memory": "300Mi"}}
    await stage.edit(
        {"spec": {"template": {"spec": {"containers": [{"name": "main", "resources": theirs}]}}}}
    )
    before = await settled(stage, action.target)
    undone = await stage.compensate(done.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_REFUSED)
    assert await stage.live() == before
    (line,) = undone.foreign
    assert line.path.endswith("/resources/limits/memory")
    assert (line.before, line.after) == ('"256Mi"', '"300Mi"')
    assert any(
        command.startswith(f"kubectl -n {stage.space} patch deployment api") for command in undone.commands
    )
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.UNKNOWN
    assert await stage.compensate(done.operation_id) == undone


async def test_an_undo_keeps_what_others_changed_elsewhere(stage: Stage) -> None:
    action = await adjust(stage)
    done = await stage.apply(await stage.order(action))
    await stage.edit({"spec": {"minReadySeconds": 9}, "metadata": {"labels": {"owner": "them"}}})
    undone = await stage.compensate(done.operation_id)
    assert undone.done, undone.detail
    live = await stage.live()
    assert live["spec"]["minReadySeconds"] == 9
    assert live["metadata"]["labels"]["owner"] == "them"
    resources = live["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"memory": "128Mi"}, "requests": {"memory": "64Mi"}}


async def test_what_somebody_put_back_already_counts_as_undone(stage: Stage) -> None:
    action = await scale(stage)
    done = await stage.apply(await stage.order(action))
    theirs = await stage.edit({"spec": {"replicas": 0}})
    undone = await stage.compensate(done.operation_id)
    assert undone.done
    assert await stage.generation() == theirs["metadata"]["generation"]


async def test_an_object_that_is_gone_is_not_made_again_by_an_undo(stage: Stage) -> None:
    action = await scale(stage)
    done = await stage.apply(await stage.order(action))
    await stage.admin.delete("Deployment", stage.space, "api")

    async def gone() -> bool:
        return not (await stage.admin.list("Deployment", stage.space)).items

    await eventually(gone)
    undone = await stage.compensate(done.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_REFUSED)
    with pytest.raises(NotFound):
        await stage.live()


async def test_an_undo_that_the_server_refuses_is_said_to_have_failed(simulated: Stage) -> None:
    stage = simulated
    action = await scale(stage)
    done = await stage.apply(await stage.order(action))
    stage.faults.add(Fault(path="/deployments/", method="PATCH", status=422))
    undone = await stage.compensate(done.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_FAILED)
    assert undone.commands
    stage.faults.clear()
    assert (await stage.live())["spec"]["replicas"] == 1


async def test_a_crash_within_the_undo_ends_in_one_undo(simulated: Stage) -> None:
    stage = simulated
    action = await scale(stage)
    done = await stage.apply(await stage.order(action))
    applied = await stage.generation()
    stage.faults.add(
        Fault(path="/deployments/", method="PATCH", query=r"^(?!.*dryRun)", hang_after_apply=True, times=1)
    )
    task = asyncio.create_task(stage.compensate(done.operation_id))

    async def undone() -> bool:
        return await stage.generation() > applied

    await eventually(undone)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.APPLIED
    assert (await stage.compensate(done.operation_id)).done
    generation = await stage.generation()
    assert (await stage.compensate(done.operation_id)).done
    assert await stage.generation() == generation


async def test_a_missing_permission_stops_the_dry_run_and_is_named(stage: Stage) -> None:
    before = await stage.deployment()
    found = await stage.readers().dry_run(stage.action("restart_workload"))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_FORBIDDEN)
    assert f"patch deployments in namespace {stage.space}" in found.detail
    assert await stage.live() == before


async def test_a_permission_that_was_taken_away_refuses_the_change(stage: Stage) -> None:
    await stage.deployment()
    order = await stage.order(stage.action("restart_workload"))
    before = await stage.live()
    result = await stage.readers().apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.REFUSED, Reason.APPLY_REFUSED)
    assert "patch deployments" in result.detail
    assert await stage.live() == before
    assert await stage.store.rows_of(stage.incident) == []


async def test_what_admission_says_is_passed_on_without_secrets(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    await stage.deployment()
    order = await stage.order(stage.action("restart_workload"))

    async def refuses(*_: object, **__: object) -> JSON:
        raise Rejected(f"exceeded quota: shop, requested limits.memory=1Gi; PASSWORD={SECRET}")

    monkeypatch.setattr(stage.writer, "patch", refuses)
    found = await stage.dry_run(stage.action("restart_workload"))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.REFUSED, Reason.APPLY_REFUSED)
    for detail in (found.detail, result.detail):
        assert "exceeded quota: shop, requested limits.memory=1Gi" in detail
    assert SECRET not in found.detail + result.detail + await stage.said()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"container": "main", "memory_limit": "257Mi", "memory_request": "64Mi"}, "at most 2 times"),
        ({"container": "main", "memory_limit": "64Mi", "memory_request": "64Mi"}, "not above"),
        ({"container": "main", "memory_limit": "256Mi", "memory_request": "300Mi"}, "above memory_limit"),
        ({"container": "main", "memory_limit": "much", "memory_request": "1Mi"}, "not a Kubernetes quantity"),
        ({"container": "other", "memory_limit": "256Mi", "memory_request": "64Mi"}, "no container"),
        ({"memory_limit": "256Mi", "memory_request": "64Mi"}, "container"),
    ],
)
async def test_what_is_out_of_bounds_never_reaches_the_server(
    simulated: Stage, params: dict[str, Any], words: str
) -> None:
    await simulated.deployment()
    requests = simulated.writer.requests
    found = await simulated.dry_run(simulated.action("adjust_resources", **params))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert words in found.detail
    assert simulated.writer.requests == requests + 4  # the read, and the three lists that bound it


async def test_unknown_actions_kinds_and_objects_of_git_are_refused(simulated: Stage) -> None:
    stage = simulated
    await stage.deployment()
    for action in (
        stage.action("delete_namespace"),
        stage.action("scale_workload", stage.ref("DaemonSet", "api"), replicas=1),
        stage.action("scale_workload", replicas="many"),
        stage.action("scale_workload"),
        stage.action("scale_workload", replicas=0),
        stage.action("scale_workload", replicas=2),
    ):
        found = await stage.dry_run(action)
        assert not found.ok, action
    await stage.edit({"metadata": {"labels": {"argocd.argoproj.io/instance": "shop"}}})
    found = await stage.dry_run(stage.action("restart_workload"))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "managed from Git" in found.detail


async def test_what_cannot_be_measured_is_an_error_and_never_a_success(simulated: Stage) -> None:
    stage = simulated
    action = await scale(stage)
    done = await stage.apply(await stage.order(action))
    stage.faults.add(Fault(path="/deployments/|/pods", method="GET", status=503, retry_after=0))
    verdict = await stage.activities.verify(
        VerifyInput(
            step=stage.step(),
            action=action,
            operation_id=done.operation_id,
            limits=LIMITS.model_copy(update={"consecutive_errors": 2, "window": 5}),
            subject=stage.ref(),
            expected_replicas=1,
        )
    )
    assert verdict.phase is Phase.ERROR
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.APPLIED
