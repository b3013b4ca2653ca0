"""A node fails under forty workloads in twelve namespaces, told by Alertmanager to the real processes."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.database import rows
from cortexops.domain.incident import Incident
from tests.e2e.conftest import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def _alert(name: str, severity: str, number: int, **labels: str) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": name, "severity": severity, "cluster": "cascade", **labels},
        "annotations": {"summary": f"{name} is firing"},
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": f"{number:016x}",
    }


def _cascade() -> list[dict[str, Any]]:
    pods = [
        _alert(
            "KubePodNotReady", "warning", number, namespace=f"team-{number % 12}",
            pod=f"app{number}-7d9f8b6c5d-x2z4b", node="worker-9",
        )
        for number in range(40)
    ]  # fmt: skip
    random.Random(7).shuffle(pods)
    # the node's own alert comes last; one more is not its doing
    own = _alert("KubePodCrashLooping", "warning", 98, namespace="team-1", deployment="other")
    return [*pods, own, _alert("KubeNodeNotReady", "critical", 99, node="worker-9")]


async def _signals_by_key(store: PostgresStore) -> list[int]:
    """How many signals each incident key of the cascade has, fewest first."""
    async with store._database.begin() as connection:
        found = await rows(
            connection,
            "SELECT count(*) AS number FROM signal_log WHERE incident_key LIKE 'incident:cascade:%' "
            "GROUP BY incident_key ORDER BY number",
        )
    return [item["number"] for item in found]


def test_one_failed_node_is_one_incident_that_has_its_workloads_signals(
    running: Running,
) -> None:
    async def play() -> list[Incident]:
        platform = running.platform
        alerts = _cascade()
        async with httpx.AsyncClient(timeout=15) as http:
            for start in range(0, len(alerts), 6):
                body = {"version": "4", "status": "firing", "alerts": alerts[start : start + 6]}
                answer = await http.post(f"{platform.gateway_url}/webhooks/alertmanager", json=body)
                assert answer.status_code == 202, answer.text
        store = await PostgresStore.connect(platform.engines.postgres_dsn)
        try:
            async with asyncio.timeout(40):
                while sum(number := await _signals_by_key(store)) < len(alerts):
                    await asyncio.sleep(0.3)
            assert number == [1, 41]
            return [i for i in await store.incidents(most=500) if i.resource.cluster == "cascade"]
        finally:
            await store.close()

    found = running.call(play())
    assert {str(i.resource) for i in found} == {"Node worker-9", "Deployment team-1/other"}
    assert len(found) == 2
