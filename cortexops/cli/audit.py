"""`cortexops audit …`: check the chain, export it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cortexops.cli.common import FINDING, Output, OutputOption, emit, open_store, run

app = typer.Typer(no_args_is_help=True, help="Verify and export the audit trail.")


@app.command()
def verify(output: OutputOption = Output.TEXT) -> None:
    """Recompute every hash; exit 1 and name the place when a row was changed, removed or reordered."""

    async def work() -> tuple[int, list[Any]]:
        async with open_store() as store:
            return await store.verify()

    checked, faults = run(work())

    def text() -> None:
        for fault in faults:
            typer.echo(f"{fault.chain} #{fault.number}: {fault.fault}")
        typer.echo(f"{checked} events checked, {len(faults)} faults")

    emit(output, {"checked": checked, "faults": [fault.model_dump() for fault in faults]}, text)
    if faults:
        raise typer.Exit(FINDING)


@app.command()
def export(
    after: Annotated[int, typer.Option(help="cursor: only events recorded after it", min=0)] = 0,
    most: Annotated[int, typer.Option(help="at most so many", min=1)] = 10_000,
) -> None:
    """Events as NDJSON, each with its cursor, for a SIEM."""
    import json

    async def work() -> None:
        async with open_store() as store:
            async for cursor, event in store.export(after=after, most=most):
                sys.stdout.write(
                    json.dumps({"cursor": cursor, **event.model_dump(mode="json")}, ensure_ascii=False) + "\n"
                )

    run(work())
