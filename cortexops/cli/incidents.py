"""`cortexops incidents …`: what happened, in lists and in full."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cortexops.cli.common import (
    FINDING,
    Output,
    OutputOption,
    emit,
    found,
    open_store,
    printable,
    run,
    say,
    table,
)

if TYPE_CHECKING:
    from cortexops.domain.incident import Incident

app = typer.Typer(no_args_is_help=True, help="List and show incidents.")


_MOST_LINKED = 20


def _held(incident: Incident, now: datetime) -> str:
    """Until when a silence holds it; empty when none does."""
    if incident.state.final or incident.held_until is None or incident.held_until <= now:
        return ""
    return f"{incident.held_until:%Y-%m-%d %H:%M:%S} UTC"


def _marks(incident: Incident, now: datetime) -> str:
    """What is special about it, in a word each."""
    marks = {
        "held": bool(_held(incident, now)),
        "merged": bool(incident.merged_into),
        "flapping": incident.flapping,
        "drill": incident.drill,
        f"+{len(incident.linked)} objects": bool(incident.linked),
    }
    return ", ".join(mark for mark, given in marks.items() if given)


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


@app.command("list")
def list_(
    open_only: Annotated[bool, typer.Option("--open", help="only those that have not ended")] = False,
    most: Annotated[int, typer.Option(help="at most so many, newest first", min=1, max=1000)] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """The newest incidents: id, severity, state, risk, age, object."""

    async def work() -> list[Any]:
        async with open_store() as store:
            return await store.incidents(open_only=open_only, most=most)

    incidents = run(work())
    now = datetime.now(UTC)
    rows = [
        [
            i.id,
            i.severity,
            i.state,
            str(i.risk_score),
            _age((now - i.detected_at).total_seconds()),
            str(i.resource),
            _marks(i, now),
        ]
        for i in incidents
    ]
    data = [i.model_dump(mode="json") for i in incidents]
    emit(
        output,
        data,
        lambda: table(["NAME", "SEVERITY", "STATE", "RISK", "AGE", "OBJECT", ""], rows, "no incidents"),
    )


@app.command()
def show(incident_id: str, output: OutputOption = Output.TEXT) -> None:
    """One incident: state, cause, evidence, what was changed, and how it ended."""

    from cortexops.adapters.held import went_into
    from cortexops.domain.runbook_outcome import with_outcomes
    from cortexops.domain.runbook_words import headline, lines, report_of

    async def work() -> tuple[Incident, Any, list[Any], list[Any], str]:
        async with open_store() as store:
            incident = found(await store.incident(incident_id), incident_id)
            rows = await store.rows_of(incident_id)
            diagnosis, into = await store.diagnosis(incident_id), await went_into(store, incident)
            return incident, diagnosis, rows, await store.signals_of(incident_id), into

    incident, diagnosis, ledger, signals, into = run(work())

    used = diagnosis.runbook if diagnosis is not None else None
    if used is not None:
        used = with_outcomes(used, ledger, ended=incident.state.final)

    def text() -> None:
        say(f"{incident.id}  {incident.state} ({incident.reason})  {incident.title}")
        say(
            f"  severity {incident.severity}, risk {incident.risk_score}, attempts {incident.attempts}, "
            f"{incident.signal_count} signals, detected {incident.detected_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        for line in _standing(incident, into, datetime.now(UTC)):
            say(f"  {line}")
        if diagnosis is not None:
            say(f"\n{diagnosis.summary}")
            for fact in diagnosis.evidence:
                say(f"  [{fact.id}] {fact.summary}")
            for gap in diagnosis.gaps:
                say(f"  missing: {gap.what} ({gap.reason})")
        told = report_of(used)
        if told is not None:
            say(printable(f"\n{headline(told)}"))
            for line in lines(told):
                say(printable(f"  {line}"))
        for row in ledger:
            say(f"\n{row.action}: {row.state} ({row.detail})")
            for edit in row.change.edits:
                say(f"  {edit.path}: {edit.before} → {edit.after}")

    data = {
        "incident": incident.model_dump(mode="json"),
        "merged_into_id": into,
        "diagnosis": diagnosis.model_dump(mode="json") if diagnosis else None,
        "ledger": [row.model_dump(mode="json") for row in ledger],
        "runbook": report_of(used),
        "signals": [signal.model_dump(mode="json") for signal in signals],
    }
    emit(output, data, text)


def _standing(incident: Incident, into: str, now: datetime) -> list[str]:
    """Whether it is held, part of another one, about more than one object, flapping, or a drill."""
    lines = []
    if until := _held(incident, now):
        lines.append(f"held until {until}{f' by {incident.held_by}' if incident.held_by else ''}")
    if incident.merged_into:
        lines.append(f"merged into {into or incident.merged_into}")
    if incident.linked:
        lines.append(f"linked objects ({len(incident.linked)}):")
        lines += [f"  {resource}" for resource in incident.linked[:_MOST_LINKED]]
        if len(incident.linked) > _MOST_LINKED:
            lines.append(f"  and {len(incident.linked) - _MOST_LINKED} more")
    if incident.flapping:
        lines.append("flapping: it came back too often lately to be acted upon")
    if incident.drill:
        lines.append("drill")
    return [printable(line) for line in lines]


@app.command()
def timeline(incident_id: str, output: OutputOption = Output.TEXT) -> None:
    """Every recorded event, with its time relative to detection."""

    async def work() -> tuple[Any, list[Any]]:
        async with open_store() as store:
            return found(await store.incident(incident_id), incident_id), await store.events(incident_id)

    incident, events = run(work())

    def text() -> None:
        for event in events:
            after = (event.at - incident.detected_at).total_seconds()
            say(
                f"T+{int(after // 60):02d}:{int(after % 60):02d}  {event.type:<22} {event.detail or event.reason}"
            )

    emit(output, [event.model_dump(mode="json") for event in events], text)


@app.command()
def postmortem(incident_id: str, output: OutputOption = Output.TEXT) -> None:
    """The postmortem of an ended incident."""
    from cortexops.domain.ids import postmortem_id

    async def work() -> Any:
        async with open_store() as store:
            return await store.postmortem(postmortem_id(incident_id))

    document = run(work())
    if document is None:
        say(f"{incident_id} has no postmortem: it has not ended, or it does not exist", err=True)
        raise typer.Exit(FINDING)

    def text() -> None:
        say(f"# {document.id} ({document.state})\n\n{document.summary}\n")
        say(f"Root cause: {document.root_cause}\nImpact: {document.impact}\nOutcome: {document.outcome}\n")
        for entry in document.timeline:
            say(f"- {entry.timestamp:%H:%M:%S} {entry.type}: {entry.detail}")
        for heading, lines in (
            ("Lessons learned", document.lessons_learned),
            ("Prevention", document.prevention_actions),
        ):
            if lines:
                say(f"\n{heading}:")
                for line in lines:
                    say(f"- {line}")

    emit(output, document.model_dump(mode="json"), text)
