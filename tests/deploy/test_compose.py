"""docker-compose.yml, checked without a Docker engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest

from cortexops.settings import load_settings
from tests.deploy.files import COMPOSE, OURS, ROOT, SAMPLE, SERVICES, VARIABLE, filled
from workers.roles import ROLES

LIST = {"type": "array", "items": {"type": "string"}}
DURATION = {"type": "string", "pattern": r"^\d+(s|m)$"}
HEALTHCHECK = {
    "oneOf": [
        {"type": "object", "required": ["disable"], "properties": {"disable": {"const": True}}},
        {
            "type": "object",
            "required": ["test", "interval", "timeout", "retries"],
            "additionalProperties": False,
            "properties": {
                "test": {"type": "array", "items": {"type": "string"}, "minItems": 2},
                "interval": DURATION,
                "timeout": DURATION,
                "start_period": DURATION,
                "retries": {"type": "integer", "minimum": 1},
            },
        },
    ]
}
SERVICE = {
    "type": "object",
    "required": ["image", "restart", "healthcheck", "logging", "security_opt"],
    "additionalProperties": False,
    "properties": {
        "image": {"type": "string", "pattern": r"^[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)*$"},
        "build": {"const": "."},
        "profiles": LIST,
        "command": LIST,
        "entrypoint": LIST,
        "environment": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
        "volumes": {
            "type": "array",
            "items": {
                "type": "string",
                "pattern": r"^(\./[\w./-]+:/[\w./-]+:ro|[a-z]+:/[\w./-]+|\$\{.+:ro)$",
            },
        },
        "secrets": LIST,
        "tmpfs": LIST,
        "cap_drop": {"const": ["ALL"]},
        "security_opt": {"const": ["no-new-privileges:true"]},
        "read_only": {"type": "boolean"},
        "init": {"type": "boolean"},
        "pids_limit": {"type": "integer"},
        "restart": {"enum": ["unless-stopped", "on-failure", "no"]},
        "stop_grace_period": DURATION,
        "logging": {"type": "object", "required": ["driver", "options"]},
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["condition"],
                "additionalProperties": False,
                "properties": {"condition": {"enum": ["service_healthy", "service_completed_successfully"]}},
            },
        },
        "healthcheck": HEALTHCHECK,
    },
}
SCHEMA = {
    "type": "object",
    "required": ["name", "services", "volumes", "secrets"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
        "secrets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["environment"],
                "additionalProperties": False,
                "properties": {"environment": {"type": "string"}},
            },
        },
    },
}
USES = {
    "gateway": {"NATS"},
    "correlator": {"TEMPORAL", "NATS", "POSTGRES"},
    "orchestrator": {"TEMPORAL", "POSTGRES", "POLICY"},
    "investigator": {"TEMPORAL", "POSTGRES", "MEMORY"},
    "remediator": {"TEMPORAL", "POSTGRES"},
    "console": {"TEMPORAL", "POSTGRES"},
}
"""The engines that each role's parts are built from (`workers/roles.py`); it is given those and no others."""


def example() -> set[str]:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    return {line.partition("=")[0] for line in lines if line and not line.startswith("#")}


def compose_client() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, check=False, timeout=20)
            if done.returncode == 0:
                return command
    return None


def test_the_file_has_the_shape_that_we_rely_on() -> None:
    jsonschema.validate({k: v for k, v in COMPOSE.items() if not k.startswith("x-")}, SCHEMA)


def test_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    client = compose_client()
    if client is None:
        pytest.skip("no Compose client is installed (docker compose version)")
    env = tmp_path / "env"
    env.write_text("".join(f"{name}={filled('${' + name + '}')}\n" for name in sorted(example())), "utf-8")
    done = subprocess.run(
        [*client, "--file", "docker-compose.yml", "--env-file", str(env), "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_every_role_has_a_service() -> None:
    commands = [service["command"] for service in OURS.values() if "command" in service]
    assert sorted(role for command in commands for role in command) == sorted(ROLES)


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_settings_accept_what_the_service_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith("CORTEXOPS_")]:
        monkeypatch.delenv(key)
    given = {k: filled(v) for k, v in OURS[name]["environment"].items() if v is not None}
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    settings = load_settings()
    for key, value in given.items():
        path = key.removeprefix("CORTEXOPS_").lower().split("__")
        if path in (["probe_url"], ["token"]):
            continue
        found = settings
        for part in path:
            assert part in type(found).model_fields, f"{key} is no setting"
            found = getattr(found, part)
        shown = found.get_secret_value() if hasattr(found, "get_secret_value") else found
        assert path in (["clusters"], ["people"]) or str(shown) == value


@pytest.mark.parametrize("name", sorted(USES))
def test_a_role_is_given_the_engines_that_it_uses_and_no_others(name: str) -> None:
    engines = {"TEMPORAL", "NATS", "POSTGRES", "POLICY", "MEMORY"}
    given = {key.removeprefix("CORTEXOPS_").split("__")[0] for key in OURS[name]["environment"]}
    assert given & engines == USES[name]


def test_only_the_migration_has_the_password_of_the_schemas_owner() -> None:
    holders = {n for n, s in SERVICES.items() if "CORTEXOPS_OWNER_PASSWORD" in str(s.get("environment"))}
    assert holders == {"migrate", "postgres"}  # postgres makes the user


def test_the_reading_identity_is_where_clusters_are_read_and_the_writing_one_only_in_the_remediator() -> None:
    def holders(variable: str) -> set[str]:
        return {n for n, s in SERVICES.items() if any(variable in v for v in s.get("volumes", []))}

    assert holders("READ_KUBECONFIG") == {"gateway", "correlator", "investigator"}
    assert holders("WRITE_KUBECONFIG") == {"remediator"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_are_confined(name: str) -> None:
    service = OURS[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(volume.endswith(":ro") for volume in service.get("volumes", []))


def test_no_secret_has_a_default_and_every_variable_is_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    found = [
        match for line in text.splitlines() if not line.startswith("#") for match in VARIABLE.findall(line)
    ]
    assert {name for name, _, _ in found} == example()
    defaults = {name for name, sign, _ in found if sign != "?"}
    assert defaults == {"LOG_LEVEL"}
    for name, sign, message in found:
        assert sign != "?" or message == f"set {name} in .env"


def test_the_example_holds_no_value_and_explains_each() -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    for before, line in pairwise(lines):
        if line and not line.startswith("#"):
            assert line.endswith("="), line
            assert before.startswith("# "), f"{line} has no comment"


def test_no_secret_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if value is not None and re.search(r"PASSWORD|TOKEN|API_KEY|PWD|SECRET|DSN|NATS__URL", key):
                assert filled(value) != value, f"{name}: {key} is written out"
                rest = filled(value).replace(SAMPLE, "")
                assert not re.search(r"[0-9a-f]{16,}", rest), f"{name}: {key}"


def test_what_is_mounted_from_here_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"], source


def test_dependencies_wait_for_what_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            other = SERVICES[needed]
            ends = other["restart"] == "on-failure"
            wanted = "service_completed_successfully" if ends else "service_healthy"
            assert how["condition"] == wanted, f"{name} → {needed}"
            assert ends or "test" in other["healthcheck"], f"{needed} has no health check"


def test_long_running_services_have_health_checks() -> None:
    for name, service in SERVICES.items():
        if service["restart"] == "unless-stopped":
            assert "test" in service["healthcheck"], name


def test_the_health_check_in_the_file_is_the_images_own() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    command = re.search(r"HEALTHCHECK[^\[]*\[(.*)\]", dockerfile)
    assert command is not None
    image = [part.strip().strip('"') for part in command[1].split(",")]
    for name in ROLES:
        assert OURS[name]["healthcheck"]["test"] == ["CMD", *image]
