"""Signal-with-start: the one way from signals to an incident workflow."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Protocol

from pydantic import TypeAdapter
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.taskqueue.v1 import TaskQueue as TaskQueueMessage
from temporalio.api.workflowservice.v1 import (
    GetSystemInfoRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from cortexops.adapters.temporal import connect
from cortexops.contracts.incident import (
    ABSORB,
    ADD_SIGNALS,
    INCIDENT_WORKFLOW,
    Absorption,
    IncidentInput,
    IncidentLimits,
    TaskQueue,
)
from cortexops.domain.correlation import MOST_DELIVERED
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.incident import MOST_LINKED
from cortexops.domain.reasoning import ModelLimits
from cortexops.domain.resource import ResourceRef
from cortexops.domain.verification import Limits
from cortexops.settings import IncidentSettings, Settings

LARGEST_BATCH = 512 * 1024
"""Bytes of JSON in one Temporal signal; the server takes 2 MiB for a payload."""
_LINKED = TypeAdapter(tuple[ResourceRef, ...])
_RPC_TIMEOUT = timedelta(seconds=10)
_LATELY = 60.0  # seconds
_BY_INPUT = {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.OUT_OF_RANGE}

EnvironmentOf = Callable[[ResourceRef], Awaitable[str]]


class Starter(Protocol):
    """Brings signals to workflows. Raises `TemporaryError` when Temporal is away, `PermanentError` when it
    refuses these very signals."""

    async def deliver(
        self,
        key: str,
        resource: ResourceRef,
        documents: Sequence[str],
        linked: Sequence[ResourceRef] = (),
    ) -> bool:
        """Start the workflow of the key with these signals, or add them to the running one; `documents` are
        checked `cortexops.signal/v1`, `linked` objects whose trouble is part of it. True when one was started."""
        ...

    async def add(self, key: str, documents: Sequence[str], linked: Sequence[ResourceRef] = ()) -> bool:
        """Add to a running workflow only; False when there is none."""
        ...

    async def absorb(self, key: str, absorption: Absorption) -> bool:
        """Tell a running workflow that its incident is part of another; False when there is none."""
        ...

    async def health(self) -> str | None: ...


def limits_of(settings: IncidentSettings, model: ModelLimits | None = None) -> IncidentLimits:
    """The limits that an incident carries from its start."""
    return IncidentLimits(
        max_attempts=settings.max_attempts,
        approval_seconds=settings.approval_seconds,
        investigation_seconds=settings.investigation_seconds,
        verification=Limits(
            window=settings.verification_window_seconds,
            stable_for=settings.verification_stable_seconds,
            interval=settings.verification_interval_seconds,
        ),
        model=model,
    )


def batches(documents: Sequence[str], linked: Sequence[ResourceRef] = ()) -> Iterator[str]:
    """`SignalBatch` documents: in order, at most `MOST_DELIVERED` signals and half a MiB each; the linked
    objects go with the first. The signals' text was checked when it was read and is put in as it stands.

    Raises `PermanentError` for one signal beyond.
    """
    rest = _LINKED.dump_json(tuple(linked[:MOST_LINKED])).decode()
    part: list[str] = []
    size = 0
    for document in documents:
        length = len(document)
        if length > LARGEST_BATCH:
            raise PermanentError(f"a signal is too large for a workflow ({length} characters)")
        if part and (len(part) == MOST_DELIVERED or size + length > LARGEST_BATCH):
            yield _batch(part, rest)
            part, size, rest = [], 0, "[]"
        part.append(document)
        size += length
    if part or rest != "[]":
        yield _batch(part, rest)


def _batch(documents: Sequence[str], linked: str) -> str:
    return f'{{"signals":[{",".join(documents)}],"linked":{linked}}}'


class TemporalStarter:
    """Implements `Starter`. Connects when first needed, so that a process can start while Temporal is away.

    The SDK's handle does not tell whether signal-with-start started a workflow; the service's answer does,
    and fates depend on it. Hence the plain request.
    """

    def __init__(
        self, settings: Settings, environment_of: EnvironmentOf, *, client: Client | None = None
    ) -> None:
        self._settings = settings
        self._environment_of = environment_of
        self._client = client
        self._connecting = asyncio.Lock()
        self._limits = limits_of(settings.incident, settings.model.limits())
        self._ran: OrderedDict[str, float] = OrderedDict()  # key → when we asked for it to be started

    async def _connected(self) -> Client:
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await connect(self._settings.temporal, identity="cortexops-correlator")
        return self._client

    async def deliver(
        self,
        key: str,
        resource: ResourceRef,
        documents: Sequence[str],
        linked: Sequence[ResourceRef] = (),
    ) -> bool:
        if self._ran_lately(key) and await self.add(key, documents, linked):
            return False
        client = await self._connected()
        argument = IncidentInput(
            resource=resource, environment=await self._environment_of(resource), limits=self._limits
        )
        payload = await self._encoded(client, argument)
        started = False
        for batch in batches(documents, linked):
            request = SignalWithStartWorkflowExecutionRequest(
                namespace=client.namespace,
                workflow_id=key,
                workflow_type=WorkflowType(name=INCIDENT_WORKFLOW),
                task_queue=TaskQueueMessage(name=TaskQueue.INCIDENTS),
                input=payload,
                identity=client.identity,
                request_id=str(uuid.uuid4()),
                workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
                workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
                signal_name=ADD_SIGNALS,
                signal_input=await self._encoded(client, _json(batch)),
            )
            try:
                answer = await client.workflow_service.signal_with_start_workflow_execution(
                    request, retry=False, timeout=_RPC_TIMEOUT
                )
            except RPCError as error:
                raise _failure(error) from None
            started = started or answer.started
        self._ran[key] = time.monotonic()
        self._ran.move_to_end(key)
        return started

    def _ran_lately(self, key: str) -> bool:
        """Whether we have delivered to it moments ago: then it nearly always runs, and adding to a workflow
        costs the server two thirds of what asking for it to be started as well does."""
        now = time.monotonic()
        while self._ran and now - next(iter(self._ran.values())) > _LATELY:
            self._ran.popitem(last=False)
        return key in self._ran

    async def add(self, key: str, documents: Sequence[str], linked: Sequence[ResourceRef] = ()) -> bool:
        for batch in batches(documents, linked):
            if not await self._signal(key, ADD_SIGNALS, _json(batch)):
                return False
        return True

    async def absorb(self, key: str, absorption: Absorption) -> bool:
        return await self._signal(key, ABSORB, absorption)

    async def _signal(self, key: str, name: str, argument: Any) -> bool:
        """False when no such workflow runs."""
        client = await self._connected()
        request = SignalWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=key),
            signal_name=name,
            input=await self._encoded(client, argument),
            identity=client.identity,
            request_id=str(uuid.uuid4()),
        )
        try:
            await client.workflow_service.signal_workflow_execution(
                request, retry=False, timeout=_RPC_TIMEOUT
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and "namespace" not in str(error).lower():
                return False
            raise _failure(error) from None
        return True

    @staticmethod
    async def _encoded(client: Client, value: Any) -> Payloads:
        return Payloads(payloads=await client.data_converter.encode([value]))

    async def health(self) -> str | None:
        try:
            client = await self._connected()
            await client.workflow_service.get_system_info(
                GetSystemInfoRequest(), timeout=timedelta(seconds=2)
            )
        except TemporaryError as error:
            return str(error)
        except RPCError as error:
            return f"Temporal does not answer: {error.status.name}"
        return None


def _json(document: str) -> RawValue:
    """Text that is JSON already, for the data converter."""
    return RawValue(Payload(metadata={"encoding": b"json/plain"}, data=document.encode()))


def _failure(error: RPCError) -> PermanentError | TemporaryError:
    """Only what is wrong with the very request is permanent; a missing namespace or permission is mended by
    people while the signals wait in the stream."""
    if error.status in _BY_INPUT:
        return PermanentError(f"Temporal refuses the signals: {error.message}")
    return TemporaryError(f"Temporal: {error.status.name}")
