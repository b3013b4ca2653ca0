"""Who proposes an action reaches the policy's question, from wherever the proposal comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.actions import propose
from activities.investigation import InvestigationActivities
from activities.runbooks.building import build_runbooks
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.contracts.investigation import Investigated
from cortexops.domain.action import Candidate, ProposedBy, ProposerKind
from cortexops.domain.change import Preview
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.experience import adjustments, applied
from cortexops.domain.narrative import approval_request
from cortexops.domain.policy import Effect
from cortexops.domain.precedent import Precedent
from cortexops.domain.proposing import proposer_of
from cortexops.domain.reasoning_use import ModelUse, Outcome
from cortexops.settings import RunbookSettings
from sandbox.cluster.server import SimulatedApiServer
from tests.investigation.objects import NOW
from tests.investigation.test_activity import Diagnoses, question
from tests.investigation.test_collecting import seed
from tests.memory.test_experience import CHANGED, OOM, diagnosed, word
from tests.runbooks.support import action, document
from tests.support.case import an_incident
from tests.support.engines import RunningEngines
from tests.support.stage import Stage, staged
from tests.support.story import a_candidate, a_decision, a_diagnosis

RUNBOOK = ProposedBy(kind=ProposerKind.RUNBOOK, name="api-crash")
ANA = ProposedBy(kind=ProposerKind.PERSON, name="ana")


def by_model(*, reordered: bool = True) -> Diagnosis:
    used = ModelUse(outcome=Outcome.ANSWERED, models=("small", "large"), reordered=reordered)
    return a_diagnosis().model_copy(update={"model": used})


def by(proposer: ProposedBy) -> Candidate:
    return a_candidate().model_copy(update={"proposed_by": proposer})


def test_evidence_alone_proposes_as_analyzer() -> None:
    assert str(proposer_of(a_candidate(), a_diagnosis())) == "analyzer"
    assert proposer_of(a_candidate(), by_model(reordered=False)).kind is ProposerKind.ANALYZER


def test_a_model_proposes_where_it_put_the_cause_first() -> None:
    assert str(proposer_of(a_candidate(), by_model())) == "model small, large"


def test_a_runbook_or_a_person_is_named_whatever_the_diagnosis_says() -> None:
    assert proposer_of(by(RUNBOOK), by_model()) == RUNBOOK
    assert proposer_of(by(ANA), a_diagnosis()) == ANA


def test_words_on_an_earlier_incident_that_change_the_cause_propose_as_memory() -> None:
    after = applied(diagnosed(OOM, CHANGED), adjustments([word()]))
    assert str(proposer_of(a_candidate(), after)) == "memory INC-20260501-001"


def test_words_that_change_only_how_sure_it_is_propose_nothing() -> None:
    after = applied(diagnosed(OOM), adjustments([word()]))
    assert after.moved and after.led_by == ()
    assert proposer_of(a_candidate(), after).kind is ProposerKind.ANALYZER


def test_an_earlier_incident_that_decides_among_equals_proposes_as_memory() -> None:
    first, second = OOM.model_copy(update={"support": CHANGED.support}), CHANGED
    before = diagnosed(first, second)
    behind = before.hypotheses[1]
    precedent = Precedent(
        incident_id="INC-20260401-007",
        at=datetime(2026, 4, 1, tzinfo=UTC),
        outcome="RESOLVED",
        category=behind.category,
        resource=str(behind.resource),
        worked="rollback_rollout",
        likeness=0.9,
        weight=0.9,
    )
    after = applied(before, (), [precedent])
    assert after.hypotheses[0].category is behind.category, "the case does not decide among equals any more"
    assert str(proposer_of(a_candidate(), after)) == "memory INC-20260401-007"


def test_a_person_who_proposes_is_named_in_the_request_and_so_cannot_approve_it() -> None:
    def asked(candidate: Candidate) -> Any:
        return approval_request(
            an_incident(id="INC-1"),
            diagnosis=a_diagnosis(),
            candidate=candidate,
            preview=Preview(diff=(), generation=1, uid="u"),
            digest="d",
            decision=a_decision(Effect.REQUIRE_APPROVAL),
            attempt=1,
            now=NOW,
            expires_at=NOW,
        )

    assert asked(by(ANA)).proposed_by == "ana"
    assert asked(by(RUNBOOK)).proposed_by is None


async def test_only_what_the_diagnosis_would_not_have_offered_is_the_runbooks(tmp_path: Path) -> None:
    mine = document(
        action(id="own", name="restart_workload"),
        action(id="same", name="rollback_rollout"),
        match={"alerts": ["KubePod*"], "namespaces": ["shop"]},
    )
    (tmp_path / "mine.yaml").write_text(json.dumps(mine))
    store: Any = Diagnoses()
    async with SimulatedApiServer() as server:
        seed(server)
        async with await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "k")) as cluster:
            plain = InvestigationActivities({"test": cluster}, store, None, propose, clock=lambda: NOW)
            own = await ActivityEnvironment().run(plain.investigate, question())
            runbooks = build_runbooks(RunbookSettings(path=tmp_path, shipped=False))
            asked = InvestigationActivities(
                {"test": cluster}, store, None, propose, clock=lambda: NOW, runbooks=runbooks
            )
            found = await ActivityEnvironment().run(asked.investigate, question())
    feasible = {one.action.hash for one in own.candidates if one.feasible}
    said = {str(one.proposed_by) for one in found.candidates if one.action.hash not in feasible}
    assert {str(one.proposed_by) for one in found.candidates if one.action.hash in feasible} <= {"analyzer"}
    assert "runbook mine" in said


@pytest.fixture
async def stage(engines: RunningEngines, task_queue_prefix: str) -> AsyncIterator[Stage]:
    async with staged(engines.temporal_address, task_queue_prefix) as stage:
        yield stage


async def test_the_workflow_tells_policy_who_proposes(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.DENY)]
    stage.world.investigations = [Investigated(diagnosis=by_model(), candidates=(a_candidate(),))]
    await (await stage.begin()).result()
    (asked,) = stage.world.questions
    assert (asked.proposed_by.kind, asked.proposed_by.name) == (ProposerKind.MODEL, "small, large")
    assert asked.proposed_by_person is None


async def test_the_workflow_tells_policy_which_person_proposes(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.DENY)]
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(), candidates=(by(ANA),))]
    await (await stage.begin()).result()
    (asked,) = stage.world.questions
    assert (asked.proposed_by, asked.proposed_by_person) == (ANA, "ana")
