"""The end of an approval is counted when it is stored with what follows, however often that is tried."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.records import RecordActivities
from cortexops.contracts.records import RecordInput, SettleInput
from cortexops.domain.approval import ApprovalState
from cortexops.domain.errors import TemporaryError


class Store:
    """Stores how the approval ended; the incident only at the second try."""

    def __init__(self) -> None:
        self.settled: list[str] = []
        self.failures = [TemporaryError("the database is away")]

    async def settle_approval(self, approval_id: str, *_: Any) -> None:
        self.settled.append(approval_id)

    async def update_incident(self, *_: Any) -> None:
        if self.failures:
            raise self.failures.pop()


def counted() -> float:
    return (
        REGISTRY.get_sample_value("cortexops_approvals_total", {"result": ApprovalState.APPROVED.value})
        or 0.0
    )


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
