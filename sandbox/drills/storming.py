"""The drill of the storm: many signals of one cause and five others, while everything that takes them is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg

from cortexops.domain.errors import TemporaryError
from ingest.decode import parse_documents
from sandbox.drills.stage import Stage
from sandbox.drills.storm import facts, quiet, read_stream
from sandbox.scenarios.alertmanager import fingerprint

SIZE = 100_000
_BATCH = 100
_AT_ONCE = 4
_OTHERS = 5
_EVERY = 40  # of so many alerts each unrelated cause has one
_NEVER = "0001-01-01T00:00:00Z"
_KILLS = ((0.1, "correlator"), (0.3, "nats"), (0.5, "temporal"), (0.7, "correlator"))
_MOST_MIB = 300

OVERRIDES: dict[str, Any] = {
    "correlator": {"window_seconds": 1, "lease_seconds": 5},
    "worker": {"max_correlators": 1},
}


async def storm(stage: Stage, size: int = SIZE) -> None:
    """One incident for each of six causes, and no signal lost, whoever is killed meanwhile."""
    bodies = list(_bodies(stage.simulation.name, size))
    done = 0
    waiting = iter(bodies)
    peaks: list[float] = []

    async def send(client: httpx.AsyncClient) -> None:
        nonlocal done
        for body in waiting:
            while not await _taken(client, stage, body):  # noqa: ASYNC110  # a pause
                await asyncio.sleep(0.2)
            done += 1

    async def kill() -> None:
        for share, name in _KILLS:
            while done < share * len(bodies):  # noqa: ASYNC110  # the senders' progress
                await asyncio.sleep(0.02)
            if name == "correlator":
                peaks.append(_peak_mib(stage))
                await _kill_running(stage, name)
            else:
                stage.platform.engines.kill9(name)

    async with httpx.AsyncClient(timeout=30) as client, asyncio.TaskGroup() as group:
        group.create_task(kill())
        for _ in range(_AT_ONCE):
            group.create_task(send(client))
    contents = await read_stream(stage.platform.engines.nats_url)
    verdict = await quiet(stage.platform.settings.nats, stage.store, contents, 120)
    peaks.append(_peak_mib(stage))
    now = datetime.now(UTC)
    published = {
        signal.id
        for body in bodies
        for signal in parse_documents([body], "alertmanager", cluster=stage.simulation.name, now=now).signals
    }
    keys = [f"incident:{stage.simulation.name}:storm-{n}:Deployment:app-{n}" for n in range(_OTHERS + 1)]
    connection = await psycopg.AsyncConnection.connect(
        stage.platform.engines.postgres_plain_dsn, autocommit=True
    )
    try:
        for _ in range(50):
            found = await facts(contents, verdict, connection, stage.temporal, published=published, keys=keys)
            if all(fact.holds for fact in found):
                break
            await asyncio.sleep(0.2)
    finally:
        await connection.close()
    for fact in found:
        stage.check(fact.what, fact.holds, fact.figures)
    most = max(peaks)
    stage.check(
        f"the correlator stays below {_MOST_MIB} MiB", 0 < most < _MOST_MIB, f"{most:.0f} MiB at most"
    )


async def _taken(client: httpx.AsyncClient, stage: Stage, body: dict[str, Any]) -> bool:
    try:
        answer = await client.post(f"{stage.platform.gateway_url}/webhooks/alertmanager", json=body)
    except httpx.HTTPError:
        return False
    if answer.is_client_error:
        raise TemporaryError(f"the gateway refuses an alert: HTTP {answer.status_code}")
    return answer.is_success


async def _kill_running(stage: Stage, name: str) -> None:
    """The supervisor may be starting it at this moment."""
    service = stage.platform.services[name]
    while not service.process.running:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    service.kill9()


def _peak_mib(stage: Stage) -> float:
    """Most memory that the correlator running now has had resident; 0 while none runs."""
    pid = stage.platform.services["correlator"].process.pid
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next(
        (int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0
    )


def _bodies(cluster: str, size: int) -> Iterator[dict[str, Any]]:
    """Webhooks of alerts about the pods of six Deployments; nearly all are about the first."""
    now = datetime.now(UTC).isoformat()
    for start in range(0, size, _BATCH):
        alerts = [_alert(cluster, number, now) for number in range(start, min(size, start + _BATCH))]
        yield {"version": "4", "status": "firing", "alerts": alerts}


def _alert(cluster: str, number: int, now: str) -> dict[str, Any]:
    cause = (number // _EVERY) % _OTHERS + 1 if number % _EVERY == 0 else 0
    labels = {
        "alertname": "ContainerMemoryNearLimit",
        "severity": "warning",
        "cluster": cluster,
        "namespace": f"storm-{cause}",
        "deployment": f"app-{cause}",
        "container": f"c{number % 7}",
        "series": str(number),
    }
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": f"app-{cause} uses more than 90% of its memory limit"},
        "startsAt": now,
        "endsAt": _NEVER,
        "fingerprint": fingerprint(labels),
    }
