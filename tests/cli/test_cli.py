"""Commands that need no running product: exit codes, errors that name the field, generated roles, doctor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.controlplane import ControlPlane, missing_parts

ROOT = Path(__file__).resolve().parents[2]
CLI = Path(sys.executable).parent / "cortexops"
_MISSING = missing_parts()


def run(*arguments: str, cwd: Path, code: int, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(CLI), *arguments],
        cwd=cwd,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("CORTEXOPS_")}, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def test_help_is_the_answer_to_nothing(tmp_path: Path) -> None:
    assert "investigate" in run("--help", cwd=tmp_path, code=0).stdout
    run("no-such-command", cwd=tmp_path, code=2)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("gateway: {prot: 80}", "gateway.prot"),
        ("gateway: {host: 0.0.0.0}", "set gateway.token"),
        ("console: {host: 0.0.0.0}", "token_sha256"),
        ("worker: {metrics_host: 0.0.0.0}", "worker.metrics_token"),
        ("clusters: [{name: a}, {name: a}]", "two clusters have the same name"),
        ("- not\n- a mapping", "must be a mapping"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_wrong_settings_are_refused_by_name(tmp_path: Path, content: str, field: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content, "utf-8")
    done = run("incidents", "list", cwd=tmp_path, code=2, CORTEXOPS_CONFIG=str(file))
    assert field in done.stderr


def test_a_worker_refuses_a_policy_that_does_not_parse_and_names_file_and_line(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "broken.rego").write_text("package cortexops\n\ndecision := {\n", "utf-8")
    done = run("policy", "test", str(policies), cwd=tmp_path, code=1)
    assert "broken.rego" in done.stderr
    assert "line" in done.stderr or ":3" in done.stderr or ":4" in done.stderr


def test_an_unreachable_database_is_one_sentence_without_the_password(tmp_path: Path) -> None:
    dsn = "postgresql+psycopg://u:hunter22@127.0.0.1:1/x"
    done = run("incidents", "list", cwd=tmp_path, code=1, CORTEXOPS_POSTGRES__DSN=dsn)
    assert "Postgres" in done.stderr
    assert "hunter22" not in done.stdout + done.stderr


def test_an_unreachable_cluster_is_named(tmp_path: Path) -> None:
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "secret-token-value"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig), "utf-8")
    alert = {
        "version": "4",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "PodCrashLooping", "namespace": "shop", "deployment": "api"},
                "annotations": {},
                "startsAt": "2026-01-01T00:00:00Z",
            }
        ],
    }
    (tmp_path / "alert.json").write_text(json.dumps(alert), "utf-8")
    done = subprocess.run(
        [str(CLI), "investigate", "--alert", "alert.json", "--kubeconfig", "kubeconfig", "-o", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "secret-token-value" not in said
    if done.returncode == 0:
        (incident,) = json.loads(done.stdout)["incidents"]
        assert incident["verdict"] == "unknown"
        assert "cannot be reached" in said
    else:
        assert done.returncode == 1
        assert "cannot be reached" in said


def documents(tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(run("rbac", *arguments, cwd=tmp_path, code=0).stdout))


def test_roles_separate_reading_from_writing(tmp_path: Path) -> None:
    roles = {d["metadata"]["name"]: d for d in documents(tmp_path) if d["kind"] == "ClusterRole"}
    reading = {verb for rule in roles["cortexops-investigator"]["rules"] for verb in rule["verbs"]}
    assert reading == {"get", "list", "watch"}
    writing = [
        rule for rule in roles["cortexops-remediator"]["rules"] if set(rule["verbs"]) - {"get", "list"}
    ]
    assert {resource for rule in writing for resource in rule["resources"]} == {
        "deployments", "statefulsets", "daemonsets", "pods", "pods/eviction", "nodes", "jobs", "cronjobs",
        "horizontalpodautoscalers", "persistentvolumeclaims", "configmaps", "secrets",
    }  # fmt: skip
    assert not any(
        "*" in rule["verbs"] + rule["resources"] for role in roles.values() for rule in role["rules"]
    )
    in_namespace = documents(tmp_path, "--namespace", "shop")
    assert {d["kind"] for d in in_namespace} == {"Role", "RoleBinding"}


@pytest.mark.realcluster
@pytest.mark.skipif(bool(_MISSING), reason=_MISSING or "")
async def test_a_real_control_plane_accepts_the_roles(tmp_path: Path, control_plane: ControlPlane) -> None:
    manifest = tmp_path / "rbac.yaml"
    manifest.write_text(run("rbac", cwd=tmp_path, code=0).stdout, "utf-8")
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run(
        [
            str(kubectl),
            "--kubeconfig",
            control_plane.kubeconfig("admin"),
            "apply",
            "--dry-run=server",
            "-f",
            str(manifest),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_doctor_notices_a_package_of_somebody_else(tmp_path: Path) -> None:
    foreign = tmp_path / "elsewhere" / "workflows"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("", "utf-8")
    code = "from cortexops.cli.doctor import packages\nfor f in packages(): print(f.ok, f.what, f.remedy)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(foreign.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("False package workflows another distribution") for line in lines), done.stderr
    assert any(line.startswith("True package activities") for line in lines)
