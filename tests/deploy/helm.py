"""Renders the chart with Helm's own engine: its SDK (PyPI helm-python-sdk) or the `helm` program."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.files import ROOT

CHART = ROOT / "deploy/helm/cortexops"
MISSING = "" if importlib.util.find_spec("helm_python") or shutil.which("helm") else (
    "neither the package helm-python-sdk nor helm is installed"
)  # fmt: skip
_SDK = """
import json, sys
import helm_python as helm
asked = json.load(sys.stdin)
if asked["lint"]:
    report = helm.lint(asked["chart"], asked["values"], strict=True)
    print(json.dumps([m for m in report["messages"] if m["severity"] > 1] + report["errors"]))
else:
    try:
        chart = helm.Chart.load(asked["chart"])
        files = chart.render(asked["values"], name=asked["name"], namespace=asked["namespace"])
    except helm.HelmError as error:
        sys.exit(str(error))
    print(json.dumps([text for path, text in files.items() if path.endswith(".yaml")]))
"""


class RenderError(Exception):
    """What Helm says."""


def _sdk(**asked: Any) -> list[Any]:
    """In a process of its own: the SDK brings Go's runtime along."""
    done = subprocess.run(
        [sys.executable, "-c", _SDK],
        input=json.dumps({"chart": str(CHART), **asked}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RenderError(done.stderr)
    found: list[Any] = json.loads(done.stdout)
    return found


def _program(*arguments: str, values: dict[str, Any]) -> str:
    done = subprocess.run(
        ["helm", *arguments, "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RenderError(done.stdout + done.stderr)
    return done.stdout


@functools.lru_cache(maxsize=32)
def _rendered(values: str, name: str, namespace: str) -> str:
    given = json.loads(values)
    if importlib.util.find_spec("helm_python"):
        return "\n---\n".join(_sdk(lint=False, values=given, name=name, namespace=namespace))
    return _program("template", name, str(CHART), "--namespace", namespace, values=given)


def render(*, name: str = "cortexops", namespace: str = "cortexops", **values: Any) -> list[dict[str, Any]]:
    """The objects of a release. Raises `RenderError`."""
    text = _rendered(json.dumps({"clusterName": "eu-1", **values}), name, namespace)
    return [document for document in yaml.safe_load_all(text) if document]


def lint() -> list[Any]:
    """Complaints of `helm lint --strict`, hints left out."""
    values = {"clusterName": "eu-1"}
    if importlib.util.find_spec("helm_python"):
        return _sdk(lint=True, values=values)
    _program("lint", str(CHART), "--strict", values=values)
    return []


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind, by name."""
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == kind}


def write(documents: list[dict[str, Any]], path: Path) -> Path:
    path.write_text(yaml.safe_dump_all(documents), "utf-8")
    return path
