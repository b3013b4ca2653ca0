"""Asking models: one call at a time, masked, fenced, within budget and breaker; what fails is an outcome."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping

import structlog
from temporalio import activity

from activities.errors import for_temporal, heartbeating
from activities.further import read_further
from activities.gathering import Reads
from cortexops.contracts.reasoning import KeepInput, MoreInput, Reasoning, ThinkInput
from cortexops.domain.breaker import Breakers, BreakerState
from cortexops.domain.errors import InvalidInput
from cortexops.domain.outgoing import Destination, Withheld, outgoing
from cortexops.domain.prompts import Prompt, prompt
from cortexops.domain.pseudonyms import Pseudonyms
from cortexops.domain.reasoning import Ask, Brief, Thinking, Thought
from cortexops.domain.reasoning_answers import Gathered, Unreadable, read_answer, schema_of
from cortexops.domain.reasoning_claims import worded
from cortexops.domain.reasoning_use import ModelUse, Outcome, Spent, Stage
from cortexops.domain.resource import ResourceRef
from cortexops.metrics import LLM_BREAKER, LLM_CALLS, LLM_COST, LLM_CUT, LLM_TOKENS, REDACTIONS
from cortexops.ports.cluster import ReadableCluster
from cortexops.ports.model import LanguageModel, ModelAnswer, ModelFailed, ModelRequest
from cortexops.ports.store import IncidentStore
from cortexops.settings_model import ModelSettings, StageSettings

log = structlog.get_logger(__name__)

_LEAST_ANSWER = 200  # tokens; with less room than this nothing is asked
_CHARACTERS_PER_TOKEN = 3  # on the safe side for text with many identifiers
_MILLION = 1_000_000


class Reasoner:
    """Calls of one endpoint. Keeps the breakers of this process; `clock` counts seconds."""

    def __init__(
        self,
        model: LanguageModel,
        settings: ModelSettings,
        *,
        breakers: Breakers | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._settings = settings
        self._clock = clock
        self.breakers = breakers or Breakers(
            failures=settings.breaker_failures, open_seconds=settings.breaker_seconds
        )

    async def think(self, state: Thinking, ask: Ask, seconds_left: float) -> Thought:
        """One call. Never raises for what the endpoint or the model does."""
        stage = _of(self._settings, ask.stage)
        name = stage.name or self._settings.name
        thought = await self._think(state, ask, stage, name, min(stage.timeout_seconds, seconds_left))
        LLM_CALLS.labels(stage=ask.stage, outcome=thought.outcome).inc()
        LLM_TOKENS.labels(stage=ask.stage, model=name, direction="in").inc(thought.spent.tokens_in)
        LLM_TOKENS.labels(stage=ask.stage, model=name, direction="out").inc(thought.spent.tokens_out)
        LLM_COST.labels(stage=ask.stage, model=name).inc(thought.spent.cost)
        state_now = self.breakers.of(self._provider(name)).state
        LLM_BREAKER.labels(model=name).set(state_now is not BreakerState.CLOSED)
        say = log.info if thought.outcome is Outcome.ANSWERED else log.warning
        say("a model was asked", stage=ask.stage, model=name, outcome=thought.outcome, detail=thought.detail,
            tokens_in=thought.spent.tokens_in, tokens_out=thought.spent.tokens_out)  # fmt: skip
        return thought.model_copy(update={"model": name if thought.spent.calls else ""})

    def _provider(self, name: str) -> str:
        return f"{self._model.address} {name}"

    async def _think(
        self, state: Thinking, ask: Ask, stage: StageSettings, name: str, seconds: float
    ) -> Thought:
        names = Pseudonyms.of(_named(state.brief)) if self._settings.hide_names else None
        try:
            text = self._prompt(state, ask, names)
        except Withheld as error:
            return Thought(outcome=Outcome.WITHHELD, detail=str(error))
        sent = (len(text.system) + len(text.user)) // _CHARACTERS_PER_TOKEN
        room = _room(state, ask.stage, stage, sent)
        if room < _LEAST_ANSWER:
            return Thought(outcome=Outcome.BUDGET, detail="the next call would exceed the budget")
        provider = self._provider(name)
        if not self.breakers.may_call(provider, self._clock()):
            return Thought(outcome=Outcome.BREAKER_OPEN, detail="the endpoint failed lately and is not asked")
        request = ModelRequest(
            model=name,
            system=text.system,
            user=text.user,
            schema_name=ask.stage.value,
            schema=schema_of(ask.stage),
            temperature=stage.temperature,
            max_tokens=min(stage.max_tokens, room),
            seconds=seconds,
        )
        try:
            answer = await self._model.complete(request)
        except ModelFailed as error:
            return self._failed(provider, error, stage, sent, hurried=seconds < stage.timeout_seconds)
        except asyncio.CancelledError:
            self.breakers.gave_up(provider)
            raise
        self.breakers.succeeded(provider)
        spent = _spent(stage, answer, sent)
        try:
            return Thought(
                outcome=Outcome.ANSWERED,
                answer=worded(read_answer(ask.stage, names.reveal(answer.text) if names else answer.text)),
                spent=spent,
            )
        except Unreadable as error:
            return Thought(outcome=Outcome.INVALID, spent=spent, detail=str(error))

    def _prompt(self, state: Thinking, ask: Ask, names: Pseudonyms | None) -> Prompt:
        """Raises `Withheld` when a part of it cannot be checked for secrets."""

        def count(kind: str, number: int) -> None:
            REDACTIONS.labels(kind=kind).inc(number)

        def clean(block: str) -> str:
            clean = outgoing(block, Destination.PROMPT, count=count)
            return names.hide(clean) if names else clean

        return prompt(state, ask, nonce=secrets.token_hex(12), clean=clean)

    def _failed(
        self, provider: str, error: ModelFailed, stage: StageSettings, sent: int, *, hurried: bool
    ) -> Thought:
        """An endpoint that answered works, whatever its model said; one that we hurried was not tried."""
        if error.answered is not None:
            self.breakers.succeeded(provider)
        elif error.outcome is Outcome.TIMEOUT and hurried:
            self.breakers.gave_up(provider)
        else:
            self.breakers.failed(provider, self._clock())
        spent = _spent(stage, error.answered, sent) if error.answered is not None else Spent(calls=1)
        return Thought(outcome=error.outcome, spent=spent, detail=str(error), retry_after=error.retry_after)


def _of(settings: ModelSettings, stage: Stage) -> StageSettings:
    return {
        Stage.EXTRACT: settings.extract,
        Stage.RANK: settings.rank,
        Stage.EXPLAIN: settings.explain,
        Stage.NARRATE: settings.narrate,
    }[stage]


def _named(brief: Brief) -> list[ResourceRef]:
    """Every object whose name may stand in a prompt."""
    blamed = [each.resource for each in brief.diagnosis.hypotheses]
    return [brief.target, *blamed, *brief.objects, *(fact.resource for fact in brief.evidence)]


def _room(state: Thinking, name: Stage, stage: StageSettings, sent: int) -> int:
    """How many tokens the answer may have, by what is left to incident and stage."""
    room = stage.budget_tokens - state.by_stage.get(name, 0) - sent
    if state.tokens_left is not None:
        room = min(room, state.tokens_left - sent)
    if state.cost_left is not None:
        money = state.cost_left - sent * stage.price_in / _MILLION
        if money < 0:
            return 0
        if stage.price_out:
            room = min(room, int(money * _MILLION / stage.price_out))
    return room


def _spent(stage: StageSettings, answer: ModelAnswer, sent: int) -> Spent:
    """As the endpoint counted, estimated from the lengths where it did not."""
    tokens_in = answer.tokens_in or sent
    tokens_out = answer.tokens_out or len(answer.text) // _CHARACTERS_PER_TOKEN
    cost = (tokens_in * stage.price_in + tokens_out * stage.price_out) / _MILLION
    return Spent(calls=1, tokens_in=tokens_in, tokens_out=tokens_out, cost=round(cost, 8))


def count_cut(use: ModelUse) -> None:
    """Count what was not taken of a model's answers."""
    LLM_CUT.labels(what="claims").inc(use.cut_claims)
    LLM_CUT.labels(what="requests").inc(use.refused_requests)


class ReasoningActivities(Reasoning):
    """The reasoning contract over one reasoner, the clusters' readers and the store."""

    def __init__(
        self, reasoner: Reasoner | None, clusters: Mapping[str, ReadableCluster], store: IncidentStore
    ) -> None:
        self._reasoner = reasoner
        self._clusters = clusters
        self._store = store

    @activity.defn
    async def think(self, question: ThinkInput) -> Thought:
        if self._reasoner is None:
            return Thought(outcome=Outcome.OFF, detail="this worker has no model configured")
        async with heartbeating():
            return await self._reasoner.think(question.state, question.ask, question.seconds_left)

    @activity.defn
    async def more_evidence(self, question: MoreInput) -> Gathered:
        with for_temporal():
            async with heartbeating():
                cluster = self._clusters.get(question.target.cluster)
                if cluster is None:
                    raise InvalidInput("cluster", f"{question.target.cluster!r} is not configured")
                reads = Reads(cluster)
                try:
                    return await read_further(
                        reads,
                        question.target,
                        question.requests,
                        question.objects,
                        taken=question.used,
                        seconds=question.seconds,
                    )
                finally:
                    await reads.close()

    @activity.defn
    async def keep_diagnosis(self, order: KeepInput) -> None:
        with for_temporal():
            await self._store.save_diagnosis(order.incident_id, order.diagnosis)
        if order.diagnosis.model is not None:
            count_cut(order.diagnosis.model)
