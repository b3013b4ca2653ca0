"""What a control plane refuses, and how: each refusal's reason reaches people in plain words, and nothing changes."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from activities.means.draining import Draining
from cortexops.contracts.remediation import ApplyInput, ApplyOutcome, ApplyResult, DryRunResult
from cortexops.domain.change import Verb
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.resource import JSON
from cortexops.ports.cluster import PatchType
from sandbox.cluster.certificate import make_tls
from tests.remediation.support import Stage, eventually
from tests.remediation.test_actions_live import adjust, its_pod, owner_of_pods, scale
from tests.remediation.test_catalogue_live import crew, ready, the_job


async def untouched(stage: Stage, before: JSON) -> None:
    live = await stage.live()
    assert live["spec"] == before["spec"]
    assert await stage.store.rows_of(stage.incident) == []


async def quota(stage: Stage, **hard: str) -> None:
    """A quota whose use its controller has counted."""
    body = {
        "metadata": {"name": "small"},
        "spec": {"hard": {k.replace("_", "."): v for k, v in hard.items()}},
    }
    await stage.admin.create("ResourceQuota", stage.space, body)

    async def counted() -> bool:
        found = await stage.admin.get("ResourceQuota", stage.space, "small")
        return bool((found.get("status") or {}).get("used"))

    await eventually(counted)


async def test_a_quota_that_its_pods_would_exceed_is_named_before_anything_is_tried(stage: Stage) -> None:
    action = await adjust(stage)
    await quota(stage, limits_memory="200Mi")
    before = await stage.live()
    found = await stage.dry_run(action)
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "ResourceQuota small" in found.detail
    await untouched(stage, before)


async def test_a_quota_on_objects_refuses_a_new_job_in_the_servers_words(stage: Stage) -> None:
    action = await the_job(stage)
    body = {"metadata": {"name": "few"}, "spec": {"hard": {"count/jobs.batch": "1"}}}
    await stage.admin.create("ResourceQuota", stage.space, body)

    async def counted() -> bool:
        used = ((await stage.admin.get("ResourceQuota", stage.space, "few")).get("status") or {}).get(
            "used"
        ) or {}
        return bool(used.get("count/jobs.batch") == "1")

    await eventually(counted)
    found = await stage.dry_run(action)
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "exceeded quota" in found.detail and "few" in found.detail


async def test_a_limit_range_is_named_before_anything_is_tried(stage: Stage) -> None:
    action = await adjust(stage)
    limits = [{"type": "Container", "max": {"memory": "200Mi"}}]
    body = {"metadata": {"name": "bounds"}, "spec": {"limits": limits}}
    await stage.admin.create("LimitRange", stage.space, body)
    before = await stage.live()
    found = await stage.dry_run(action)
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "LimitRange bounds allows 200Mi" in found.detail
    await untouched(stage, before)


async def test_validation_by_the_server_is_quoted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What code would never send: a request above the limit, past our own bounds."""
    action = await adjust(stage)
    before = await stage.live()
    patch = stage.writer.patch

    async def worse(kind: str, namespace: str, name: str, body: Any, **options: Any) -> JSON:
        for step in body:
            if step["op"] != "test" and step["path"].endswith("/limits/memory"):
                step["value"] = "1Mi"
        return await patch(kind, namespace, name, body, **options)

    monkeypatch.setattr(stage.writer, "patch", worse)
    found = await stage.dry_run(action)
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "must be less than or equal to memory limit" in found.detail and "(422)" in found.detail
    await untouched(stage, before)


async def test_an_object_that_changed_at_the_last_moment_is_a_conflict_and_is_looked_at_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = await scale(stage)
    order = await stage.order(action)
    patch = stage.writer.patch

    async def overtaken(*args: Any, dry_run: bool = False, **options: Any) -> JSON:
        if not dry_run:
            await stage.edit({"spec": {"minReadySeconds": 7}})
        return await patch(*args, dry_run=dry_run, **options)

    monkeypatch.setattr(stage.writer, "patch", overtaken)
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED)
    assert "not as the patch expects" in result.detail
    live = await stage.live()
    assert (live["spec"]["replicas"], live["spec"]["minReadySeconds"]) == (0, 7)


@pytest.mark.parametrize(
    ("type_", "permission"),
    [
        ("drain_node", "create pods/eviction"),
        ("rerun_job", "create jobs"),
        ("evict_pod", "create pods/eviction"),
    ],
)
async def test_a_permission_that_is_missing_is_named_by_verb_and_resource(
    stage: Stage, type_: str, permission: str, node: str
) -> None:
    if type_ == "rerun_job":
        action = await the_job(stage)
    elif type_ == "evict_pod":
        await owner_of_pods(stage)
        action = stage.action(type_, stage.ref("Pod", (await its_pod(stage))["metadata"]["name"]))
    else:
        await crew(stage, node)
        spare = await ready(stage, f"spare-{stage.space}")
        action = stage.action(type_, stage.ref("Node", node))
    found = await stage.readers().dry_run(action)
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_FORBIDDEN)
    if type_ == "drain_node":
        assert "patch nodes" in found.detail
        await stage.admin.delete("Node", "", spare.name)
    else:
        assert permission in found.detail


async def guarded_pod(stage: Stage, node: str) -> JSON:
    """A healthy pod that its budget does not let go, on that node."""
    (pod,) = await crew(stage, node, 1, "guarded")
    name = pod["metadata"]["name"]

    async def healthy() -> bool:
        if stage.admin.name == "real":  # without a kubelet; the simulated one would write over it
            conditions = [{"type": "Ready", "status": "True"}]
            await stage.admin.patch(
                "Pod",
                stage.space,
                name,
                {"status": {"phase": "Running", "conditions": conditions}},
                patch_type=PatchType.STRATEGIC,
                subresource="status",
            )
        found = await stage.admin.get("PodDisruptionBudget", stage.space, "guard")
        return bool((found.get("status") or {}).get("currentHealthy") == 1)

    body = {
        "metadata": {"name": "guard"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}},
    }
    await stage.admin.create("PodDisruptionBudget", stage.space, body)
    await eventually(healthy)
    return pod


async def test_a_disruption_budget_refuses_an_eviction_in_words(stage: Stage, node: str) -> None:
    pod = await guarded_pod(stage, node)
    found = await stage.dry_run(stage.action("evict_pod", stage.ref("Pod", pod["metadata"]["name"])))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "disruption budget" in found.detail and "(429)" in found.detail
    live = await stage.live(stage.ref("Pod", pod["metadata"]["name"]))
    assert "deletionTimestamp" not in live["metadata"]


async def test_a_drain_respects_a_budget_goes_on_when_it_gives_way_and_never_evicts_twice(
    stage: Stage, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = await ready(stage, f"spare-{stage.space}")
    pod = await guarded_pod(stage, node)
    others = {one["metadata"]["uid"] for one in await crew(stage, node, 2)}
    order = await stage.order(stage.action("drain_node", stage.ref("Node", node)))
    stage.activities._means[Verb.DRAIN] = Draining(pause=0.05)
    task = asyncio.create_task(stage.apply(order))

    async def all_but_one() -> bool:
        found = (await stage.admin.list("Pod", stage.space)).items
        here = {p["metadata"]["uid"] for p in found if not p["metadata"].get("deletionTimestamp")}
        return pod["metadata"]["uid"] in here and not others & here

    await eventually(all_but_one)
    await asyncio.sleep(0.3)
    assert not task.done()
    task.cancel()  # the worker dies
    with pytest.raises(asyncio.CancelledError):
        await task
    before = {
        p["metadata"]["uid"] for p in (await stage.admin.list("Pod", stage.space, labels="app=crew")).items
    }
    await stage.admin.delete("PodDisruptionBudget", stage.space, "guard")
    result = await stage.apply(order)
    assert result.outcome is ApplyOutcome.APPLIED, result.detail
    after = {
        p["metadata"]["uid"] for p in (await stage.admin.list("Pod", stage.space, labels="app=crew")).items
    }
    assert before - others <= after  # the successors stand
    evicted = [event.detail for event in await stage.trail() if event.type == "part_executed"]
    assert len(evicted) == len(set(evicted)) == len(order.prepared.change.pods)
    assert (await stage.compensate(result.operation_id)).done
    await stage.admin.delete("Node", "", spare.name)


async def drain_that_waits(stage: Stage, node: str) -> tuple[ApplyInput, asyncio.Task[ApplyResult], set[str]]:
    """A drain that has evicted one of two pods and waits for the other's budget; who is there then."""
    await guarded_pod(stage, node)
    (other,) = await crew(stage, node, 1)
    order = await stage.order(stage.action("drain_node", stage.ref("Node", node)))
    stage.activities._means[Verb.DRAIN] = Draining(pause=0.05)
    task = asyncio.create_task(stage.apply(order))

    async def evicted() -> bool:
        return other["metadata"]["uid"] not in await present(stage)

    await eventually(evicted)
    return order, task, await present(stage)


async def present(stage: Stage) -> set[str]:
    found = (await stage.admin.list("Pod", stage.space)).items
    return {p["metadata"]["uid"] for p in found if not p["metadata"].get("deletionTimestamp")}


@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
async def test_a_drain_stops_once_somebody_uncordons_the_node_and_never_cordons_it_again(
    stage: Stage, node: str, dies: bool
) -> None:
    spare = await ready(stage, f"spare-{stage.space}")
    order, task, before = await drain_that_waits(stage, node)
    target = stage.ref("Node", node)
    if dies:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await stage.edit({"spec": {"unschedulable": None}}, target)
    if not dies:
        result = await task
    await stage.admin.delete("PodDisruptionBudget", stage.space, "guard")  # nothing else holds it back now
    if dies:
        result = await stage.apply(order)
    assert result.outcome is ApplyOutcome.APPLIED, result.detail
    planned = len(order.prepared.change.pods)
    assert f"{planned - 1} of {planned} pods evicted, 1 stayed (somebody uncordoned {target}" in result.detail
    assert await stage.apply(order) == result
    assert before <= await present(stage)
    assert not (await stage.live(target))["spec"].get("unschedulable")
    undone = await stage.compensate(result.operation_id)
    assert undone.done and "were back already" in undone.detail
    await stage.admin.delete("Node", "", spare.name)


async def test_a_drain_that_was_begun_and_never_settled_is_taken_back(stage: Stage, node: str) -> None:
    spare = await ready(stage, f"spare-{stage.space}")
    order, task, _ = await drain_that_waits(stage, node)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    target, change = stage.ref("Node", node), order.prepared.change
    assert (await stage.live(target))["spec"]["unschedulable"]
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.INTENT and row.change.target == change.target
    undone = await stage.compensate(row.operation_id)
    assert undone.done and "nothing was changed" not in undone.detail
    assert not (await stage.live(target))["spec"].get("unschedulable")
    await stage.admin.delete("Node", "", spare.name)


async def test_a_drain_stops_when_another_node_has_the_name(stage: Stage, node: str) -> None:
    spare = await ready(stage, f"spare-{stage.space}")
    _, task, _ = await drain_that_waits(stage, node)
    find = stage.writer.get

    async def another(kind: str, namespace: str, name: str) -> JSON:
        found = await find(kind, namespace, name)
        return found | {"metadata": found["metadata"] | {"uid": "new"}} if kind == "Node" else found

    stage.writer.get = another  # type: ignore[method-assign]
    result = await task
    assert "1 stayed" in result.detail and "is gone or was replaced" in result.detail
    await stage.admin.delete("Node", "", spare.name)


@contextmanager
def webhook(says: str) -> Iterator[tuple[str, str]]:
    """An admission webhook that denies everything in these words: its address and its authority (PEM)."""
    tls = make_tls("127.0.0.1")

    class Denies(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = {
                "uid": review["request"]["uid"],
                "allowed": False,
                "status": {"message": says, "code": 403},
            }
            review = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer}
            text = json.dumps(review).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Denies)
    server.socket = tls.context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/deny", tls.authority
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.realcluster
async def test_what_a_webhook_denies_is_quoted(stage: Stage) -> None:
    if stage.admin.name != "real":
        pytest.skip("the simulation calls no webhooks")
    await stage.deployment()
    order = await stage.order(stage.action("restart_workload"))
    before = await stage.live()
    labels = {"metadata": {"labels": {"guarded": stage.space}}}
    await stage.admin.patch("Namespace", "", stage.space, labels, patch_type=PatchType.MERGE)
    name = f"deny-{stage.space}.example.com"
    with webhook("deployments are frozen: ask team-shop") as (url, authority):
        hook = {
            "name": name,
            "clientConfig": {"url": url, "caBundle": base64.b64encode(authority.encode()).decode()},
            "rules": [
                {
                    "apiGroups": ["apps"],
                    "apiVersions": ["v1"],
                    "operations": ["UPDATE"],
                    "resources": ["deployments"],
                }
            ],
            "namespaceSelector": {"matchLabels": {"guarded": stage.space}},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "timeoutSeconds": 5,
            "admissionReviewVersions": ["v1"],
        }
        body = {"metadata": {"name": name}, "webhooks": [hook]}
        await stage.admin.create("ValidatingWebhookConfiguration", "", body)

        async def denied() -> DryRunResult | None:
            found = await stage.dry_run(stage.action("restart_workload"))
            return None if found.ok else found

        try:
            found: DryRunResult = await eventually(denied)
            result = await stage.apply(order)
        finally:
            await stage.admin.delete("ValidatingWebhookConfiguration", "", name)
    assert found.reason is Reason.DRY_RUN_REJECTED
    assert (result.outcome, result.reason) == (ApplyOutcome.REFUSED, Reason.APPLY_REFUSED)
    for detail in (found.detail, result.detail):
        assert f'admission webhook "{name}" denied the request' in detail
        assert "deployments are frozen: ask team-shop" in detail
    await untouched(stage, before)
