"""`cortexops signals …`: what became of a signal, and why."""

from __future__ import annotations

from typing import Any

import typer

from cortexops.cli.common import Output, OutputOption, emit, printable, run

app = typer.Typer(no_args_is_help=True, help="Explain signals.")


@app.callback()
def _group() -> None:
    """Explain signals."""


@app.command()
def explain(signal_id: str, output: OutputOption = Output.TEXT) -> None:
    """Fingerprint fields, fate, reason and incident of one signal. The beginning of its id is enough."""
    from cortexops.cli.explaining import explained

    data = run(explained(signal_id))
    emit(output, data, lambda: _print(data))


def _print(data: dict[str, Any]) -> None:
    said = [f"signal {data['id']}: {data['fate']} ({data['reason']})", *_where(data)]
    if signal := data["signal"]:
        resource = signal["resource"]
        place = f"{resource['namespace']}/" if resource["namespace"] else ""
        said.insert(1, f"  {signal['name']} on {resource['kind']} {place}{resource['name']}")
        said.insert(2, f"  its object comes from {data['target_from']}")
    said += [f"  fingerprint field {field} = {value}" for field, value in data["fingerprint_fields"].items()]
    for line in said:
        typer.echo(printable(line))


def _where(data: dict[str, Any]) -> list[str]:
    if parked := data["parked"]:
        if not data["recorded_at"]:
            return [
                f"  it has no row in the books: it is parked message {parked['sequence']}, {parked['detail']}",
                f"  mend the cause, then: cortexops parked replay {parked['sequence']}",
            ]
        return [f"  parked message {parked['sequence']}, {parked['detail']}"]
    lines = []
    if link := data["link"]:
        lines.append(f"  its object {link['object']} is part of that incident: {link['explanation']}")
    for incident in data["incidents"]:
        lines.append(f"  incident {incident['id'] or 'none'} ({incident['key']}): {incident['state']}")
        if into := incident["merged_into"]:
            lines.append(f"    went into {into['id'] or into['key']}")
    if not lines:
        lines.append(f"  no incident ({data['incident_key']})")
    return [*lines, f"  recorded {data['recorded_at']}"]
