"""Why a bundle decides as it does, on both engines; and where its rules look."""

from __future__ import annotations

import pytest

from cortexops.adapters.policy import shipped_bundle
from cortexops.adapters.policy_bundle import Bundle
from cortexops.adapters.policy_explain import explain_on_opa, explain_on_regorus
from cortexops.adapters.policy_sources import Sources
from cortexops.domain.errors import TemporaryError
from cortexops.domain.policy import Effect
from sandbox.engines.ports import free_port
from tests.policies.support import POLICIES, opa_arguments, opa_binary, opa_server, question


def test_every_rule_that_fired_is_told_with_its_place_and_what_it_looked_at() -> None:
    asked = question(environment="production", blast_radius={"replicas": 40}, confidence=0.6).document()
    found = explain_on_regorus(shipped_bundle(), asked)
    assert found.decision.effect is Effect.REQUIRE_APPROVAL
    by_reason = {fired.reason: fired for fired in found.fired}
    assert set(by_reason) == set(found.decision.reasons)
    many = by_reason["many_replicas"]
    assert (many.verdict, many.rule, many.quorum) == ("asks people", "approval-blast-radius", 1)
    assert [place.file for place in many.places] == ["blast_radius.rego"]
    assert 'reason": "many_replicas' in many.places[0].source
    assert many.looked_at["input.blast_radius.replicas"] == 40
    assert many.looked_at["data.cortexops.config.blast_radius.replicas"] == 10
    moderate = by_reason["confidence_moderate"].looked_at
    assert (moderate["input.confidence"], moderate["data.cortexops.config.confidence.unasked"]) == (0.6, 0.7)


def test_denials_approvals_and_permits_that_were_outweighed_are_told_too() -> None:
    found = explain_on_regorus(shipped_bundle(), question(attempt=6).document())
    assert [(f.verdict, f.reason) for f in found.fired] == [
        ("denies", "attempts_exhausted"),
        ("permits", "low_risk_outside_production"),
    ]


def test_an_engine_that_complains_is_quoted() -> None:
    bundle = Bundle({"p.rego": "package cortexops\n\ndecision := time.moon_phase(input.now)\n"}, {})
    found = explain_on_regorus(bundle, question().document())
    assert (found.decision.effect, found.decision.reasons) == (Effect.DENY, ("policy_error",))
    assert "p.rego:3" in found.problem


def test_a_bundle_without_the_three_sets_is_explained_by_its_decision_alone() -> None:
    bundle = Bundle(
        {"p.rego": 'package cortexops\n\ndecision := {"effect": "allow", "reasons": ["x"]}\n'}, {}
    )
    found = explain_on_regorus(bundle, question().document())
    assert (found.decision.effect, found.fired) == (Effect.ALLOW, ())


def test_every_reason_of_the_pack_has_a_place() -> None:
    sources = Sources(shipped_bundle().modules)
    reasons = {
        (rule.name, reason)
        for rule in sources.rules
        if rule.name in ("denials", "approvals", "permits")
        for reason in [rule.text.split('"reason": "')[1].split('"')[0]]
    }
    assert len(reasons) > 25
    for collection, reason in reasons:
        places = sources.giving(collection, reason)
        assert places, reason
        for place in places:
            assert sources.looks_at(place), (place.file, place.line)


@pytest.mark.opa
async def test_both_engines_explain_alike() -> None:
    asked = question(environment="production", risk="high", reversible=False, verdict="hypothesis").document()
    with opa_server(opa_binary(), *opa_arguments(POLICIES)) as url:
        opa = await explain_on_opa(url, asked)
    regorus = explain_on_regorus(shipped_bundle(), asked)
    assert opa.decision.model_copy(update={"engine": "", "revision": ""}) == regorus.decision.model_copy(
        update={"engine": "", "revision": ""}
    )
    assert [(f.verdict, f.rule, f.reason, f.quorum) for f in opa.fired] == [
        (f.verdict, f.rule, f.reason, f.quorum) for f in regorus.fired
    ]
    assert [f.looked_at for f in opa.fired] == [f.looked_at for f in regorus.fired]


async def test_a_server_that_is_away_is_said() -> None:
    with pytest.raises(TemporaryError, match="does not answer"):
        await explain_on_opa(f"http://127.0.0.1:{free_port()}", {})
