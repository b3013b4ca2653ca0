"""Values and volumes on live objects: each is put right once however often it is asked for, and taken back."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from cortexops.contracts.remediation import ApplyInput, ApplyOutcome
from cortexops.domain.action import Action
from cortexops.domain.audit import AuditType
from cortexops.domain.change import OPERATION_ANNOTATION
from cortexops.domain.errors import NotFound, TemporaryError
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.snapshot import KEPT_VALUES, commands_by_hand
from cortexops.domain.sweep import Outcome, judge
from cortexops.domain.verification import Phase
from cortexops.ports.cluster import PatchType
from tests.remediation.support import SECRET, Stage, eventually
from tests.remediation.test_catalogue_live import crew, verified

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def config(kind: str, present: dict[str, str], applied: dict[str, str]) -> JSON:
    def coded(data: dict[str, str]) -> dict[str, str]:
        if kind == "ConfigMap":
            return data
        return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}

    note = json.dumps({"kind": kind, "data": coded(applied)})
    return {"metadata": {"name": "settings", "annotations": {APPLIED: note}}, "data": coded(present)}


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
async def test_a_key_goes_back_to_its_applied_value_and_forth_again(stage: Stage, kind: str) -> None:
    earlier, bad = f"good-{SECRET}", f"bad-{SECRET}"
    body = config(kind, {"TOKEN": bad, "other": "1"}, {"TOKEN": earlier, "other": "0"})
    await stage.admin.create(kind, stage.space, body)
    target = stage.ref(kind, "settings")
    before = await stage.live(target)
    action = stage.action("patch_config", target, key="TOKEN", source="last_applied")
    order = await stage.order(action)
    assert (await stage.live(target)) == before
    done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    assert await stage.apply(order) == done
    live = await stage.live(target)
    assert live["data"] == {**before["data"], "TOKEN": config(kind, {"TOKEN": earlier}, {})["data"]["TOKEN"]}
    verdict = await verified(stage, action, done.operation_id)
    assert verdict.phase is Phase.SUCCESSFUL, verdict.detail
    undone = await stage.compensate(done.operation_id)
    assert undone.done, undone.detail
    live = await stage.live(target)
    assert live["data"] == before["data"]
    assert set(live["metadata"]["annotations"]) == {APPLIED, OPERATION_ANNOTATION}
    assert (await stage.compensate(done.operation_id)).done
    rows = await stage.store.rows_of(stage.incident)
    told = [order, done, undone] + (rows if kind == "Secret" else [])
    spelled = "".join(one.model_dump_json() for one in told) + await stage.said()
    for value in (earlier, bad):
        assert value not in spelled
        assert base64.b64encode(value.encode()).decode() not in spelled


async def test_somebody_elses_value_in_a_secret_is_not_trampled_by_an_undo(stage: Stage) -> None:
    await stage.admin.create("Secret", stage.space, config("Secret", {"k": "bad"}, {"k": "good"}))
    target = stage.ref("Secret", "settings")
    done = await stage.apply(
        await stage.order(stage.action("patch_config", target, key="k", source="last_applied"))
    )
    theirs = base64.b64encode(b"theirs-" + SECRET.encode()).decode()
    await stage.edit({"data": {"k": theirs}}, target)
    before = await stage.live(target)
    undone = await stage.compensate(done.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_REFUSED)
    assert await stage.live(target) == before
    assert theirs not in undone.model_dump_json() + await stage.said()
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.UNKNOWN


async def test_a_secret_that_was_replaced_or_lost_its_note_is_left_alone(simulated: Stage) -> None:
    stage = simulated
    await stage.admin.create("Secret", stage.space, config("Secret", {"k": "bad"}, {"k": "good"}))
    target = stage.ref("Secret", "settings")
    done = await stage.apply(
        await stage.order(stage.action("patch_config", target, key="k", source="last_applied"))
    )
    name = KEPT_VALUES.rpartition("/")[2].replace("~1", "/")
    await stage.edit({"metadata": {"annotations": {name: None}}}, target)
    undone = await stage.compensate(done.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_REFUSED)
    assert "no longer keeps" in undone.detail


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"key": "k", "source": "replaced"}, "no earlier value"),
        ({"key": "x", "source": "last_applied"}, "no earlier value"),
        ({"key": "k", "source": "gone"}, "is gone"),
        ({"key": "k", "source": "last_applied", "value": "other"}, "not the earlier one"),
        ({"key": "same", "source": "last_applied"}, "already"),
        ({"source": "last_applied"}, "key"),
    ],
)
async def test_only_an_earlier_value_that_stands_somewhere_is_restored(
    simulated: Stage, params: dict[str, Any], words: str
) -> None:
    body = config("ConfigMap", {"k": "bad", "same": "1", "x": "2"}, {"k": "good", "same": "1"})
    await simulated.admin.create("ConfigMap", simulated.space, body)
    found = await simulated.dry_run(
        simulated.action("patch_config", simulated.ref("ConfigMap", "settings"), **params)
    )
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert words in found.detail


async def volume(stage: Stage, *, expandable: bool = True) -> Action:
    storage_class = f"fast-{stage.space}"
    await stage.admin.create(
        "StorageClass",
        "",
        {
            "metadata": {"name": storage_class},
            "provisioner": "r.local/none",
            "allowVolumeExpansion": expandable,
        },
    )
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "volumeName": f"volume-{stage.space}",
        "resources": {"requests": {"storage": "10Gi"}},
    }
    await stage.admin.create(
        "PersistentVolumeClaim", stage.space, {"metadata": {"name": "data"}, "spec": spec}
    )
    target = stage.ref("PersistentVolumeClaim", "data")
    if stage.admin.name == "real":  # its controller binds the two
        disk = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "capacity": {"storage": "10Gi"},
            "hostPath": {"path": "/nowhere"},
            "claimRef": {"namespace": stage.space, "name": "data"},
        }
        body = {"metadata": {"name": f"volume-{stage.space}"}, "spec": disk}
        await stage.admin.create("PersistentVolume", "", body)
        await eventually(lambda: bound(stage, target), 60)  # the binder looks every 15 s
    else:
        status = {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}}
        await stage.admin.patch(
            "PersistentVolumeClaim",
            stage.space,
            "data",
            {"status": status},
            patch_type=PatchType.MERGE,
            subresource="status",
        )
    return stage.action("expand_pvc", target, size="15Gi")


async def bound(stage: Stage, claim: ResourceRef) -> bool:
    return bool((await stage.live(claim)).get("status", {}).get("phase") == "Bound")


async def test_a_volume_is_expanded_once_and_never_shrunk(stage: Stage) -> None:
    action = await volume(stage)
    order = await stage.order(action)
    done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    assert await stage.apply(order) == done
    live = await stage.live(action.target)
    assert live["spec"]["resources"]["requests"]["storage"] == "15Gi"
    for _ in range(2):
        undone = await stage.compensate(done.operation_id)
        assert (undone.done, undone.reason, undone.commands) == (False, Reason.NOT_REVERSIBLE, ())
        assert "no volume can be made smaller" in undone.detail and "a person decides" in undone.detail
    assert (await stage.live(action.target))["metadata"]["resourceVersion"] == live["metadata"][
        "resourceVersion"
    ]
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.APPLIED, "what stays is not told as taken back, nor as unknown"
    told = [event for event in await stage.trail() if event.type is AuditType.COMPENSATION_REFUSED]
    assert [(event.reason, event.detail) for event in told] == [(Reason.NOT_REVERSIBLE, undone.detail)]
    assert not [line for line in commands_by_hand(row.change) if " patch " in line]
    swept = judge(row, live, quiet=True)
    assert (swept.outcome, swept.reversible, swept.commands) == (Outcome.IN_PLACE, False, ())
    await stage.admin.delete("StorageClass", "", f"fast-{stage.space}")


async def test_a_volume_whose_class_does_not_allow_it_is_not_expanded(simulated: Stage) -> None:
    found = await simulated.dry_run(await volume(simulated, expandable=False))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "does not allow" in found.detail


@asynccontextmanager
async def crashing_for_want_of_it(stage: Stage, node: str) -> AsyncIterator[tuple[str, ApplyInput]]:
    """The uid of a pod that crashes as long as this lasts, and the order that puts its value right."""
    await stage.admin.create("ConfigMap", stage.space, config("ConfigMap", {"k": "bad"}, {"k": "good"}))
    env = [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}}]
    (pod,) = await crew(stage, node, 1, env=env)
    name = pod["metadata"]["name"]
    ended = {"exitCode": 1, "finishedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "reason": "Error"}
    status = {
        "name": "main", "image": "r.local/api:1.0", "imageID": "", "ready": False, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended},
    }  # fmt: skip

    async def crash() -> None:
        await stage.admin.patch(
            "Pod", stage.space, name, {"status": {"phase": "Running", "containerStatuses": [status]}},
            patch_type=PatchType.MERGE, subresource="status",
        )  # fmt: skip

    async def keep_crashing() -> None:  # the simulation's kubelet calls it well again now and then
        with suppress(NotFound):
            while True:
                await crash()
                await asyncio.sleep(0.02)

    async def crashed() -> bool:
        await crash()
        found = await stage.dry_run(action)
        assert found.prepared is not None, found.detail
        return bool(found.prepared.change.pods)

    target = stage.ref("ConfigMap", "settings")
    action = stage.action("patch_config", target, key="k", source="last_applied")
    await eventually(crashed)
    crashing = asyncio.create_task(keep_crashing())
    try:
        order = await stage.order(action)
        assert [p.uid for p in order.prepared.change.pods] == [pod["metadata"]["uid"]]
        yield pod["metadata"]["uid"], order
    finally:
        crashing.cancel()
        await asyncio.gather(crashing, return_exceptions=True)


async def is_going(stage: Stage, uid: str) -> bool:
    left = {p["metadata"]["uid"]: p for p in (await stage.admin.list("Pod", stage.space)).items}
    return uid not in left or bool(left[uid]["metadata"].get("deletionTimestamp"))


async def test_pods_that_crash_for_want_of_the_value_start_anew_with_it(stage: Stage, node: str) -> None:
    target = stage.ref("ConfigMap", "settings")
    async with crashing_for_want_of_it(stage, node) as (pod, order):
        done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    assert "1 pod evicted" in done.detail
    assert (await stage.live(target))["data"]["k"] == "good"
    assert await is_going(stage, pod)
    assert (await stage.compensate(done.operation_id)).done
    assert (await stage.live(target))["data"]["k"] == "bad"


async def test_they_start_anew_though_the_first_eviction_found_the_server_busy(
    stage: Stage, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, failures = stage.writer.create, [TemporaryError("too many requests")]

    async def busy(kind: str, namespace: str, body: JSON, **how: Any) -> JSON:
        if failures and how.get("subresource") == "eviction" and not how.get("dry_run"):
            raise failures.pop()
        return await create(kind, namespace, body, **how)

    monkeypatch.setattr(stage.writer, "create", busy)
    async with crashing_for_want_of_it(stage, node) as (pod, order):
        with pytest.raises(ApplicationError, match="too many requests"):
            await stage.apply(order)
        assert not await is_going(stage, pod)
        done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    assert re.search(r"\b1 pod .*evicted", done.detail), done.detail
    assert await is_going(stage, pod)
    assert await stage.apply(order) == done
