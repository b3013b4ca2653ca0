"""`cortexops runbooks`: what is on the shelf, whether a file is right, and which runbook an alert gets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cortexops.cli.common import FINDING, Output, OutputOption, emit, fail, printable, settings, table
from cortexops.domain.errors import CortexError, InvalidInput

if TYPE_CHECKING:
    from cortexops.domain.runbook import Problem, Runbook
    from cortexops.domain.runbook_match import Fit
    from cortexops.domain.signal import Signal
    from cortexops.ports.runbooks import Shelf

app = typer.Typer(no_args_is_help=True, help="Runbooks: list, show, check, match.")

FolderOption = Annotated[Path | None, typer.Option("--path", help="folder; that of the settings when absent")]


def _shelf(path: Path | None) -> Shelf:
    from activities.runbooks.building import shelf_of

    try:
        configured = settings().runbooks
        return shelf_of(configured.model_copy(update={"path": path} if path else {}))
    except InvalidInput as error:
        fail(str(error), 2)
    except CortexError as error:
        fail(str(error))


def _warn(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        typer.echo(f"not used: {printable(str(problem))}", err=True)


def _row(runbook: Runbook) -> dict[str, Any]:
    return {
        "id": runbook.id,
        "version": runbook.version,
        "title": runbook.title,
        "origin": runbook.origin.value,
        "source": runbook.source,
        "match": runbook.match.model_dump(mode="json", exclude_defaults=True),
        "steps": len(runbook.steps),
    }


@app.command("list")
def list_(path: FolderOption = None, output: OutputOption = Output.TEXT) -> None:
    """All that can be used. Exit 1 when a file cannot."""
    shelf = _shelf(path)
    data = {
        "runbooks": [_row(runbook) for runbook in shelf.runbooks],
        "problems": [problem.model_dump(mode="json") for problem in shelf.problems],
    }

    def text() -> None:
        rows = [
            [r.id, r.version, r.origin.value, printable(", ".join(r.match.alerts) or "(no alert)"), printable(r.title)]
            for r in shelf.runbooks
        ]  # fmt: skip
        table(["ID", "VERSION", "FROM", "ALERTS", "TITLE"], rows, "there are no runbooks")
        _warn(shelf.problems)

    emit(output, data, text)
    if shelf.problems:
        raise typer.Exit(FINDING)


@app.command()
def show(
    runbook_id: Annotated[str, typer.Argument(metavar="RUNBOOK")],
    path: FolderOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """One runbook with its steps. Exit 1 when there is none of that id."""
    runbook = next((r for r in _shelf(path).runbooks if r.id == runbook_id), None)
    if runbook is None:
        fail(f"there is no runbook {runbook_id!r}; see cortexops runbooks list")
    data = _row(runbook) | {
        "description": runbook.description,
        "steps": [step.model_dump(mode="json", exclude_unset=True) for step in runbook.steps],
    }

    def text() -> None:
        typer.echo(printable(f"{runbook.id} {runbook.version} ({runbook.origin.value}): {runbook.title}"))
        if runbook.description:
            typer.echo(printable(runbook.description))
        rows = [[step.id, step.kind, printable(step.title), step.on_failure.value] for step in runbook.steps]
        table(["STEP", "KIND", "TITLE", "ON FAILURE"], rows)

    emit(output, data, text)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="a file, or a folder of them")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Say whether it can be used, and if not which step and field to mend. Exit 1 when something is wrong."""
    from activities.runbooks.building import action_specs
    from cortexops.adapters.runbooks import read_file, read_folder
    from cortexops.domain.runbook import Origin
    from cortexops.ports.runbooks import Shelf

    if not path.exists():
        fail(f"{path}: there is no such file or folder", 2)
    if path.is_dir():
        shelf = read_folder(path, action_specs(), origin=Origin.FOLDER)
    else:
        runbook, problems = read_file(path, action_specs())
        shelf = Shelf((runbook,) if runbook else (), tuple(problems))
    data = {
        "ok": not shelf.problems,
        "runbooks": [_row(runbook) for runbook in shelf.runbooks],
        "problems": [problem.model_dump(mode="json") for problem in shelf.problems],
    }

    def text() -> None:
        for runbook in shelf.runbooks:
            typer.echo(printable(f"ok    {runbook.id} {runbook.version}, {len(runbook.steps)} steps"))
        for problem in shelf.problems:
            typer.echo(printable(f"WRONG {problem}"))
        if not shelf.runbooks and not shelf.problems:
            typer.echo("there is no runbook in it")

    emit(output, data, text)
    if shelf.problems:
        raise typer.Exit(FINDING)


@app.command()
def match(
    alert: Annotated[str, typer.Option(help="file with a payload of alerts; - for stdin")],
    source: Annotated[str, typer.Option(help="auto, alertmanager, kubernetes, signals …")] = "auto",
    cluster: Annotated[str, typer.Option(help="name of the cluster")] = "default",
    category: Annotated[
        str, typer.Option(help="category of the cause, as an investigation would find it")
    ] = "",
    path: FolderOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Which runbook each alert gets, and why each of the others does or does not fit. Exit 1 when one gets none."""
    from cortexops.domain.diagnosis import Category
    from cortexops.domain.runbook_match import Subject, fit, matching

    try:
        cause = Category(category) if category else None
    except ValueError:
        fail(f"--category {category}: is none; for example {Category.CRASH.value}", 2)
    shelf = _shelf(path)
    data, every = [], True
    for signal in _signals(alert, source, cluster):
        subject = Subject(signal.resource, (signal,), cause)
        chosen = [runbook.id for runbook, _ in matching(shelf.runbooks, subject)]
        every = every and bool(chosen)
        fits = sorted(
            (fit(runbook, subject) for runbook in shelf.runbooks), key=lambda one: (-one.score, one.runbook)
        )
        data.append(
            {
                "alert": signal.name,
                "resource": str(signal.resource),
                "runbook": chosen[0] if chosen else None,
                "also": chosen[1:],
                "considered": [one.model_dump(mode="json") for one in fits],
            }
        )

        def text(signal: Signal = signal, fits: list[Fit] = fits, chosen: list[str] = chosen) -> None:
            taken = chosen[0] if chosen else "no runbook"
            typer.echo(printable(f"{signal.name} on {signal.resource}: {taken}"))
            rows = [
                ["yes" if one.fits else "no", str(one.score), one.runbook, printable(_why(one))]
                for one in fits
            ]
            table(["FITS", "SCORE", "RUNBOOK", "WHY"], rows, "there are no runbooks")

        if output is Output.TEXT:
            text()
    emit(output, data, lambda: _warn(shelf.problems))
    if not every:
        raise typer.Exit(FINDING)


def _why(one: Fit) -> str:
    parts = []
    for criterion in one.criteria:
        verb = "is" if criterion.fits else "is not"
        found = ", ".join(criterion.found[:4]) or "nothing"
        parts.append(f"{criterion.name} ({found}) {verb} {' or '.join(criterion.wanted)}")
    return "; ".join(parts)


def _signals(alert: str, source: str, cluster: str) -> list[Signal]:
    import sys
    from datetime import UTC, datetime

    from ingest.decode import decode_file

    try:
        text = sys.stdin.read() if alert == "-" else Path(alert).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"--alert {alert}: {error}", 2)
    try:
        parsed = decode_file(text, source, cluster, datetime.now(UTC))
    except InvalidInput as error:
        fail(str(error), 2)
    for rejection in parsed.rejected:
        typer.echo(f"item {rejection.index}: {rejection.field}: {rejection.message}", err=True)
    if not parsed.signals:
        fail("there is no signal in it", 2)
    return list(parsed.signals)
