"""The sandbox's scenarios end to end: each has a truth, and nobody else may be blamed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from activities.actions import propose
from activities.oneshot import investigate_payload
from ingest.sources.alertmanager import Alertmanager
from sandbox import scenarios
from sandbox.cluster.simulation import SimulatedCluster
from tests.investigation.support import categories

_SPEED = 20.0


@pytest.mark.parametrize("name", scenarios.names())
async def test_a_scenarios_root_cause_is_found_and_nobody_else_blamed(name):
    async with SimulatedCluster(speed=_SPEED) as simulation:
        plan = await simulation.play(name)
        payload = simulation.alert()
        now = datetime.now(UTC)
        parsed = Alertmanager().parse(payload, cluster=simulation.name, now=now)
        assert parsed.signals and not parsed.rejected
        cluster = await simulation.cluster("investigator")
        report = await investigate_payload(cluster, parsed.signals, now, propose)
    assert len(report["incidents"]) == 1
    (incident,) = report["incidents"]
    cause = incident["root_cause"]
    assert incident["verdict"] == plan.truth.verdict
    assert cause["category"] in {c.value for c in categories(plan.truth.category)}
    truth = plan.truth.root_cause
    if truth is not None:
        named = (cause["resource"]["kind"], cause["resource"]["namespace"], cause["resource"]["name"])
        assert named == (truth.kind, truth.namespace, truth.name)
    targets = {signal.resource.namespace for signal in parsed.signals} | {""}
    assert {h["resource"]["namespace"] for h in incident["hypotheses"]} <= targets
    innocents = {"recommendations", "search", "web-frontend", "mailer"}
    assert not innocents & {h["resource"]["name"] for h in incident["hypotheses"]}
    assert not innocents & {ref["name"] for ref in incident["affected"]}
    feasible = [action["type"] for action in incident["recommended_actions"] if action["feasible"]]
    if plan.truth.action is not None and feasible:
        assert plan.truth.action.type in feasible
    assert incident["recommended_actions"] and all(a["commands"] for a in incident["recommended_actions"])
    assert {fact["id"] for fact in incident["evidence"]} >= set(incident["hypotheses"][0]["evidence"])
