"""The scenario files: valid, complete, and the alerts shaped as Alertmanager's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cortexops.domain.errors import InvalidInput
from sandbox.scenarios import load_scenario, scenario_names
from sandbox.scenarios.alertmanager import fingerprint, webhook
from sandbox.scenarios.schema import Step
from sandbox.scenarios.templates import expand, span

NOW = datetime(2026, 3, 19, 15, 20, tzinfo=UTC)


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_is_valid_and_keeps_its_truth_consistent(name: str) -> None:
    scenario = load_scenario(name)
    truth = scenario.truth
    assert (truth.root_cause is None) == (truth.verdict == "external")
    assert truth.action is not None or not truth.heals
    spaces = {obj["metadata"]["name"] for obj in scenario.objects if obj["kind"] == "Namespace"}
    marked = {
        obj["metadata"]["name"]
        for obj in scenario.objects
        if obj["kind"] == "Namespace"
        and obj["metadata"]["labels"]["environment"] in ("production", "staging")
    }
    assert spaces == marked
    assert scenario.home in spaces
    used = {obj["metadata"]["namespace"] for obj in scenario.objects if obj["kind"] != "Namespace"}
    assert used <= spaces
    assert len({model.name for model in scenario.models}) == len(scenario.models)


def test_no_two_scenarios_share_a_namespace_or_a_node() -> None:
    plans = [load_scenario(name) for name in scenario_names()]
    spaces = [space for plan in plans for space in plan.namespaces]
    assert len(spaces) == len(set(spaces))
    nodes = [node for plan in plans for node in plan.nodes]
    assert len(nodes) == len(set(nodes))
    broken = {step.break_node for plan in plans for step in plan.steps if step.break_node}
    assert broken <= set(nodes)


def test_the_needed_scenarios_are_there() -> None:
    assert set(scenario_names()) >= {
        "oom-after-release",
        "configmap-changed-hours-ago",
        "image-typo-rollout",
        "bad-readiness-probe",
        "node-not-ready-cascade",
        "fix-does-not-help",
        "dependency-outside-the-cluster",
    }


def test_an_unknown_scenario_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidInput, match="oom-after-release"):
        load_scenario("../secrets")


def test_a_step_must_do_exactly_one_thing() -> None:
    with pytest.raises(ValueError, match="exactly one thing"):
        Step(title="nothing")
    with pytest.raises(ValueError, match="exactly one thing"):
        Step(title="both", break_node="node-1", heal_node="node-2")


def test_ages_and_pods_are_filled_in() -> None:
    text = expand(
        {"a": ["$ago(1h30m)"], "b": "$pod(shop,app=x)!"}, NOW, lambda ns, labels: f"{ns}-{labels['app']}"
    )
    assert text == {"a": ["2026-03-19T13:50:00Z"], "b": "shop-x!"}
    with pytest.raises(InvalidInput):
        span("soon")


def test_the_webhook_is_alertmanagers_version_4() -> None:
    scenario = load_scenario("node-not-ready-cascade")
    body = webhook(scenario.alerts, "sandbox", NOW, lambda *_: "pod")
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "cortexops")
    assert len(body["alerts"]) == 9
    assert body["commonLabels"] == {"cluster": "sandbox", "job": "kube-state-metrics"}
    first = body["alerts"][0]
    assert first["startsAt"] == "2026-03-19T15:20:00Z"
    assert first["endsAt"] == "0001-01-01T00:00:00Z"
    assert len({alert["fingerprint"] for alert in body["alerts"]}) == 9
    assert fingerprint({}) == "cbf29ce484222325"
