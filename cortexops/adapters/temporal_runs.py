"""Whether an incident's workflow runs: asked of the run itself, never of the index, which lags behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from cortexops.domain.errors import TemporaryError
from cortexops.domain.incident import Incident
from cortexops.domain.sweep import RunState

_TIMEOUT = timedelta(seconds=10)
_STATES = {
    WorkflowExecutionStatus.TERMINATED: RunState.TERMINATED,
    WorkflowExecutionStatus.FAILED: RunState.FAILED,
    WorkflowExecutionStatus.TIMED_OUT: RunState.TIMED_OUT,
    WorkflowExecutionStatus.CANCELED: RunState.CANCELED,
    WorkflowExecutionStatus.COMPLETED: RunState.COMPLETED,
}
Known = Callable[[str, str], Awaitable[bool]]
"""Whether some incident was opened by this run of this key."""


class Run(NamedTuple):
    """`closed_at`: when it ended; None while it runs, and when nobody knows."""

    state: RunState
    closed_at: datetime | None = None


class Runs:
    """Asks Temporal. Every method raises `TemporaryError` when it does not answer."""

    def __init__(self, client: Client, known: Known) -> None:
        self._client = client
        self._known = known

    async def check(self) -> None:
        """That the namespace is there: in a wrong one every workflow would look gone."""
        try:
            await self._client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=self._client.namespace), timeout=_TIMEOUT
            )
        except RPCError as error:
            raise TemporaryError(f"Temporal: namespace {self._client.namespace}: {error.message}") from None

    async def of(self, incident: Incident) -> Run:
        """The state of the incident's run. Where another run of the same workflow may have taken it over (a
        reset makes a new one), it counts as running."""
        own = await self._describe(incident.key, incident.run_id)
        if own is not None and _runs(own) and own.status is not WorkflowExecutionStatus.CONTINUED_AS_NEW:
            return Run(RunState.RUNNING)
        newest = await self._describe(incident.key, None)
        if newest is not None and _runs(newest) and not await self._known(incident.key, newest.run_id):
            return Run(RunState.RUNNING)
        for found in (own, newest):
            if found is not None and found.status in _STATES:
                return Run(_STATES[found.status], found.close_time)
        return Run(RunState.GONE)

    async def _describe(self, key: str, run_id: str | None) -> WorkflowExecutionDescription | None:
        try:
            return await self._client.get_workflow_handle(key, run_id=run_id).describe(rpc_timeout=_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            if error.status is RPCStatusCode.INVALID_ARGUMENT:  # a run id that Temporal never gave out
                return None
            raise TemporaryError(f"Temporal does not say whether {key} runs: {error.message}") from None


def _runs(found: WorkflowExecutionDescription) -> bool:
    """Also when it says something that this version does not know: then nothing is touched."""
    return found.status not in _STATES
