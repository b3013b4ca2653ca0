"""How an approval and an incident end is counted when it is stored with what follows, however often that is tried."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.records import RecordActivities
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.records import CloseInput, DecideInput, RecordInput, SettleInput
from cortexops.domain.approval import ApprovalState
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import TemporaryError
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.message import MessageKind
from tests.support.case import entry, open_case, tell
from tests.support.postgres import moved

_RESOLVED = ("cortexops_workflow_outcomes_total", {"state": IncidentState.RESOLVED.value})
_APPROVED = ("cortexops_approvals_total", {"result": ApprovalState.APPROVED.value})


class Store:
    """Stores how the approval ended; the incident only at the second try."""

    def __init__(self) -> None:
        self.settled: list[str] = []
        self.failures = [TemporaryError("the database is away")]

    async def settle_approval(self, approval_id: str, *_: Any) -> None:
        self.settled.append(approval_id)

    async def update_incident(self, *_: Any) -> bool:
        if self.failures:
            raise self.failures.pop()
        return True


def counted(metric: tuple[str, dict[str, str]] = _APPROVED) -> float:
    return REGISTRY.get_sample_value(*metric) or 0.0


async def test_an_approval_is_counted_once_though_the_record_is_tried_again() -> None:
    store: Any = Store()
    policy: Any = None
    activities = RecordActivities(store, policy)
    nothing: Any = None
    settled = SettleInput.model_construct(
        approval_id="a-1", state=ApprovalState.APPROVED, entry=nothing, message=nothing
    )
    order = RecordInput.model_construct(incident=nothing, entries=(), messages=(), settled=settled)
    before = counted()
    with pytest.raises(ApplicationError):
        await ActivityEnvironment().run(activities.record, order)
    assert counted() == before
    await ActivityEnvironment().run(activities.record, order)
    assert counted() == before + 1
    assert store.settled == ["a-1", "a-1"]  # stored again, which changes nothing


async def test_an_approval_is_counted_once_though_policy_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store: Any = Store()
    store.failures.clear()
    nothing: Any = None
    activities = RecordActivities(store, nothing)
    failures = [TemporaryError("the database is away")]

    async def decide(_: DecideInput) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(activities._decider, "decide", decide)
    settled = SettleInput.model_construct(
        approval_id="a-1", state=ApprovalState.APPROVED, entry=nothing, message=nothing
    )
    record = RecordInput.model_construct(incident=nothing, entries=(), messages=(), settled=settled)
    order = DecideInput.model_construct(record=record, question=nothing, idempotency_key="k")
    before = counted()
    with pytest.raises(TemporaryError):
        await ActivityEnvironment().run(activities.decide, order)
    assert counted() == before
    await ActivityEnvironment().run(activities.decide, order)
    assert counted() == before + 1


def closing(incident: Incident) -> CloseInput:
    """People agreed, and it is over."""
    approval = f"{incident.id}-approval-1"
    ended = moved(incident, IncidentState.RESOLVED, seconds=60)
    return CloseInput(
        incident=ended,
        entries=(entry(incident.id, AuditType.RESOLVED, 60, "verified", data={"after": "RESOLVED"}),),
        messages=(tell(ended, MessageKind.ENDED, "verified", 60),),
        settled=SettleInput(
            approval_id=approval,
            state=ApprovalState.APPROVED,
            entry=entry(incident.id, AuditType.APPROVAL_DECIDED, 59, "approved"),
            message=tell(incident, MessageKind.APPROVAL_DECIDED, "approved", 59),
        ),
    )


async def test_an_end_is_counted_once_though_its_postmortem_is_tried_again(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = closing(await open_case(store))
    nothing: Any = None
    activities = RecordActivities(store, nothing)
    save, failures = store.save_postmortem, [TemporaryError("the database is away")]

    async def save_postmortem(*given: Any) -> None:
        if failures:
            raise failures.pop()
        await save(*given)

    monkeypatch.setattr(store, "save_postmortem", save_postmortem)
    before = [counted(_APPROVED), counted(_RESOLVED)]
    with pytest.raises(ApplicationError):
        await ActivityEnvironment().run(activities.close_incident, order)
    assert [counted(_APPROVED), counted(_RESOLVED)] == before
    await ActivityEnvironment().run(activities.close_incident, order)
    assert [counted(_APPROVED), counted(_RESOLVED)] == [one + 1 for one in before]
    types = [event.type for event in await store.events(order.incident.id)]
    assert types.count(AuditType.RESOLVED) == types.count(AuditType.POSTMORTEM) == 1


async def test_an_end_that_comes_after_another_end_leaves_nothing_behind(store: PostgresStore) -> None:
    incident = await open_case(store)
    order = closing(incident).model_copy(update={"settled": None})
    terminated = moved(incident, IncidentState.ESCALATED, seconds=30, reason=Reason.TERMINATED)
    await store.end_orphan(terminated, [], [], [])
    trail, waiting, before = await store.events(incident.id), await store.waiting(), counted(_RESOLVED)
    nothing: Any = None
    await ActivityEnvironment().run(RecordActivities(store, nothing).close_incident, order)
    assert (await store.events(incident.id), await store.waiting()) == (trail, waiting)
    assert counted(_RESOLVED) == before
