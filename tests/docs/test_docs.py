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
from console import api, operations, slack
from cortexops import metrics
from cortexops.cli.main import app
from cortexops.domain.incident import TRANSITIONS, IncidentState
from cortexops.settings import Settings
from ingest.app import create_gateway
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


def defaults(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from defaults(annotation, f"{prefix}{name}.")
        elif isinstance(field.default, bool | int | float | str) and field.default != "":
            yield prefix + name, field.default


def addresses() -> Iterator[str]:
    routers = [api.router, operations.router, slack.router]
    for route in [*(r for router in routers for r in router.routes), *_gateway_routes()]:
        for method in sorted(getattr(route, "methods", None) or ()):
            if method != "HEAD":
                yield f"{method} {getattr(route, 'path', '')}"


def _gateway_routes() -> list[Any]:
    bus: Any = None  # routes are listed, nothing is sent
    return list(create_gateway(Settings(), bus).routes)


def _metrics() -> Iterator[tuple[str, tuple[str, ...]]]:
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for family in metric.describe():
                suffix = "_total" if family.type == "counter" else ""
                yield family.name + suffix, metric._labelnames


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


@pytest.mark.parametrize(("name", "default"), list(defaults(Settings)))
def test_the_documented_default_is_the_real_one(name: str, default: Any) -> None:
    (row,) = re.findall(rf"^\| `{re.escape(name)}` \| `([^`]*)` \|", OPERATIONS, re.MULTILINE)
    assert row == (f"{default:g}" if isinstance(default, float) else str(default))


@pytest.mark.parametrize("address", sorted(set(addresses())))
def test_every_address_is_documented(address: str) -> None:
    assert f"| `{address}` |" in OPERATIONS


def test_no_document_describes_a_command_or_metric_that_is_gone() -> None:
    for heading, known in (
        ("## Commands", {name for name, _ in commands(get_command(app))}),
        ("## Metrics", {name for name, _ in _metrics()}),
    ):
        section = OPERATIONS.split(f"\n{heading}\n")[1].split("\n## ")[0]
        assert set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)) == known


@pytest.mark.parametrize(("name", "labels"), list(_metrics()))
def test_every_metric_is_documented_with_its_labels(name: str, labels: tuple[str, ...]) -> None:
    assert f"| `{name}` | {', '.join(labels) or 'none'} |" in OPERATIONS


@pytest.mark.parametrize(("name", "command"), list(commands(get_command(app))))
def test_every_command_and_option_is_documented(name: str, command: Any) -> None:
    rows = [line for line in OPERATIONS.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"{name} has no row in docs/operations.md"
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--") and option not in ("--output", "--help"):
                assert f"`{option}`" in rows[0], f"{name} {option}"
    without = OPERATIONS.split("Every command but ")[1].split(" takes `-o json`")[0]
    takes_output = any("--output" in parameter.opts for parameter in command.params)
    assert takes_output is not (f"`{name.removeprefix('cortexops ')}`" in without)


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


def test_the_diagram_of_states_is_the_table_of_the_code() -> None:
    diagram = ARCHITECTURE.split("stateDiagram-v2")[1].split("```")[0]
    drawn = set(re.findall(r"^ *([A-Z_]+) --> ([A-Z_]+)", diagram, re.MULTILINE))
    legal = {(str(before), str(after)) for before, afters in TRANSITIONS.items() for after in afters}
    assert drawn <= legal, drawn - legal
    said_in_words = {"ESCALATED", "MERGED", "RESOLVED", "SUPPRESSED"}
    acting = {"REMEDIATING", "VERIFYING", "ROLLING_BACK"}
    missing = {
        (before, after) for before, after in legal - drawn if before in acting or after not in said_in_words
    }
    assert not missing


def test_every_alerting_rule_is_documented_and_no_other() -> None:
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text("utf-8")
    section = OPERATIONS.split("\n## Alerts\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(documented) == sorted(re.findall(r"- alert: (\w+)", rules))


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text("utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        goal = document.parent / path if path else document
        assert goal.exists(), link
        assert not anchor or anchor in anchors(goal), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_documents_name_exist(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    tops = (
        "cortexops|workflows|activities|workers|ingest|console|sandbox|policies|migrations|deploy|tests|docs"
    )
    for path in re.findall(rf"`((?:{tops})/[\w./-]+)(?:::\w+)?`", text):
        # what users make themselves is named in angle or capital letters, or introduced with "create"
        assert (ROOT / path).exists() or f"create `{path}`" in text, path


def test_no_registry_address_and_no_path_of_a_machine_in_documents_or_pins() -> None:
    shipped = [
        "constraints.txt",
        "pyproject.toml",
        "Makefile",
        "Dockerfile",
        "docker-compose.yml",
        ".env.example",
    ]
    for file in [*DOCUMENTS, *(ROOT / name for name in shipped)]:
        text = file.read_text("utf-8")
        assert not re.search(r"pypi\.|npmjs\.|pythonhosted|index-url|/simple/|proxy\.golang", text), file.name
        assert not re.search(r"(?<![\w.~$-])/(?:home|root|work|Users)/\w", text), file.name
