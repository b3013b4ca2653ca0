"""docker-compose.yml and what it mounts, checked without a Docker engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from cortexops import metrics
from cortexops.settings import load_settings
from workers.roles import ROLES

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("build") == "."}
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::\?[^}]*)?\}")

STRING_OR_LIST = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
SCHEMA = {
    "type": "object",
    "required": ["services", "volumes"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {
                    "image": {"type": "string", "pattern": r"^[a-z0-9./-]+:[A-Za-z0-9._-]+$"},
                    "build": {"type": "string"},
                    "command": STRING_OR_LIST,
                    "entrypoint": STRING_OR_LIST,
                    "environment": {
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                    },
                    "ports": {
                        "type": "array",
                        "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"},
                    },
                    "volumes": {"type": "array", "items": {"type": "string"}},
                    "configs": {"type": "array"},
                    "tmpfs": {"type": "array", "items": {"type": "string"}},
                    "cap_drop": {"type": "array", "items": {"type": "string"}},
                    "security_opt": {"type": "array", "items": {"type": "string"}},
                    "read_only": {"type": "boolean"},
                    "restart": {"enum": ["unless-stopped", "on-failure"]},
                    "stop_grace_period": {"type": "string"},
                    "logging": {"type": "object"},
                    "depends_on": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "required": ["condition"],
                            "properties": {
                                "condition": {"enum": ["service_healthy", "service_completed_successfully"]}
                            },
                        },
                    },
                    "healthcheck": {
                        "type": "object",
                        "anyOf": [{"required": ["test"]}, {"required": ["disable"]}],
                    },
                },
            },
        },
        "volumes": {"type": "object"},
        "configs": {"type": "object"},
    },
}


def example() -> set[str]:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    return {line.partition("=")[0] for line in lines if line and not line.startswith("#")}


def filled(text: str) -> str:
    """The value with every variable replaced by something that fits its place."""
    samples = {"PEOPLE": json.dumps([{"id": "ana", "roles": ["oncall"], "token_sha256": "0" * 64}])}
    return VARIABLE.sub(lambda match: samples.get(match.group(1), "sample"), text)


def test_the_file_has_the_shape_that_compose_expects() -> None:
    jsonschema.validate({k: v for k, v in COMPOSE.items() if not k.startswith("x-")}, SCHEMA)


def test_every_role_has_a_service() -> None:
    commands = [service["command"] for service in OURS.values() if "command" in service]
    assert sorted(role for command in commands for role in command) == sorted(ROLES)


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_settings_accept_what_the_service_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in OURS[name]["environment"].items():
        monkeypatch.setenv(key, filled(value))
    settings = load_settings()
    assert settings.policy.engine == "opa"
    assert settings.worker.metrics_token is not None


def test_only_the_remediator_gets_the_writing_identity() -> None:
    for name, service in OURS.items():
        holds = any("WRITE_KUBECONFIG" in volume for volume in service.get("volumes", []))
        assert holds is (name == "remediator"), name


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_are_confined(name: str) -> None:
    service = OURS[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_no_secret_has_a_default_and_every_variable_is_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    used = set(VARIABLE.findall(text))
    assert used == example()
    assert not re.search(r"\$\{[A-Z_]+:-", text)
    for line in (ROOT / ".env.example").read_text("utf-8").splitlines():
        assert not line or line.startswith("#") or line.endswith("="), line
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN|API_KEY|PWD", key):
                assert value.startswith("${"), f"{name}: {key}"


def test_images_are_pinned_and_long_running_services_have_health_checks() -> None:
    for name, service in SERVICES.items():
        assert not service["image"].endswith(":latest"), name
        if service["restart"] == "unless-stopped" and name not in OURS:  # ours inherit the Dockerfile's
            assert "healthcheck" in service, name


def test_what_is_mounted_from_here_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source


def test_dependencies_name_services() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    known = {
        sample
        for thing in vars(metrics).values()
        if isinstance(thing, MetricWrapperBase)
        for family in thing.describe()
        for sample in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }
    texts = [
        (ROOT / "deploy/prometheus/rules.yml").read_text("utf-8"),
        (ROOT / "deploy/grafana/dashboards/cortexops.json").read_text("utf-8"),
    ]
    used = {name for text in texts for name in re.findall(r"\bcortexops_[a-z_]+", text)}
    assert used <= known, used - known
    families = {name for name in known if not name.endswith(("_total", "_bucket"))}
    shown = texts[1]
    assert not [name for name in families if name not in shown]


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed"
)
def test_prometheus_accepts_configuration_and_rules(tmp_path: Path) -> None:
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8")
    token = tmp_path / "token"
    token.write_text("x", "utf-8")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/metrics-token", str(token)), "utf-8")
    shutil.copy(ROOT / "deploy/prometheus/rules.yml", tmp_path)
    for what in ("config", "rules"):
        file = tmp_path / ("prometheus.yml" if what == "config" else "rules.yml")
        done = subprocess.run(
            ["promtool", "check", what, str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_keeps_the_rules_of_linters() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    bases = [line for line in lines if line.startswith("FROM ")]
    assert all(re.match(r"FROM python:\d+\.\d+\.\d+-slim-\w+", line) for line in bases)  # DL3006, DL3007
    assert "pip install --no-cache-dir" in text  # DL3042
    assert not re.search(
        r"^(ADD|MAINTAINER|RUN (cd|sudo)) ", text, re.MULTILINE
    )  # DL3020, DL4000, DL3003, DL3004
    users = [line for line in lines if line.startswith("USER ")]
    assert users[-1] == "USER 10001:10001"  # DL3002: not root at the end
    assert re.search(r"^ENTRYPOINT \[", text, re.MULTILINE)  # DL3025
    assert "HEALTHCHECK" in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for part in source.split():
            assert (ROOT / part).exists(), part
