"""`cortexops`: all commands."""

from __future__ import annotations

from typing import Annotated

import typer

import cortexops
from cortexops.cli import (
    approvals,
    audit,
    autonomy,
    feedback,
    incidents,
    operate,
    parked,
    policy,
    runbooks,
    signals,
    silences,
    switch,
)

app = typer.Typer(
    name="cortexops",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Durable incident response for Kubernetes.",
)
app.add_typer(incidents.app, name="incidents")
app.add_typer(signals.app, name="signals")
app.add_typer(parked.app, name="parked")
app.add_typer(silences.app, name="silences")
app.add_typer(runbooks.app, name="runbooks")
app.add_typer(feedback.app, name="feedback")
app.add_typer(approvals.app, name="approvals")
app.add_typer(audit.app, name="audit")
app.add_typer(policy.app, name="policy")
app.add_typer(autonomy.app, name="autonomy")
switch.register(app)
operate.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(cortexops.__version__)
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Durable incident response for Kubernetes."""
    if context.obj is not None:
        context.obj()


def _log_to_stderr() -> None:
    """So that what a command prints can be read by programs."""
    from cortexops.telemetry import configure_logging

    configure_logging("error", "console")


def main() -> None:
    """The console script. What a command needs is loaded when it runs: help is there at once."""
    app(obj=_log_to_stderr)
