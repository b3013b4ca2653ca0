"""Reasoning inside the incident workflow, on a real Temporal server: durable, bounded, never in the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.worker import UnsandboxedWorkflowRunner

from activities.reasoning import ReasoningActivities
from cortexops.contracts.incident import ABSORB, Absorption, IncidentLimits
from cortexops.contracts.investigation import Investigated
from cortexops.domain.diagnosis import Category, Verdict
from cortexops.domain.incident import IncidentState
from cortexops.domain.links import LinkReason
from cortexops.domain.policy import Effect
from cortexops.domain.reasoning import ModelLimits
from cortexops.domain.verification import Phase
from tests.model.support import (
    API,
    PRICED,
    Diagnoses,
    a_diagnosis,
    assistant_for,
    hypothesis,
    settings_for,
)
from tests.model.world import WITH_MODEL, activities_of, thinking_stage, until
from tests.replay.record import FOLDER
from tests.support.engines import ROOT, RunningEngines
from tests.support.model import FakeModel, Mood, claim
from tests.support.stage import Stage, cast
from tests.support.story import a_candidate, a_decision
from workflows import options

_REASONING = {"think", "more_evidence", "keep_diagnosis"}


class Play:
    """A stage, its model and what was stored."""

    def __init__(self, stage: Stage, model: FakeModel, store: Diagnoses) -> None:
        self.stage, self.model, self.store = stage, model, store


@contextlib.asynccontextmanager
async def played(
    engines: RunningEngines, prefix: str, mood: Mood = Mood.GOOD, *, cached: int = 1000, **changes: Any
) -> AsyncIterator[Play]:
    store: Any = Diagnoses()
    async with FakeModel(mood, retry_after="0.1") as model:
        async with assistant_for(settings_for(model, breaker_failures=50, **changes)) as assistant:
            reasoning = ReasoningActivities(assistant.reasoner, {}, store)
            async with thinking_stage(engines.temporal_address, prefix, reasoning, cached=cached) as stage:
                yield Play(stage, model, store)


async def test_a_model_words_the_diagnosis_in_activities_of_its_own(
    engines: RunningEngines, task_queue_prefix: str
) -> None:
    async with played(engines, task_queue_prefix) as play:
        handle = await play.stage.begin(limits=WITH_MODEL)
        ended = await handle.result()
        names = await activities_of(handle)
    assert ended.state is IncidentState.RESOLVED and ended.llm_used
    assert [name for name in names if name in _REASONING] == [
        "think", "think", "more_evidence", "think", "think", "think", "keep_diagnosis",
    ]  # fmt: skip
    (kept,) = play.store.saved.values()
    assert kept.llm_used and kept.model is not None
    assert kept.model.summary is not None and kept.model.spent.calls == 5 and kept.model.spent.cost > 0
    assert kept.cause is not None and kept.cause.resource.name == "api"
    assert [order.prepared.action for order in play.stage.world.applied] == [a_candidate().action]
    (told,) = [entry for entry in play.stage.world.entries if entry.type == "model_asked"]
    assert told.data["calls"] == 5 and told.data["cost"] == kept.model.spent.cost


@pytest.mark.parametrize(
    "mood",
    [Mood.SLOW, Mood.ERROR_500, Mood.BUSY_429, Mood.PROSE, Mood.WRONG_SCHEMA, Mood.NOTHING, Mood.MALICIOUS],
)
async def test_whatever_the_model_does_the_incident_goes_the_same_way(
    engines: RunningEngines, task_queue_prefix: str, mood: Mood
) -> None:
    quick = PRICED.model_copy(update={"timeout_seconds": 0.5 if mood is Mood.SLOW else 5})
    async with played(engines, task_queue_prefix, mood, extract=quick) as play:
        handle = await play.stage.begin(limits=WITH_MODEL)
        ended = await asyncio.wait_for(handle.result(), 45)
    assert ended.state is IncidentState.RESOLVED
    assert [order.prepared.action for order in play.stage.world.applied] == [a_candidate().action]
    (kept,) = play.store.saved.values()
    assert kept.cause is not None
    assert (kept.cause.resource.name, kept.cause.category) == ("api", "oom_limit_too_low")
    assert kept.llm_used is (mood is Mood.MALICIOUS)  # of that one a bounded shift of confidence remains
    assert kept.sure <= 0.9
    if mood is not Mood.MALICIOUS:
        assert ended.summary == "Root cause (0.90): api: oom_limit_too_low"


async def test_the_time_that_a_busy_endpoint_names_is_waited_by_a_durable_timer(
    engines: RunningEngines, task_queue_prefix: str
) -> None:
    async with played(engines, task_queue_prefix, Mood.BUSY_429) as play:
        handle = await play.stage.begin(limits=WITH_MODEL)
        await handle.result()
        history = json.loads((await handle.fetch_history()).to_json())
    assert len(play.model.requests) == 3  # and then no more
    assert commands(history).count("EVENT_TYPE_TIMER_STARTED") == 2


async def test_a_longer_wait_than_there_is_time_for_is_not_waited(
    engines: RunningEngines, task_queue_prefix: str
) -> None:
    async with played(engines, task_queue_prefix, Mood.BUSY_429) as play:
        play.model.retry_after = "3000"
        ended = await asyncio.wait_for((await play.stage.begin(limits=WITH_MODEL)).result(), 20)
    assert ended.state is IncidentState.RESOLVED and len(play.model.requests) == 1


async def test_where_a_close_hypothesis_leads_the_remedy_is_the_one_that_code_computed_for_it(
    engines: RunningEngines, task_queue_prefix: str
) -> None:
    close = hypothesis(API, Category.CRASH, 0.6, evidence=("e2",))
    diagnosis = a_diagnosis(hypothesis(confidence=0.66), close, verdict=Verdict.HYPOTHESIS)
    other = a_candidate("restart_workload", reason="x")
    found = Investigated(diagnosis=diagnosis, candidates=(a_candidate(),), alternatives={"h2": (other,)})

    def answer(stage: str, user: str) -> dict[str, Any]:
        shift = {"hypothesis": "h2", "delta": 0.1, "why": claim("the crash came first", "e2")}
        answers: dict[str, dict[str, Any]] = {
            "extract": {"facts": []},
            "rank": {"order": ["h2", "h1"], "shifts": [shift], "requests": []},
            "explain": {"hypothesis": "h2", "cause": claim("It crashes.", "e2"), "whys": []},
            "narrate": {"sentences": []},
        }
        return answers[stage]

    async with played(engines, task_queue_prefix) as play:
        play.model.answer = answer
        play.stage.world.investigations = [found]
        await (await play.stage.begin(limits=WITH_MODEL)).result()
        asked = play.stage.world.questions
    (kept,) = play.store.saved.values()
    assert kept.model is not None and kept.model.reordered
    assert kept.cause is not None and kept.cause.category == Category.CRASH
    assert [order.prepared.action for order in play.stage.world.applied] == [other.action]
    assert (kept.cause.confidence, asked[0].confidence) == (0.69, 0.6)  # policy hears what code found
    assert kept.verdict is Verdict.HYPOTHESIS


async def test_with_the_model_off_the_history_holds_nothing_more(
    engines: RunningEngines, task_queue_prefix: str
) -> None:
    """The commands are those of a history that was recorded before there was a model."""
    async with played(engines, task_queue_prefix) as play:
        play.stage.world.patches = ()  # as those that were recorded
        play.stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL, quorum=2)]
        handle = await play.stage.begin()
        request = await play.stage.asked(handle)
        await cast(handle, request, "ana")
        await cast(handle, request, "bob")
        await handle.result()
        history = json.loads((await handle.fetch_history()).to_json())
    assert play.model.requests == []
    recorded = json.loads((FOLDER / "resolved_after_approval.json").read_text("utf-8"))
    assert commands(history) == commands(recorded)


def commands(history: dict[str, Any]) -> list[str]:
    found = []
    for event in history["events"]:
        kind = event["eventType"]
        if kind == "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED":
            found.append(event["activityTaskScheduledEventAttributes"]["activityType"]["name"])
        elif kind.startswith(("EVENT_TYPE_MARKER", "EVENT_TYPE_TIMER_STARTED", "EVENT_TYPE_UPSERT")):
            found.append(kind)
    return found


@pytest.mark.parametrize("registered", [True, False], ids=["no model there", "an older investigator"])
async def test_investigators_without_a_model_block_nothing(
    engines: RunningEngines, task_queue_prefix: str, registered: bool
) -> None:
    store: Any = Diagnoses()
    reasoning = ReasoningActivities(None, {}, store) if registered else None
    async with thinking_stage(engines.temporal_address, task_queue_prefix, reasoning) as stage:
        handle = await stage.begin(limits=IncidentLimits(model=ModelLimits(seconds=20, call_seconds=5)))
        ended = await asyncio.wait_for(handle.result(), 60)
    assert ended.state is IncidentState.RESOLVED and not ended.llm_used


async def test_an_absorbed_incident_does_not_wait_for_its_model(
    engines: RunningEngines, task_queue_prefix: str
) -> None:
    async with played(engines, task_queue_prefix, Mood.SLOW) as play:
        handle = await play.stage.begin(limits=WITH_MODEL)
        await until(lambda: play.model.requests)
        into = Absorption(into_key="incident:test::Node:n1", reason=LinkReason.SAME_NODE)
        await handle.signal(ABSORB, into)
        ended = await asyncio.wait_for(handle.result(), 20)
    assert ended.state is IncidentState.MERGED


async def test_the_budget_holds_over_all_investigations_of_an_incident(
    engines: RunningEngines, task_queue_prefix: str
) -> None:
    limits = IncidentLimits(model=ModelLimits(tokens=5_500, seconds=60, call_seconds=20))
    async with played(engines, task_queue_prefix) as play:
        world = play.stage.world
        both = (a_candidate("adjust_resources"), a_candidate("rollback_rollout", to_revision=3))
        world.investigations = [
            found.model_copy(update={"candidates": both}) for found in world.investigations
        ]
        world.verifications = [Phase.FAILED, Phase.SUCCESSFUL]
        ended = await (await play.stage.begin(limits=limits)).result()
    assert ended.state is IncidentState.RESOLVED and world.calls.count("investigate") == 2
    used = sum(sum(len(m["content"]) for m in body["messages"]) // 4 for body in play.model.requests)
    assert used < 5_500
    (kept,) = play.store.saved.values()
    assert kept.model is not None and kept.model.outcome == "budget"
    assert kept.model.spent.calls == len(play.model.requests)  # of both investigations
    assert kept.model.spent.tokens_in == used


async def test_a_workflow_that_is_replayed_at_every_step_repeats_no_call(
    engines: RunningEngines, task_queue_prefix: str
) -> None:
    async with played(engines, task_queue_prefix, cached=0) as play:
        handle = await play.stage.begin(limits=WITH_MODEL)
        assert (await handle.result()).llm_used
    assert play.model.stages == ["extract", "rank", "rank", "explain", "narrate"]


@pytest.mark.slow
async def test_a_killed_worker_repeats_no_call_that_succeeded(
    engines: RunningEngines, task_queue_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL while the second call is under way; another worker goes on from there."""
    thinking = options.thinking
    early = {"heartbeat_timeout": timedelta(seconds=4)}  # for the death; the sandbox would load options anew
    monkeypatch.setattr(options, "thinking", lambda seconds: thinking(seconds) | early)

    async def worker() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.model.killable", engines.temporal_address, model.url,
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert (await process.stdout.readline()).strip() == b"ready"
        return process

    async with FakeModel() as model:
        model.hold, model.held = asyncio.Event(), {"rank"}
        first = await worker()
        try:
            async with thinking_stage(
                engines.temporal_address,
                task_queue_prefix,
                None,
                investigator=False,
                runner=UnsandboxedWorkflowRunner(),
            ) as stage:
                handle = await stage.begin(limits=WITH_MODEL)
                await until(lambda: "rank" in model.stages)
                first.send_signal(signal.SIGKILL)
                await first.wait()
                model.hold.set()
                second = await worker()
                try:
                    ended = await asyncio.wait_for(handle.result(), 60)
                finally:
                    second.send_signal(signal.SIGKILL)
                    await second.wait()
        finally:
            if first.returncode is None:
                first.kill()
                await first.wait()
    assert ended.state is IncidentState.RESOLVED and ended.llm_used
    assert model.stages.count("extract") == 1
    assert model.stages.count("explain") == model.stages.count("narrate") == 1
    assert model.stages.count("rank") == 2  # the one that was cut off, and its repetition
