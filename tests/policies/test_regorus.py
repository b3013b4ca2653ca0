"""The engine without a server, and how it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from cortexops.adapters.policy import shipped_bundle
from cortexops.adapters.policy_bundle import Bundle
from cortexops.adapters.policy_regorus import RegorusPolicy
from cortexops.domain.policy import Effect, PolicyDecision
from tests.policies.support import question

ENDLESS = (
    'package cortexops\n\ndecision := {"effect": "allow", "reasons": ["x"]} if {\n'
    "  count([1 | some i in numbers.range(1, 90000); some j in numbers.range(1, 90000); i * j == 7]) > 0\n}\n"
)


@pytest.fixture
async def shipped() -> AsyncIterator[RegorusPolicy]:
    policy = RegorusPolicy(shipped_bundle())
    yield policy
    await policy.close()


async def ask(rego: str, *, timeout_seconds: float = 5.0) -> PolicyDecision:
    policy = RegorusPolicy(Bundle({"p.rego": rego}, {}), timeout_seconds=timeout_seconds)
    try:
        return await policy.evaluate(question())
    finally:
        await policy.close()


async def test_decision_carries_engine_and_revision(shipped: RegorusPolicy):
    decision = await shipped.evaluate(question())
    assert (decision.effect, decision.reasons) == (Effect.ALLOW, ("low_risk_outside_production",))
    assert (decision.engine, decision.revision) == ("regorus", shipped_bundle().revision)
    assert await shipped.health() is None


async def test_production_asks_one_person_and_databases_two(shipped: RegorusPolicy):
    plain = await shipped.evaluate(question(environment="production"))
    database = await shipped.evaluate(
        question(environment="production", blast_radius={"replicas": 1, "stateful": True})
    )
    assert (plain.effect, plain.quorum, plain.expires_seconds) == (Effect.REQUIRE_APPROVAL, 1, 900)
    assert (database.rule, database.quorum) == ("quorum-production", 2)
    assert database.roles == ("oncall", "sre-lead")


async def test_many_questions_at_once_get_their_own_answers(shipped: RegorusPolicy):
    environments = ["staging", "production"] * 20
    decisions = await asyncio.gather(*(shipped.evaluate(question(environment=e)) for e in environments))
    assert [d.effect is Effect.ALLOW for d in decisions] == [e == "staging" for e in environments]


async def test_rule_that_does_not_end_is_a_denial_and_the_loop_goes_on():
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.02)
            ticks += 1

    ticking = asyncio.create_task(tick())
    started = time.monotonic()
    decision = await ask(ENDLESS, timeout_seconds=0.6)
    ticking.cancel()
    assert (decision.effect, decision.reasons) == (Effect.DENY, ("policy_timeout",))
    assert time.monotonic() - started < 5
    assert ticks >= 10


async def test_after_a_timeout_the_next_question_is_answered():
    text = ENDLESS + 'decision := {"effect": "deny", "reasons": ["quick"]} if input.attempt == 2\n'
    text = text.replace("  count(", "  input.attempt == 1\n  count(")
    policy = RegorusPolicy(Bundle({"p.rego": text}, {}), timeout_seconds=0.6)
    assert (await policy.evaluate(question(attempt=1))).reasons == ("policy_timeout",)
    assert (await policy.evaluate(question(attempt=2))).reasons == ("quick",)
    await policy.close()


async def test_cancelled_question_leaves_no_answer_behind():
    text = ENDLESS.replace("  count(", "  input.attempt == 1\n  count(")
    text += 'decision := {"effect": "deny", "reasons": ["quick"]} if input.attempt == 2\n'
    policy = RegorusPolicy(Bundle({"p.rego": text}, {}))
    asking = asyncio.create_task(policy.evaluate(question(attempt=1)))
    await asyncio.sleep(0.4)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await policy.evaluate(question(attempt=2))).reasons == ("quick",)
    await policy.close()


@pytest.mark.parametrize(
    ("rego", "reason"),
    [
        ("package cortexops\n\ndecision := 1 if time.moon_phase(1)\n", "policy_error"),
        ("package cortexops\n\ndecision := {\n", "policy_error"),
        ("package cortexops\n\na if b\n\nb if a\n\ndecision := a\n", "policy_error"),
        ("package cortexops\n\ndecision := 1\n\ndecision := 2\n", "policy_error"),
        ("package cortexops\n\nother := true\n", "policy_error"),
        ('package cortexops\n\ndecision := "x" if input.never\n', "policy_undefined"),
        ("package cortexops\n\ndecision := null\n", "policy_undefined"),
        ("package cortexops\n\ndecision := true\n", "policy_nonsense"),
        ('package cortexops\n\ndecision := {"effect": "yes", "reasons": ["x"]}\n', "policy_nonsense"),
        (
            'package cortexops\n\ndecision := {"effect": "allow", "reasons": ["x"], "but": 1}\n',
            "policy_nonsense",
        ),
        (
            'package cortexops\n\ndecision := {"effect": "require_approval", "reasons": ["x"], "quorum": 0}',
            "policy_nonsense",
        ),
        ('package cortexops\n\ndecision := {"effect": "allow", "reasons": []}\n', "policy_without_reason"),
    ],
)
async def test_what_is_no_answer_is_a_denial(rego: str, reason: str):
    decision = await ask(rego)
    assert (decision.effect, decision.reasons, decision.rule) == (Effect.DENY, (reason,), "fail_closed")


async def test_rule_that_eats_memory_ends_the_child_only():
    doubled = "".join(f's{i} := concat("", [s{i - 1}, s{i - 1}])\n\n' for i in range(1, 30))
    huge = (
        f'package cortexops\n\ns0 := "0123456789"\n\n{doubled}'
        'decision := {"effect": "allow", "reasons": ["x"]} if s29 != ""\n'
    )
    decision = await ask(huge, timeout_seconds=20)
    assert decision.effect is Effect.DENY
    assert decision.reasons == ("policy_error",)


async def test_number_that_is_none_is_a_denial(shipped: RegorusPolicy):
    decision = await shipped.evaluate(question(confidence=float("nan")))
    assert decision.effect is Effect.DENY


async def test_killed_child_is_replaced(shipped: RegorusPolicy):
    await shipped.evaluate(question())
    assert shipped._child is not None
    shipped._child.kill()
    assert (await shipped.evaluate(question())).effect is Effect.ALLOW


async def test_health_says_what_is_wrong():
    policy = RegorusPolicy(Bundle({"p.rego": "package cortexops\n\nx := {\n"}, {}))
    assert "p.rego:4" in (await policy.health() or "")
    await policy.close()
