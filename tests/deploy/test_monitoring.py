"""Prometheus' rules and Grafana's dashboard: accepted, about metrics that exist, and right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from cortexops import metrics
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.approval import ApprovalState
from cortexops.domain.incident import IncidentState
from cortexops.domain.signal import SignalFate
from cortexops.domain.slo import WINDOWS
from tests.deploy.files import ROOT, SERVICES
from workers.roles import ROLES

RULES = (ROOT / "deploy/prometheus/rules.yml").read_text("utf-8")
CONFIG = (ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8")
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/cortexops.json").read_text("utf-8"))
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
FAMILIES = {
    family.name: family
    for thing in vars(metrics).values()
    if isinstance(thing, MetricWrapperBase)
    for family in thing.describe()
}
SAMPLES = {f"{n}_total" if f.type == "counter" else n for n, f in FAMILIES.items()} | {
    f"{n}{suffix}"
    for n, f in FAMILIES.items()
    if f.type == "histogram"
    for suffix in ("_bucket", "_sum", "_count")
}
LABEL_VALUES = {
    "state": {state.value for state in IncidentState},
    "window": set(WINDOWS),
    "fate": {fate.value for fate in SignalFate},
    "result": {str(o) for o in ApplyOutcome}
    | {str(s) for s in ApprovalState}
    | {"compensated", "compensation_failed"},
}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed"
)


def promtool(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    used = {name for text in [RULES, *EXPRESSIONS] for name in re.findall(r"\bcortexops_[a-z_]+", text)}
    assert used <= SAMPLES, used - SAMPLES


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(EXPRESSIONS)
    assert not [name for name in FAMILIES if name not in shown]


def test_the_dashboard_has_the_panels_that_operators_are_promised() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert {"Correlation Latency", "Workflow Success Rates", "LLM Token Usage"} <= set(titles)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(titles)
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    file = ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml"
    uid = yaml.safe_load(file.read_text("utf-8"))["datasources"][0]["uid"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {uid}
    provider = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/cortexops.yml").read_text("utf-8")
    )
    folder = provider["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]


@pytest.mark.parametrize(("label", "known"), LABEL_VALUES.items())
def test_label_values_in_rules_and_dashboard_are_ones_that_the_code_sets(label: str, known: set[str]) -> None:
    for text in [RULES, *EXPRESSIONS]:
        for values in re.findall(rf'\b{label}(?:=|=~|!=|!~)"([^"]+)"', text):
            assert set(values.split("|")) <= known, values


@pytest.mark.parametrize(
    "line",
    [
        "cortexops_active_incidents)) > 5",
        "cortexops_slo_error_budget_remaining) < 0.25",
        "cortexops_sla_compliance_percentage) < 99",
        'cortexops_slo_burn_rate{window="1h"}) > 14.4',
        "sum(cortexops_partitions_owned) < scalar(max(cortexops_partitions_configured)) ",
    ],
)
def test_the_thresholds_are_the_promised_ones(line: str) -> None:
    assert any(line in rule["expr"] for rule in alerts())


def test_every_role_is_scraped_at_the_port_where_it_serves() -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load(CONFIG)["scrape_configs"]}
    assert set(jobs) == {f"cortexops-{role}" for role in ROLES}
    for role in ROLES:
        found = jobs[f"cortexops-{role}"]["dns_sd_configs"][0]
        environment = SERVICES[role]["environment"]
        own = environment.get(f"CORTEXOPS_{role.upper()}__PORT")
        assert found["names"] == [role]
        assert str(found["port"]) == own or environment["CORTEXOPS_WORKER__METRICS_PORT"]
        assert ("authorization" in jobs[f"cortexops-{role}"]) is (own is None)
        assert f'absent(up{{job="cortexops-{role}"}})' in RULES


def test_every_alert_says_how_urgent_it_is_and_what_happened() -> None:
    for rule in alerts():
        assert rule["alert"].startswith("CortexOps")
        assert rule["labels"]["severity"] in ("warning", "critical")  # type: ignore[index]
        assert rule["annotations"]["summary"]  # type: ignore[index]


@needs_promtool
def test_prometheus_accepts_configuration_rules_and_the_dashboards_expressions(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x", "utf-8")
    assert "/run/secrets/metrics-token" in CONFIG
    (tmp_path / "prometheus.yml").write_text(
        CONFIG.replace("/run/secrets/metrics-token", str(token)), "utf-8"
    )
    (tmp_path / "rules.yml").write_text(RULES, "utf-8")
    recorded = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(EXPRESSIONS)]
    (tmp_path / "panels.yml").write_text(
        json.dumps({"groups": [{"name": "panels", "rules": recorded}]}), "utf-8"
    )
    promtool("check", "config", "prometheus.yml", cwd=tmp_path)
    promtool("check", "rules", "rules.yml", "panels.yml", cwd=tmp_path)


@needs_promtool
def test_each_alert_fires_when_it_should_and_is_silent_when_it_should_be(tmp_path: Path) -> None:
    for file in (ROOT / "deploy/prometheus/rules.yml", ROOT / "tests/deploy/rules_test.yml"):
        shutil.copy(file, tmp_path)
    promtool("test", "rules", "rules_test.yml", cwd=tmp_path)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load((ROOT / "tests/deploy/rules_test.yml").read_text("utf-8"))["tests"]
    asked = [case for test in cases for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in asked if case.get("exp_alerts")}
    silent = {case["alertname"] for case in asked if not case.get("exp_alerts")}
    names = {rule["alert"] for rule in alerts()}
    assert fires == names
    assert silent == names
