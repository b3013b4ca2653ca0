"""Gauges that are computed from the database: open incidents and the service level."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from cortexops.domain.errors import TemporaryError
from cortexops.domain.signal import Severity
from cortexops.domain.slo import service_level
from cortexops.metrics import ACTIVE_INCIDENTS, BURN_RATE, ERROR_BUDGET, SLA_COMPLIANCE
from cortexops.ports.store import IncidentStore
from cortexops.settings import SloSettings
from cortexops.telemetry import get_logger

_PAUSE = 10.0  # seconds between looks
_MOST = 5000  # incidents of thirty days that are looked at

_log = get_logger(__name__)


class Figures:
    """Refreshes the gauges until it is stopped."""

    def __init__(self, store: IncidentStore, settings: SloSettings) -> None:
        self._store = store
        self._settings = settings
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        while True:
            try:
                await self.refresh(datetime.now(UTC))
            except TemporaryError as error:
                _log.warning("figures are not refreshed", problem=str(error))
            await asyncio.sleep(_PAUSE)

    async def refresh(self, now: datetime) -> None:
        """Compute all gauges once."""
        running = await self._store.incidents(open_only=True, most=_MOST)
        open_now = Counter(incident.severity for incident in running if not incident.drill)
        for severity in Severity:
            ACTIVE_INCIDENTS.labels(severity=severity).set(open_now[severity])
        level = service_level(
            await self._store.incidents(most=_MOST),
            now=now,
            target=self._settings.target,
            limit=timedelta(minutes=self._settings.resolve_minutes),
        )
        SLA_COMPLIANCE.set(level.compliance)
        ERROR_BUDGET.set(level.budget_remaining)
        for window, rate in level.burn_rate.items():
            BURN_RATE.labels(window=window).set(rate)
