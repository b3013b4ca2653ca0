"""A vote's whole way: HTTP, console, Temporal Update, the real workflow, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from temporalio.client import Client, WorkflowHandle

from console.app import create_console
from cortexops.adapters.held import Silencing
from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.votes import VoteBox
from cortexops.contracts.incident import (
    INCIDENT_WORKFLOW,
    IncidentInput,
)
from cortexops.domain.approval import Decision, Person, VoteRefusal
from cortexops.domain.errors import TemporaryError
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.people import VoteNotCounted
from cortexops.domain.policy import Effect
from cortexops.settings import Settings
from tests.console.real_workflow import begun, connected, real_workers
from tests.console.support import ANA, BASE, BO, PEOPLE, VIEWER
from tests.support.case import DIGEST, open_case
from tests.support.engines import RunningEngines
from tests.support.story import a_decision


@pytest.fixture
async def temporal(engines: RunningEngines) -> Client:
    return await connected(engines.temporal_address)


@pytest.fixture
async def running(
    temporal: Client, store: PostgresStore, task_queue_prefix: str
) -> AsyncIterator[WorkflowHandle[Any, Incident]]:
    """A real incident that waits for two approvals."""
    decision = a_decision(Effect.REQUIRE_APPROVAL, quorum=2, roles=("oncall", "sre-lead"))
    async with real_workers(temporal, store, task_queue_prefix, decision) as queue:
        yield await begun(temporal, queue, namespace=task_queue_prefix.strip("-"))


async def test_two_people_approve_over_http_and_the_workflow_goes_on(
    running: WorkflowHandle[Any, Incident], temporal: Client, store: PostgresStore
) -> None:
    async def healthy() -> dict[str, str | None]:
        return {}

    async def connected() -> Client:
        return temporal

    app = create_console(
        Settings(people=PEOPLE), store, VoteBox(temporal, store), healthy, Silencing(store, connected)
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as client:
        asked: list[dict[str, Any]] = []
        for _ in range(300):
            asked = (await client.get("/api/v1/approvals?state=pending", headers=ANA)).json()["approvals"]
            if asked:
                break
            await asyncio.sleep(0.05)
        url = f"/api/v1/approvals/{asked[0]['id']}/approve"
        body = {"reason": "seen", "digest": asked[0]["digest"]}
        wrong = await client.post(url, json={**body, "digest": "0" * 64}, headers=ANA)
        assert (wrong.status_code, wrong.json()["refusal"]) == (409, "changed_diff")
        viewer = await client.post(url, json=body, headers=VIEWER)
        assert (viewer.status_code, viewer.json()["refusal"]) == (403, "wrong_role")
        first = await client.post(url, json=body, headers=ANA)
        again = await client.post(url, json=body, headers=ANA)
        assert again.json() == {**first.json(), "outcome": "already_voted"}
        assert (first.json()["state"], first.json()["approvals"]) == ("pending", 1)
        assert (await client.post(url, json=body, headers=BO)).json()["state"] == "approved"
        ended = await running.result()
        assert ended.state is IncidentState.RESOLVED
        late = await client.post(f"/api/v1/approvals/{asked[0]['id']}/deny", json=body, headers=BO)
        assert (late.status_code, late.json()["refusal"]) == (409, "not_pending")
        page = (await client.get(f"/incidents/{ended.id}", headers=ANA)).text
    assert "Bo" in page
    record = await store.approval(asked[0]["id"])
    assert record is not None
    assert [(v.person.id, v.person.via) for v in record.votes] == [("ana", "token"), ("bo", "token")]


async def test_no_answer_from_the_workflow_is_no_vote(
    temporal: Client, store: PostgresStore, task_queue_prefix: str
) -> None:

    ana = Person(id="ana", roles=("oncall",), via="token")
    box = VoteBox(temporal, store, timeout_seconds=0.5)
    key = f"{task_queue_prefix}nobody-works-here"
    gone = await open_case(store, key=key, run_id="")
    with pytest.raises(VoteNotCounted) as refused:
        await box.cast(f"{gone.id}-approval-1", ana, Decision.APPROVE, "", DIGEST)
    assert refused.value.refusal is VoteRefusal.NOT_PENDING
    handle = await temporal.start_workflow(
        INCIDENT_WORKFLOW,
        IncidentInput(resource=gone.resource),
        id=key,
        task_queue=f"{task_queue_prefix}none",
    )
    with pytest.raises(TemporaryError, match="not confirmed"):
        await box.cast(f"{gone.id}-approval-1", ana, Decision.APPROVE, "", DIGEST)
    await handle.terminate()
    nobody = ana.model_copy(update={"via": ""})
    with pytest.raises(VoteNotCounted):
        await box.cast(f"{gone.id}-approval-1", nobody, Decision.APPROVE, "", DIGEST)
