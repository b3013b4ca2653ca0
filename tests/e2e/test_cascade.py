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
from cortexops.domain.approval import ApprovalState
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.ports.store import ApprovalRecord
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


def test_an_incident_that_waits_for_people_is_absorbed_when_its_node_turns_out_to_be_the_cause(
    running: Running,
) -> None:
    """Its approval is void, nobody can answer it any more, and nothing was changed."""

    async def play() -> tuple[Incident, Incident, list[ApprovalRecord], str]:
        platform = running.platform
        cluster = platform.cluster
        assert cluster is not None
        plan = await cluster.play("bad-readiness-probe")
        store = await PostgresStore.connect(platform.engines.postgres_dsn)
        try:
            async with httpx.AsyncClient(timeout=15) as http:
                url = f"{platform.gateway_url}/webhooks/alertmanager"
                assert (await http.post(url, json=cluster.alert(plan))).status_code == 202
                waiting = await _in_state(store, "Deployment", IncidentState.APPROVAL_PENDING)
                pods = cluster.server.store.objects("pods", "catalog")
                node = next(pod["spec"]["nodeName"] for pod in pods if not _ready(pod))
                late = _alert("KubeNodeNotReady", "critical", 77, node=node)
                late["labels"]["cluster"] = cluster.name
                body = {"version": "4", "status": "firing", "alerts": [late]}
                assert (await http.post(url, json=body)).status_code == 202
            merged = await _in_state(store, "Deployment", IncidentState.MERGED)
            assert merged.id == waiting.id
            (cause,) = [i for i in await store.incidents(most=500) if i.resource.name == node]
            return (
                merged,
                cause,
                [one for one in await store.approvals() if one.request.incident_id == merged.id],
                node,
            )
        finally:
            await store.close()

    merged, cause, approvals, node = running.call(play())
    assert merged.reason is Reason.MERGED_INTO
    assert merged.merged_into == cause.key
    assert (cause.resource.kind, cause.resource.name) == ("Node", node)
    assert [approval.state for approval in approvals] == [ApprovalState.VOID]


async def _in_state(store: PostgresStore, kind: str, state: IncidentState) -> Incident:
    async with asyncio.timeout(40):
        while True:
            for incident in await store.incidents(most=500):
                about = incident.resource
                if (about.namespace, about.kind, incident.state) == ("catalog", kind, state):
                    return incident
            await asyncio.sleep(0.2)


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
