"""A bundle that changes under a running worker: it takes over whole, proven, or not at all."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from cortexops.adapters.policy_bundle import Bundle, load_bundle
from cortexops.adapters.policy_invariants import faults
from cortexops.adapters.policy_reload import ReloadingPolicy
from cortexops.domain.errors import PermanentError
from cortexops.domain.policy import Effect
from tests.policies.support import POLICIES, question

SMALL = """package cortexops

default decision := {"effect": "deny", "reasons": ["unknown"], "rule": "default"}

decision := {"effect": "EFFECT", "reasons": ["sure"], "rule": "sure"} if {
	input.environment == "staging"
	input.risk in {"low", "medium", "high"}
	input.confidence >= 0.1
	input.action.type
	input.blast_radius.replicas >= 0
	is_string(input.now)
	input.attempt >= 1
	is_string(input.verdict)
}
"""
TEST = """package cortexops_test

test_nothing_is_known if data.cortexops.decision.effect == "deny" with input as {}
"""


def write(folder: Path, effect: str = "allow", *, rego: str = SMALL, test: str = TEST) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "small.rego").write_text(rego.replace("EFFECT", effect))
    (folder / "small_test.rego").write_text(test)


def counted(result: str) -> float:
    return REGISTRY.get_sample_value("cortexops_policy_reloads_total", {"result": result}) or 0.0


async def settled(policy: ReloadingPolicy) -> bool:
    """Two looks: a folder must have come to rest."""
    return await policy.look() or await policy.look()


@pytest.fixture
async def policy(tmp_path: Path) -> AsyncIterator[ReloadingPolicy]:
    write(tmp_path / "bundle")
    made = ReloadingPolicy(tmp_path / "bundle")
    yield made
    await made.close()


async def effect(policy: ReloadingPolicy) -> Effect:
    return (await policy.evaluate(question())).effect


async def test_a_proven_bundle_takes_over(policy: ReloadingPolicy, tmp_path: Path) -> None:
    before, taken = policy.revision, counted("taken")
    assert await effect(policy) is Effect.ALLOW
    write(tmp_path / "bundle", "require_approval")
    assert not await policy.look()  # it may still be being written
    assert await policy.look()
    decision = await policy.evaluate(question())
    assert (decision.effect, decision.revision) == (Effect.REQUIRE_APPROVAL, policy.revision)
    assert policy.revision != before
    assert (policy.refused, counted("taken")) == ("", taken + 1)
    assert not await settled(policy)


@pytest.mark.parametrize(
    ("rego", "test", "why"),
    [
        ("package cortexops\n\ndecision := {\n", TEST, "small.rego:4"),
        ("package cortexops\n\nother := 1\n", TEST, "undefined"),
        (SMALL, TEST.replace('"deny"', '"allow"'), "test_nothing_is_known failed"),
        (SMALL, "package cortexops_test\n\ntest_x if {\n", "small_test.rego"),
        (SMALL, "package cortexops_test\n", "failed"),
        (
            'package cortexops\n\ndecision := {"effect": "allow", "reasons": ["x"]}\n',
            "package cortexops_test\n\ntest_it if true\n",
            "does not fail closed",
        ),
        (SMALL.replace('["unknown"]', "[]"), TEST, "policy_without_reason"),
        (SMALL.replace('["unknown"]', '"none"'), TEST, "policy_nonsense"),
    ],
)
async def test_a_bad_bundle_leaves_the_one_before(
    policy: ReloadingPolicy, tmp_path: Path, rego: str, test: str, why: str
) -> None:
    if why == "failed":
        (tmp_path / "bundle/small_test.rego").unlink()
        why = "holds no test"
    else:
        write(tmp_path / "bundle", "require_approval", rego=rego, test=test)
    before, refused = policy.revision, counted("refused")
    assert not await settled(policy)
    assert why in policy.refused
    assert (policy.revision, await effect(policy)) == (before, Effect.ALLOW)
    assert counted("refused") == refused + 1
    assert not await settled(policy)  # looked at once, not again and again
    assert counted("refused") == refused + 1
    write(tmp_path / "bundle", "require_approval")
    assert await settled(policy)
    assert (policy.refused, await effect(policy)) == ("", Effect.REQUIRE_APPROVAL)


async def test_a_folder_that_disappears_leaves_the_bundle(policy: ReloadingPolicy, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "bundle")
    assert not await settled(policy)
    assert "is not a folder" in policy.refused
    assert await effect(policy) is Effect.ALLOW


async def test_questions_under_way_are_answered_by_one_bundle_each(
    policy: ReloadingPolicy, tmp_path: Path
) -> None:
    first = policy.revision
    asking = [asyncio.create_task(policy.evaluate(question())) for _ in range(30)]
    write(tmp_path / "bundle", "require_approval")
    assert await settled(policy)
    asking += [asyncio.create_task(policy.evaluate(question())) for _ in range(30)]
    answers = await asyncio.gather(*asking)
    assert {(a.revision, a.effect) for a in answers} == {
        (first, Effect.ALLOW),
        (policy.revision, Effect.REQUIRE_APPROVAL),
    }


async def test_the_watch_takes_a_change_and_tells_of_it(policy: ReloadingPolicy, tmp_path: Path) -> None:
    told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def noted(engine: str, revision: str) -> None:
        await told.put((engine, revision))

    policy.watch(0.02, noted)
    write(tmp_path / "bundle", "deny")
    assert await asyncio.wait_for(told.get(), 20) == ("regorus", policy.revision)
    assert await effect(policy) is Effect.DENY


def test_the_shipped_pack_holds_the_invariants() -> None:
    assert faults(load_bundle(POLICIES)) == []


def test_a_bundle_that_never_ends_is_refused() -> None:
    endless = SMALL + (
        "\nslow if count([1 | some i in numbers.range(1, 90000); some j in numbers.range(1, 90000); "
        "i * j == 7]) > 0\n"
    )
    bundle = Bundle({"a.rego": endless, "a_test.rego": TEST + "\ntest_slow if data.cortexops.slow\n"}, {})
    with pytest.raises(PermanentError, match="no answer in"):
        _within(bundle)


def _within(bundle: Bundle) -> None:
    """The tests have a minute; here a second must do."""
    from cortexops.adapters import policy_tests

    before, policy_tests._SECONDS = policy_tests._SECONDS, 1.0
    try:
        faults(bundle)
    finally:
        policy_tests._SECONDS = before
