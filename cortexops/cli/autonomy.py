"""`cortexops autonomy …`: how much is done without asking, why, and what shadow mode found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cortexops.cli.common import Output, OutputOption, emit, open_store, run, settings, table
from cortexops.cli.policy import since_time
from cortexops.domain.errors import InvalidInput

if TYPE_CHECKING:
    from cortexops.adapters.controls import Standing
    from cortexops.domain.autonomy import Override, Place
    from cortexops.domain.shadow import Compared

app = typer.Typer(no_args_is_help=True, help="See and set how much is done without asking.")
_VIA = "cli"

EnvironmentOption = Annotated[
    str, typer.Option("--environment", help="whose start and cap count; production when absent")
]


@app.command("list")
def list_(environment: EnvironmentOption = "production", output: OutputOption = Output.TEXT) -> None:
    """Every workload and action with a past, its level and why; and what people have set."""

    async def work() -> tuple[list[Standing], list[Override]]:
        from cortexops.adapters.controls import standings
        from cortexops.adapters.guardrails import guardrails

        async with open_store() as store:
            ladder = guardrails(settings()).ladder
            found = await standings(store, ladder, environment, datetime.now(UTC))
            return found, list(await store.overrides())

    found, overrides = run(work())

    def text() -> None:
        rows = [
            [
                str(one.place),
                one.autonomy.level,
                one.autonomy.why,
                f"{one.autonomy.successes}/{one.autonomy.trials}",
                f"{one.autonomy.lower_bound:.2f}",
            ]
            for one in found
        ]
        table(["WHAT", "LEVEL", "WHY", "HELPED", "LOWER BOUND"], rows, "no action has a past yet")
        for override in overrides:
            typer.echo(f"{override.id}: {override.set_by} set {override.level} for {override.scope}")

    emit(
        output,
        {
            "levels": [_told(one) for one in found],
            "overrides": [override.model_dump(mode="json") for override in overrides],
        },
        text,
    )


@app.command()
def explain(
    action: Annotated[str, typer.Argument(help="the action, for example restart_workload")],
    workload: Annotated[str, typer.Argument(help="KIND/NAME, for example Deployment/api")],
    cluster: Annotated[str, typer.Option(help="its cluster")],
    namespace: Annotated[str, typer.Option(help="its namespace")] = "",
    environment: EnvironmentOption = "production",
    output: OutputOption = Output.TEXT,
) -> None:
    """The level of one action on one workload, why, and what it takes to rise."""
    from cortexops.domain.autonomy import explained

    async def work() -> tuple[Standing, list[str]]:
        from cortexops.adapters.controls import standings
        from cortexops.adapters.guardrails import guardrails
        from cortexops.domain.autonomy import Place

        place: Place = Place(
            cluster=cluster, namespace=namespace, workload=workload_of(workload), action=action
        )
        ladder = guardrails(settings()).ladder
        async with open_store() as store:
            (found,) = await standings(store, ladder, environment, datetime.now(UTC), place)
        return found, explained(found.autonomy, ladder, found.override)

    found, said = run(work())

    def text() -> None:
        typer.echo(f"{found.place}: {found.autonomy.level} ({found.autonomy.why})")
        for sentence in said:
            typer.echo(f"  {sentence}")
        for outcome in found.outcomes[-10:]:
            typer.echo(f"  {outcome.at:%Y-%m-%d %H:%M} {outcome.result} {outcome.incident_id}")

    emit(output, {**_told(found), "explanation": said}, text)


@app.command("set")
def set_(
    level: Annotated[
        Literal["observe", "suggest", "approve", "auto"],
        typer.Argument(help="observe, suggest, approve or auto"),
    ],
    reason: Annotated[str, typer.Option(help="why; it is written into the audit trail")],
    days: Annotated[float, typer.Option(help="for so many days, 90 at most", min=0.01, max=90)] = 7,
    cluster: Annotated[str, typer.Option(help="only in this cluster")] = "",
    namespace: Annotated[str, typer.Option(help="only in this namespace")] = "",
    workload: Annotated[str, typer.Option(help="only KIND/NAME, for example Deployment/api")] = "",
    action: Annotated[str, typer.Option(help="only this action")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Set the level of what matches all that is given, for a time; never above the cap."""

    async def work() -> Override:
        from cortexops.adapters.controls import Controls
        from cortexops.cli.reprocess import actor
        from cortexops.domain.autonomy import Level

        now = datetime.now(UTC)
        async with open_store() as store:
            return await Controls(store).set_level(
                Level(level),
                reason,
                actor(settings()),
                now,
                until=now + timedelta(days=days),
                via=_VIA,
                cluster=cluster,
                namespace=namespace,
                workload=workload_of(workload) if workload else "",
                action=action,
            )

    made = run(work())
    emit(
        output,
        made.model_dump(mode="json"),
        lambda: typer.echo(f"{made.id}: {made.level} for {made.scope} until {made.until:%Y-%m-%d %H:%M} UTC"),
    )


@app.command()
def clear(
    override_id: Annotated[
        str, typer.Argument(metavar="LEVEL", help="as `cortexops autonomy list` names it")
    ],
    output: OutputOption = Output.TEXT,
) -> None:
    """Take back what a person set; the level is what was earned again."""

    async def work() -> Override:
        from cortexops.adapters.controls import Controls
        from cortexops.cli.reprocess import actor

        async with open_store() as store:
            return await Controls(store).clear_level(
                override_id, actor(settings()), datetime.now(UTC), via=_VIA
            )

    done = run(work())
    emit(output, done.model_dump(mode="json"), lambda: typer.echo(f"{done.id} is cleared"))


@app.command("shadow-report")
def shadow_report(
    since: Annotated[str, typer.Option(help="how far back: 30d, 12h, or a time in RFC 3339")] = "30d",
    output: OutputOption = Output.TEXT,
) -> None:
    """What was suggested and not done, beside what people did to the same objects meanwhile."""

    async def work() -> list[Compared]:
        from cortexops.adapters.shadowing import compared, readers

        configured = settings()
        begin = since_time(since, datetime.now(UTC))
        async with open_store() as store, readers(configured) as clusters:
            return await compared(store, clusters, begin)

    found = run(work())

    def text() -> None:
        from cortexops.domain.shadow import counted

        rows = [
            [
                one.suggestion.incident_id,
                f"{one.suggestion.at:%Y-%m-%d %H:%M}",
                one.suggestion.action,
                one.comparison,
                one.detail,
            ]
            for one in found
        ]
        table(["INCIDENT", "AT", "SUGGESTED", "PEOPLE", "HOW IT IS KNOWN"], rows, "nothing was left undone")
        typer.echo(", ".join(f"{name}: {count}" for name, count in counted(found).items()))

    emit(output, _report(found), text)


def _report(found: list[Compared]) -> dict[str, Any]:
    from cortexops.domain.shadow import counted

    return {"counts": counted(found), "suggestions": [one.model_dump(mode="json") for one in found]}


def _told(one: Standing) -> dict[str, Any]:
    return {
        **one.place.model_dump(),
        **one.autonomy.model_dump(mode="json"),
        "set_by": one.override.set_by if one.override else None,
    }


def workload_of(text: str) -> str:
    """KIND/NAME, checked. Raises `InvalidInput`."""
    kind, slash, name = text.partition("/")
    if not (kind and slash and name):
        raise InvalidInput("workload", "must look like Deployment/api")
    return text
