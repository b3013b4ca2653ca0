"""Documents cannot lag: what exists and is not documented fails here."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from typer.main import get_command

from activities.actions import ACTIONS
from activities.analyzers import ANALYZERS
from activities.collectors import COLLECTORS
from activities.notifiers import NOTIFIERS
from cortexops import metrics
from cortexops.cli.main import app
from cortexops.domain.incident import IncidentState
from cortexops.settings import Settings
from ingest.sources import SOURCES
from workers.roles import ROLES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
OPERATIONS = (ROOT / "docs/operations.md").read_text("utf-8")
EXTENDING = (ROOT / "docs/extending.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text("utf-8")


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from settings(annotation, f"{prefix}{name}.")
            continue
        inner = [a for a in typing.get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
        if inner:
            yield from settings(inner[0], f"{prefix}{name}[].")
        else:
            yield prefix + name, field.description or ""


def commands(command: Any, name: str = "cortexops") -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for child, inner in command.commands.items():
            yield from commands(inner, f"{name} {child}")
    else:
        yield name, command


@pytest.mark.parametrize(("name", "description"), list(settings(Settings)))
def test_every_setting_is_documented(name: str, description: str) -> None:
    assert description, f"{name} has no description in cortexops/settings.py"
    assert f"| `{name}` |" in OPERATIONS


def test_no_document_describes_a_setting_that_is_gone() -> None:
    section = OPERATIONS.split("## Settings")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)) == {
        name for name, _ in settings(Settings)
    }


@pytest.mark.parametrize(
    "name",
    [
        family.name + ("_total" if family.type == "counter" else "")
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
    ],
)
def test_every_metric_is_documented(name: str) -> None:
    assert f"| `{name}` |" in OPERATIONS


@pytest.mark.parametrize(("name", "command"), list(commands(get_command(app))))
def test_every_command_and_option_is_documented(name: str, command: Any) -> None:
    rows = [line for line in OPERATIONS.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"{name} has no row in docs/operations.md"
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--") and option not in ("--output", "--help"):
                assert f"`{option}`" in rows[0], f"{name} {option}"


@pytest.mark.parametrize(
    "kind",
    [kind for registry in (ACTIONS, ANALYZERS, COLLECTORS, NOTIFIERS, SOURCES) for kind in registry.kinds],
)
def test_every_plug_in_is_documented(kind: str) -> None:
    assert f"`{kind}`" in EXTENDING


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_role_is_documented(role: str) -> None:
    assert f"| `{role}` |" in OPERATIONS


@pytest.mark.parametrize("state", list(IncidentState))
def test_every_state_is_documented(state: IncidentState) -> None:
    assert state.value in ARCHITECTURE


def test_every_alerting_rule_is_documented() -> None:
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text("utf-8")
    for name in re.findall(r"- alert: (\w+)", rules):
        assert f"`{name}`" in OPERATIONS, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
        if "://" not in link:
            assert (document.parent / link).exists(), link


def test_no_registry_address_and_no_path_of_a_machine_in_documents_or_pins() -> None:
    for file in [*DOCUMENTS, ROOT / "constraints.txt", ROOT / "pyproject.toml"]:
        text = file.read_text("utf-8")
        assert not re.search(r"pypi\.org|npmjs\.org|files\.pythonhosted|index-url|/simple/", text), file.name
        assert not re.search(r"(?<![\w.~])/(?:home|root|work)/\w", text), file.name
