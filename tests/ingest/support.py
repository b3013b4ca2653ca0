"""Signals, payloads, settings and stand-ins that the ingest tests share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import REGISTRY

from cortexops.contracts.incident import Absorption
from cortexops.domain.errors import CortexError
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity, Signal, SignalStatus, parse_signal, signal_type
from cortexops.settings import Settings

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def signal(
    name: str = "PodCrashLooping",
    *,
    kind: str = "Deployment",
    object_name: str = "api",
    namespace: str = "shop",
    cluster: str = "test",
    severity: Severity = Severity.MEDIUM,
    status: SignalStatus = SignalStatus.FIRING,
    started_at: datetime = START,
    **more: Any,
) -> Signal:
    return Signal(
        source="signals",
        cluster=cluster,
        name=name,
        type=signal_type(name),
        severity=severity,
        status=status,
        resource=ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=object_name),
        started_at=started_at,
        **more,
    ).sealed()


def alert(name: str = "KubePodCrashLooping", *, status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "warning", **labels},
        "annotations": {"summary": f"{name} is firing"},
        "startsAt": "2026-03-01T12:00:00.123456789Z",
        "endsAt": "2026-03-01T12:30:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
    }


def webhook(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {"version": "4", "status": "firing", "receiver": "cortexops", "alerts": list(alerts)}


def settings(nats_url: str = "nats://127.0.0.1:4222", **sections: Any) -> Settings:
    correlator = {"window_seconds": 0.05, "lease_seconds": 2, **sections.pop("correlator", {})}
    nats = {"url": nats_url, "max_bytes": 64 * 1024**2, **sections.pop("nats", {})}
    return Settings(nats=nats, correlator=correlator, **sections)


class RecordingStarter:
    """What Temporal would be told. `running` are the open workflows."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.started: list[str] = []
        self.told: list[tuple[str, list[Signal]]] = []
        self.linked: dict[str, set[str]] = {}
        self.absorbed: dict[str, Absorption] = {}
        self.failure: CortexError | None = None
        self.failures: dict[str, CortexError] = {}  # by signal name

    def _check(self, signals: Sequence[Signal]) -> None:
        if self.failure is not None:
            raise self.failure
        for one in signals:
            if one.name in self.failures:
                raise self.failures[one.name]

    async def deliver(
        self, key: str, resource: ResourceRef, documents: Sequence[str], linked: Sequence[ResourceRef] = ()
    ) -> bool:
        signals = [parse_signal(document) for document in documents]
        self._check(signals)
        self.linked.setdefault(key, set()).update(str(one) for one in linked)
        self.told.append((key, list(signals)))
        fresh = key not in self.running
        if fresh:
            self.running.add(key)
            self.started.append(key)
        return fresh

    async def add(self, key: str, documents: Sequence[str], linked: Sequence[ResourceRef] = ()) -> bool:
        signals = [parse_signal(document) for document in documents]
        self._check(signals)
        if key not in self.running:
            return False
        self.told.append((key, list(signals)))
        self.linked.setdefault(key, set()).update(str(one) for one in linked)
        return True

    async def absorb(self, key: str, absorption: Absorption) -> bool:
        self._check([])
        self.absorbed[key] = absorption
        if key not in self.running:
            return False
        self.running.discard(key)
        return True

    async def health(self) -> str | None:
        return None


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def totals() -> dict[str, float]:
    """The sums of the conservation law."""
    sums: dict[str, float] = {"ingested": 0.0}
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name == "cortexops_events_ingested_total":
                sums["ingested"] += sample.value
            elif sample.name == "cortexops_signal_fates_total":
                sums[sample.labels["fate"]] = sums.get(sample.labels["fate"], 0.0) + sample.value
    return sums


def since(before: dict[str, float]) -> dict[str, float]:
    return {
        key: value - before.get(key, 0.0) for key, value in totals().items() if value != before.get(key, 0.0)
    }


async def eventually(true: Callable[[], bool], *, seconds: float = 8.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not come true in time"
        await asyncio.sleep(0.02)
