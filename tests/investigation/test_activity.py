"""The investigation activity: it stores the diagnosis, and errors tell Temporal what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.actions import propose
from activities.investigation import InvestigationActivities, Propose
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.contracts.investigation import InvestigateInput
from cortexops.domain.case import Case
from cortexops.domain.errors import TemporaryError
from cortexops.domain.resource import ResourceRef
from sandbox.cluster.server import SimulatedApiServer
from tests.investigation.objects import NOW
from tests.investigation.test_collecting import alert, seed


class Diagnoses:
    """Keeps what was saved; fails when told to."""

    def __init__(self) -> None:
        self.saved: dict[str, Any] = {}
        self.down = False

    async def save_diagnosis(self, incident_id, diagnosis):
        if self.down:
            raise TemporaryError("the database is away")
        self.saved[incident_id] = diagnosis

    async def diagnosis(self, incident_id):
        return self.saved.get(incident_id)

    async def rows_of(self, incident_id):
        return []

    async def verified_changes(self, target, *, most=20):
        if self.down:
            raise TemporaryError("the database is away")
        return []


def question(cluster: str = "test") -> InvestigateInput:
    target = ResourceRef(cluster=cluster, kind="Deployment", namespace="shop", name="api")
    signals = (alert("Deployment", "api"),)
    return InvestigateInput(incident_id="INC-1", target=target, environment="production", signals=signals)


def _activities(memory: Any = None) -> InvestigationActivities:
    store: Any = Diagnoses()
    return InvestigationActivities({}, store, memory, propose)


async def test_the_activity_saves_a_bounded_diagnosis_and_reports_its_requests(tmp_path):
    store: Any = Diagnoses()
    async with SimulatedApiServer() as server:
        seed(server)
        async with await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "k")) as cluster:
            activities = InvestigationActivities({"test": cluster}, store, None, propose, clock=lambda: NOW)
            found = await ActivityEnvironment().run(activities.investigate, question())
    assert store.saved["INC-1"] == found.diagnosis
    assert found.diagnosis.cause is not None and len(found.diagnosis.evidence) <= 60
    assert 0 < found.api_requests <= 25 and found.seconds > 0


async def test_where_no_action_mends_the_cause_the_steps_of_people_come_with_it(tmp_path):
    store: Any = Diagnoses()
    async with SimulatedApiServer() as server:
        seed(server)
        async with await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "k")) as cluster:
            offers: list[Propose] = [propose, lambda scene, diagnosis: []]
            for offered in offers:
                activities = InvestigationActivities(
                    {"test": cluster}, store, None, offered, clock=lambda: NOW
                )
                found = await ActivityEnvironment().run(activities.investigate, question())
                mended = any(candidate.feasible for candidate in found.candidates)
                assert bool(found.by_hand) is not mended
    assert found.by_hand[0].commands


async def test_an_unknown_cluster_is_not_retried():
    activities = _activities()
    with pytest.raises(ApplicationError) as raised:
        await ActivityEnvironment().run(activities.investigate, question("elsewhere"))
    assert raised.value.non_retryable


async def test_a_store_out_of_reach_is_retried(tmp_path):
    store: Any = Diagnoses()
    store.down = True
    async with SimulatedApiServer() as server:
        seed(server)
        async with await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "k")) as cluster:
            activities = InvestigationActivities({"test": cluster}, store, None, propose)
            with pytest.raises(ApplicationError) as raised:
                await ActivityEnvironment().run(activities.investigate, question())
    assert not raised.value.non_retryable and raised.value.next_retry_delay is not None


async def test_a_memory_out_of_reach_is_said_not_raised():
    class Away:
        async def remember(self, case):
            raise TemporaryError("away")

    case = Case(
        incident_id="INC-1", cluster="test", namespace="shop", kind="Deployment", name="api", category="crash",
        text="x", action="restart", action_type="restart_workload", outcome="RESOLVED", verified=True,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    activities = _activities(Away())
    assert await ActivityEnvironment().run(activities.remember, case) is False
