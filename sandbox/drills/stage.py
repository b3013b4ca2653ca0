"""What a drill works with: a platform of its own, a broken workload, and the questions it may ask."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
from temporalio.client import Client

from cortexops.adapters import temporal
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import ApprovalState
from cortexops.domain.errors import TemporaryError
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.ledger import LedgerState
from cortexops.domain.resource import JSON, Frozen
from cortexops.ports.store import ApprovalRecord
from ingest.decode import decode_file
from sandbox import scenarios
from sandbox.cluster.simulation import SimulatedCluster
from sandbox.demo.follow import approve
from sandbox.platform.platform import Platform
from sandbox.scenarios.schema import Scenario

T = TypeVar("T")


class Check(Frozen):
    """One invariant, and whether it held."""

    invariant: str
    held: bool
    detail: str = ""


class Stage:
    """One drill's world. Waiting methods raise `TemporaryError` when what they wait for does not come."""

    def __init__(
        self, platform: Platform, store: PostgresStore, client: Client, admin: KubernetesCluster
    ) -> None:
        assert platform.cluster is not None
        self.platform = platform
        self.simulation: SimulatedCluster = platform.cluster
        self.store = store
        self.temporal = client
        self.admin = admin
        self.checks: list[Check] = []
        self.answers: list[int] = []
        """HTTP statuses that the gateway gave to the drill's alerts."""
        self.posted: set[str] = set()
        """Ids of the signals in those alerts."""

    def check(self, invariant: str, held: bool, detail: str = "") -> None:
        """Note whether the invariant held."""
        self.checks.append(Check(invariant=invariant, held=held, detail=detail))

    async def break_workload(self, name: str) -> Scenario:
        """Play a scenario until its symptoms show."""
        return await self.simulation.play(scenarios.load(name))

    async def post(self, plan: Scenario, *, within: float = 30.0) -> None:
        """Send the scenario's alert as Alertmanager does: again and again until it is taken."""
        payload = self.simulation.alert(plan)
        parsed = decode_file(json.dumps(payload), "alertmanager", self.simulation.name, datetime.now(UTC))
        self.posted |= {signal.id for signal in parsed.signals}
        async with httpx.AsyncClient(timeout=20) as client, asyncio.timeout(within):
            while True:
                answer = await client.post(f"{self.platform.gateway_url}/webhooks/alertmanager", json=payload)
                self.answers.append(answer.status_code)
                if answer.is_success:
                    return
                await asyncio.sleep(min(1.0, float(answer.headers.get("Retry-After", "1"))))

    async def live(self, plan: Scenario) -> JSON:
        """The workload that the scenario breaks."""
        assert plan.truth.action is not None
        target = plan.truth.action.target
        return await self.admin.get(target.kind, target.namespace, target.name)

    async def incident(self, plan: Scenario, *, within: float = 30.0) -> Incident:
        assert plan.truth.action is not None
        target = plan.truth.action.target

        async def look() -> Incident | None:
            for incident in await self.store.incidents(most=20):
                if (incident.resource.namespace, incident.resource.name) == (target.namespace, target.name):
                    return incident
            return None

        return await self.until(look, "an incident", within)

    async def ended(self, incident: Incident, *, within: float = 90.0) -> Incident:
        async def look() -> Incident | None:
            present = await self.store.incident(incident.id)
            return present if present is not None and present.state.final else None

        return await self.until(look, f"the end of {incident.id}", within)

    async def reached(self, incident: Incident, state: IncidentState, *, within: float = 60.0) -> Incident:
        async def look() -> Incident | None:
            present = await self.store.incident(incident.id)
            return present if present is not None and present.state is state else None

        return await self.until(look, f"{incident.id} to be {state}", within)

    async def asked(self, incident: Incident, *, within: float = 60.0) -> ApprovalRecord:
        async def look() -> ApprovalRecord | None:
            pending = await self.store.approvals(state=ApprovalState.PENDING)
            return next((r for r in pending if r.request.incident_id == incident.id), None)

        return await self.until(look, f"an approval of {incident.id}", within)

    async def approve(self, incident: Incident) -> None:
        """Say yes as the person at this machine."""
        record = await self.asked(incident)
        await approve(self.platform.console_url, self.platform.token, record, "drill")

    @staticmethod
    async def until(look: Callable[[], Awaitable[T | None]], what: str, within: float) -> T:
        end = time.monotonic() + within
        while time.monotonic() < end:
            try:
                found = await look()
            except TemporaryError:
                found = None  # the part that the drill has just killed
            if found is not None:
                return found
            await asyncio.sleep(0.1)
        raise TemporaryError(f"waited {within:g} s for {what}")

    async def common_checks(self, plan: Scenario) -> None:
        """What must hold after every drill."""
        checked, faults = await self.store.verify()
        self.check(
            "the audit chain is intact", not faults and checked > 0, f"{checked} events, {len(faults)} faults"
        )
        lost = [id_ for id_ in sorted(self.posted) if await self.store.signal(id_) is None]
        self.check(
            "every alert that was sent has a fate", not lost, f"{len(self.posted)} sent, {len(lost)} lost"
        )
        left = [row for row in await self.store.unfinished() if row.state is not LedgerState.UNKNOWN]
        self.check("no change is left half done", not left, ", ".join(row.operation_id for row in left))
        assert plan.truth.action is not None
        key = f"incident:{self.simulation.name}:{plan.truth.action.target.namespace}:"
        opened = [
            i for i in await self.store.incidents(most=100) if i.key.startswith(key) and not i.state.final
        ]
        self.check("no incident is left open", not opened, ", ".join(i.id for i in opened))


@asynccontextmanager
async def staged(overrides: dict[str, Any]) -> AsyncIterator[Stage]:
    """A platform in a temporary folder, gone afterwards."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cortexops-drill-"))
        Path(folder).chmod(0o755)  # Postgres runs under an account of its own where we are root
        platform = await stack.enter_async_context(Platform(Path(folder) / "data", overrides=overrides))
        assert platform.cluster is not None
        store = await PostgresStore.connect(platform.engines.postgres_dsn)
        stack.push_async_callback(store.close)
        client = await temporal.connect(platform.settings.temporal)
        yield Stage(platform, store, client, await platform.cluster.cluster("admin"))
