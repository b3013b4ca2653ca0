"""The endpoint: what goes out, what comes back, what is said of it."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from cortexops.adapters.openai_model import OpenAIModel
from cortexops.domain.errors import InvalidInput
from cortexops.domain.reasoning import Ask, ModelLimits, begin
from cortexops.domain.reasoning_answers import schema_of
from cortexops.domain.reasoning_material import brief_of
from cortexops.domain.reasoning_use import Outcome, Spent, Stage
from cortexops.metrics import LLM_CALLS, LLM_COST, LLM_TOKENS
from cortexops.ports.model import ModelFailed, ModelRequest
from cortexops.settings import Settings
from cortexops.settings_model import ModelSettings
from ingest.starter import limits_of
from tests.model.support import PRICED, a_diagnosis, assistant_for, settings_for
from tests.support.model import KEY, FakeModel, Mood

ASK = Ask(stage=Stage.EXTRACT, round=1)


def a_request(seconds: float = 5) -> ModelRequest:
    return ModelRequest(
        model="small", system="extract at most 15", user="| e1 x", schema_name="extract",
        schema=schema_of(Stage.EXTRACT), temperature=0.1, max_tokens=100, seconds=seconds,
    )  # fmt: skip


async def failure(url: str, seconds: float = 5) -> ModelFailed:
    model = OpenAIModel(url, KEY)
    try:
        with pytest.raises(ModelFailed) as raised:
            await model.complete(a_request(seconds))
    finally:
        await model.close()
    return raised.value


@pytest.mark.parametrize("mood", [Mood.FORBIDDEN, Mood.ERROR_500, Mood.HTML, Mood.FLOOD, Mood.BUSY_429])
async def test_neither_key_nor_prompt_nor_the_endpoints_text_is_in_errors_or_logs(
    mood: Mood, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with FakeModel(mood) as model:
        error = await failure(model.url)
    said = f"{error} {error!r} {error.__cause__!r} {error.__context__ and ''}"
    assert KEY not in said and "slow down" not in said and "gateway" not in said
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("3", 3.0), ("0.5", 0.5), (None, None), ("soon", None), ("-1", None), ("inf", None)],
)
async def test_the_endpoints_time_to_wait_is_read(given: str | None, seconds: float | None) -> None:
    async with FakeModel(Mood.BUSY_429, retry_after=given) as model:
        error = await failure(model.url)
    assert (error.outcome, error.retry_after) == (Outcome.RATE_LIMITED, seconds)


async def test_a_slow_endpoint_costs_no_more_than_its_time() -> None:
    async with FakeModel(Mood.SLOW) as model:
        began = time.monotonic()
        error = await failure(model.url, 0.3)
    assert error.outcome is Outcome.TIMEOUT and time.monotonic() - began < 2


async def test_an_endpoint_that_drips_bytes_is_cut_off_too() -> None:
    import asyncio

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", drip)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        error = await failure(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", 0.4)
    finally:
        await runner.cleanup()
    assert error.outcome is Outcome.TIMEOUT


async def test_nobody_there_is_unavailable() -> None:
    async with FakeModel() as model:
        url = model.url
    assert (await failure(url)).outcome is Outcome.UNAVAILABLE


async def test_the_key_does_not_follow_a_redirect() -> None:
    async with FakeModel() as other:

        async def away(request: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(f"{other.url}/chat/completions")

        app = web.Application()
        app.router.add_post("/v1/chat/completions", away)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            error = await failure(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        finally:
            await runner.cleanup()
        assert error.outcome is Outcome.REJECTED and other.requests == []


@pytest.mark.parametrize("url", ["ftp://x/v1", "model", "https://user:pass@x/v1", "http://"])
def test_an_address_that_is_none_or_carries_a_password_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        OpenAIModel(url)
    assert "pass" not in str(raised.value)


async def test_each_stage_has_its_own_model_temperature_and_size() -> None:
    async with FakeModel() as model:
        small = PRICED.model_copy(update={"name": "tiny", "temperature": 0.7, "max_tokens": 321})
        async with assistant_for(settings_for(model, extract=small)) as assistant:
            state = begin(brief_of(a_diagnosis(), ()), ModelLimits())
            await assistant.reasoner.think(state, ASK, 60)
            await assistant.reasoner.think(state, Ask(stage=Stage.RANK, round=1), 60)
    first, second = model.requests
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("tiny", 0.7, 321)
    assert (second["model"], second["temperature"], second["max_tokens"]) == ("small", 0.1, 2000)
    assert first["response_format"]["json_schema"]["name"] == "extract"


@pytest.mark.parametrize(
    ("limits", "changes"),
    [
        (ModelLimits(tokens=500), {}),
        (ModelLimits(cost=0.0001), {}),
        (ModelLimits(), {"extract": PRICED.model_copy(update={"budget_tokens": 300})}),
    ],
)
async def test_a_call_that_does_not_fit_the_budget_is_not_made(
    limits: ModelLimits, changes: dict[str, Any]
) -> None:
    async with FakeModel() as model, assistant_for(settings_for(model, **changes)) as assistant:
        thought = await assistant.reasoner.think(begin(brief_of(a_diagnosis(), ()), limits), ASK, 60)
    assert thought.outcome is Outcome.BUDGET and thought.spent == Spent()
    assert model.requests == []


async def test_a_small_rest_of_the_budget_makes_the_answer_smaller() -> None:
    async with FakeModel() as model, assistant_for(settings_for(model)) as assistant:
        state = begin(brief_of(a_diagnosis(), ()), ModelLimits(tokens=2500))
        assert (await assistant.reasoner.think(state, ASK, 60)).outcome is Outcome.ANSWERED
    sent = sum(len(m["content"]) for m in model.requests[0]["messages"]) // 3
    assert model.requests[0]["max_tokens"] == 2500 - sent


async def test_tokens_calls_and_cost_are_counted() -> None:
    def now() -> tuple[float, ...]:
        return (
            LLM_TOKENS.labels("extract", "counted", "in")._value.get(),
            LLM_TOKENS.labels("extract", "counted", "out")._value.get(),
            LLM_CALLS.labels("extract", "answered")._value.get(),
            LLM_COST.labels("extract", "counted")._value.get(),
        )

    before = now()
    async with FakeModel() as model, assistant_for(settings_for(model, name="counted")) as assistant:
        thought = await assistant.reasoner.think(begin(brief_of(a_diagnosis(), ()), ModelLimits()), ASK, 60)
    spent = thought.spent
    assert spent.cost == pytest.approx((spent.tokens_in * 1.0 + spent.tokens_out * 4.0) / 1e6)
    grown = [after - was for after, was in zip(now(), before, strict=True)]
    assert grown == [spent.tokens_in, spent.tokens_out, 1, pytest.approx(spent.cost)]


async def test_a_prompt_that_cannot_be_checked_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> Any:
        raise RuntimeError("detector")

    monkeypatch.setattr("cortexops.domain.outgoing.redact", broken)
    async with FakeModel() as model, assistant_for(settings_for(model)) as assistant:
        thought = await assistant.reasoner.think(begin(brief_of(a_diagnosis(), ()), ModelLimits()), ASK, 60)
    assert thought.outcome is Outcome.WITHHELD and model.requests == []


def test_no_model_configured_means_none_is_asked() -> None:
    settings = Settings()
    assert not settings.model.on and settings.model.limits() is None
    assert limits_of(settings.incident, settings.model.limits()).model is None
    on = ModelSettings(base_url="http://127.0.0.1:1/v1", name="m", api_key=SecretStr(KEY), max_rounds=2)
    limits = limits_of(settings.incident, on.limits()).model
    assert limits is not None and limits.rounds == 2
    assert KEY not in repr(on) and KEY not in limits.model_dump_json()


def test_a_stage_without_a_model_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="rank"):
        ModelSettings(base_url="http://127.0.0.1:1/v1", extract=PRICED.model_copy(update={"name": "a"}))


def test_the_section_can_be_handed_on_with_its_key() -> None:
    on = ModelSettings(base_url="http://127.0.0.1:1/v1", name="m", api_key=SecretStr(KEY))
    again = ModelSettings(**on.with_key())
    assert again == on and again.api_key is not None and again.api_key.get_secret_value() == KEY
