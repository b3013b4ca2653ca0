"""The same trouble comes again: the first time is cited, people's word counts, and taking it back undoes it.

Everything is real but the cluster: Postgres, a Qdrant folder, the investigation over HTTP against the
evaluation set's API server.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from temporalio.testing import ActivityEnvironment

from activities.actions import propose
from activities.investigation import InvestigationActivities
from cortexops.adapters.judging import Judging
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.qdrant import QdrantMemory
from cortexops.contracts.investigation import InvestigateInput
from cortexops.domain.action import Action
from cortexops.domain.audit import PLATFORM, AuditType
from cortexops.domain.case import Case, case_text
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.ledger import LedgerState
from cortexops.domain.narrative import diagnosed_text
from cortexops.domain.report import Result, investigation_report, render_text
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Signal
from ingest.decode import decode_file
from tests.evals.api import Api
from tests.evals.run import load
from tests.memory.support import ANA
from tests.support.case import a_ledger_row
from tests.support.postgres import a_draft, an_entry

NAME = "memory-leak-steady"


class World(NamedTuple):
    """The parts that an investigation has in the product."""

    store: PostgresStore
    activities: InvestigationActivities
    target: ResourceRef
    signals: tuple[Signal, ...]

    async def occurs(self, number: int) -> tuple[Incident, Diagnosis]:
        """The trouble is there (again): an incident is opened and investigated."""
        now = datetime.now(UTC)
        draft = a_draft(
            f"incident:{self.target.key}",
            f"run-{number}",
            resource=self.target,
            detected_at=now,
            updated_at=now,
        )
        incident = await self.store.open_incident(draft, self.signals, an_entry(PLATFORM))
        question = InvestigateInput(
            incident_id=incident.id, target=self.target, environment="production", signals=self.signals
        )
        found = await ActivityEnvironment().run(self.activities.investigate, question)
        return incident, found.diagnosis

    async def is_solved(self, incident: Incident, diagnosis: Diagnosis) -> None:
        """As the workflow ends it: one remedy failed and was undone, the next was verified."""
        for attempt, (kind, states) in enumerate(
            (
                ("adjust_resources", (LedgerState.APPLIED, LedgerState.COMPENSATED)),
                ("restart_workload", (LedgerState.APPLIED, LedgerState.VERIFIED)),
            ),
            start=1,
        ):
            row = a_ledger_row(incident.id).model_copy(
                update={
                    "operation_id": f"{incident.id}.{attempt}",
                    "attempt": attempt,
                    "action": Action(type=kind, target=self.target),
                }
            )
            await self.store.intend(row, an_entry(incident.id))
            for state in states:
                await self.store.settle(row.operation_id, state, "", an_entry(incident.id))
        cause = diagnosis.cause
        assert cause is not None
        case = Case(
            incident_id=incident.id,
            cluster=self.target.cluster,
            namespace=self.target.namespace,
            kind=self.target.kind,
            name=self.target.name,
            category=cause.category,
            text=case_text(incident, diagnosis),
            action=f"restart_workload {self.target}",
            action_type="restart_workload",
            outcome=IncidentState.RESOLVED,
            verified=True,
            at=datetime.now(UTC),
        )
        assert await ActivityEnvironment().run(self.activities.remember, case)


@pytest.fixture
async def world(store: PostgresStore, tmp_path: Path) -> AsyncIterator[World]:
    incident = load(NAME)
    kind, namespace, name = incident.truth["cause"][0].split("/")
    memory = await QdrantMemory.connect(path=tmp_path / "memory")
    try:
        async with Api(incident.objects, incident.logs, **incident.server) as api:
            signals = signals_in(incident.payload)
            async with await KubernetesCluster.connect(
                "eval", api.kubeconfig(tmp_path / "config")
            ) as cluster:
                activities = InvestigationActivities(
                    {"eval": cluster}, store, memory, propose, feedback=store
                )
                target = ResourceRef(cluster="eval", kind=kind, namespace=namespace, name=name)
                yield World(store, activities, target, signals)
    finally:
        await memory.close()


def signals_in(payload: object) -> tuple[Signal, ...]:
    return tuple(decode_file(json.dumps(payload), "auto", "eval", datetime.now(UTC)).signals)


async def test_the_second_occurrence_cites_the_first_and_people_have_a_word(world: World) -> None:
    first, before = await world.occurs(1)
    assert before.cause is not None and before.cause.category is Category.MEMORY_LEAK
    assert before.precedents == () and before.moved == ()
    await world.is_solved(first, before)

    _, second = await world.occurs(2)
    (cited,) = second.precedents
    assert (cited.incident_id, cited.outcome) == (first.id, "RESOLVED")
    assert (cited.worked, cited.did_not) == ("restart_workload", ("adjust_resources",))
    assert cited.likeness > 0.9 and cited.why == ("resolved", "0 days old", "same workload")
    assert f"Seen before: {first.id}" in diagnosed_text(second, [])
    report = investigation_report(
        [Result(world.target, world.signals, second)], duration_seconds=1, api_requests=1
    )
    assert report["incidents"][0]["similar"][0]["worked"] == "restart_workload"
    assert "restart_workload worked; did not help: adjust_resources" in render_text(report)
    assert second.cause is not None and second.verdict is before.verdict
    assert before.cause.confidence < second.cause.confidence <= before.cause.confidence + 0.05
    assert second.hypotheses[1:] == before.hypotheses[1:]

    judging = Judging(world.store)
    await judging.say(
        first.id, ANA, "incorrect", now=datetime.now(UTC), category="oom_limit_too_low",
        note="the limit was too low, password=hunter22secret",
    )  # fmt: skip
    _, third = await world.occurs(3)
    assert third.cause is not None and third.cause.category is Category.OOM_LIMIT_TOO_LOW
    moved = {m.category: m for m in third.moved}
    assert moved["memory_leak"].last and moved["memory_leak"].by == -0.2
    assert moved["oom_limit_too_low"].by == 0.1
    assert f"moved by feedback of {first.id}: −0.20" in diagnosed_text(third, [])
    assert "people called its diagnosis incorrect" in third.precedents[0].why
    (kept,) = await world.store.feedback(incident_id=first.id)
    assert "hunter22secret" not in kept.model_dump_json()
    trail = [e for e in await world.store.events(first.id) if e.type is AuditType.FEEDBACK]
    assert [(e.actor, e.reason, e.data["via"]) for e in trail] == [("ana", "incorrect", "token")]

    await judging.undo(first.id, ANA, now=datetime.now(UTC))
    _, fourth = await world.occurs(4)
    assert fourth.hypotheses == second.hypotheses and fourth.verdict is second.verdict
    assert fourth.moved == () and fourth.evidence == second.evidence
    trail = [e for e in await world.store.events(first.id) if e.type is AuditType.FEEDBACK]
    assert [e.reason for e in trail] == ["incorrect", "undone"]
