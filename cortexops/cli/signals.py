"""`cortexops signals …`: what became of a signal, and why."""

from __future__ import annotations

from typing import Any

import typer

from cortexops.cli.common import Output, OutputOption, emit, found, open_store, run

app = typer.Typer(no_args_is_help=True, help="Explain signals.")


@app.callback()
def _group() -> None:
    """Explain signals."""


@app.command()
def explain(signal_id: str, output: OutputOption = Output.TEXT) -> None:
    """Fingerprint fields, fate, reason and incident of one signal."""

    async def work() -> Any:
        async with open_store() as store:
            return found(await store.signal(signal_id), f"signal {signal_id}")

    record = run(work())
    data = {
        "signal": record.signal.model_dump(mode="json", by_alias=True),
        "fingerprint_fields": record.signal.fingerprint_fields,
        "fate": record.fate.fate,
        "reason": record.fate.reason,
        "incident_key": record.incident_key,
        "incident_id": record.incident_id,
        "recorded_at": record.recorded_at.isoformat(),
    }

    def text() -> None:
        typer.echo(
            f"{record.signal.name} on {record.signal.resource}: {record.fate.fate} ({record.fate.reason})"
        )
        typer.echo(
            f"  incident {record.incident_id or 'none'} ({record.incident_key}), {record.recorded_at:%H:%M:%S} UTC"
        )
        for field, value in record.signal.fingerprint_fields.items():
            typer.echo(f"  fingerprint field {field} = {value}")

    emit(output, data, text)
