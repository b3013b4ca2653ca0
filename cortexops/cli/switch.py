"""`cortexops stop`, `resume`, `stops`: the kill switch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cortexops.cli.common import Output, OutputOption, emit, open_store, run, settings, table
from cortexops.domain.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from cortexops.domain.switch import Stop

_VIA = "cli"
_LONGEST_MINUTES = 60 * 24 * 366


def register(app: typer.Typer) -> None:
    """Add the commands to the program itself: who needs them has no time to look for them."""
    app.command()(stop)
    app.command()(resume)
    app.command()(stops)


def stop(
    reason: Annotated[str, typer.Option(help="why; it is written into the audit trail")],
    everything: Annotated[bool, typer.Option("--all", help="stop every change everywhere")] = False,
    cluster: Annotated[str, typer.Option(help="only in this cluster")] = "",
    namespace: Annotated[str, typer.Option(help="only in this namespace")] = "",
    action: Annotated[str, typer.Option(help="only this action, for example restart_workload")] = "",
    minutes: Annotated[
        int | None,
        typer.Option(help="for so long; until somebody resumes when absent", min=1, max=_LONGEST_MINUTES),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Stop changes now, also of incidents under way: what is not sent yet is not sent."""

    async def work() -> Stop:
        from cortexops.adapters.controls import Controls
        from cortexops.cli.reprocess import actor
        from cortexops.domain.switch import Scope

        if everything == bool(cluster or namespace or action):
            raise InvalidInput("scope", "give --all, or --cluster, --namespace, --action in any combination")
        now = datetime.now(UTC)
        until = now + timedelta(minutes=minutes) if minutes else None
        scope = Scope(cluster=cluster[:63], namespace=namespace[:63], action=action[:63])
        async with open_store() as store:
            return await Controls(store).stop(scope, reason, actor(settings()), now, until=until, via=_VIA)

    made = run(work())
    emit(output, made.model_dump(mode="json"), lambda: typer.echo(f"{made.id} is in force: {made.scope}"))


def resume(
    stop_id: Annotated[str, typer.Argument(metavar="[STOP]", help="as `cortexops stops` names it")] = "",
    everything: Annotated[bool, typer.Option("--all", help="take every stop back")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Take a stop back."""

    async def work() -> list[Stop]:
        from cortexops.adapters.controls import Controls
        from cortexops.cli.reprocess import actor

        if everything == bool(stop_id):
            raise InvalidInput("STOP", "name a stop, or give --all")
        who, now = actor(settings()), datetime.now(UTC)
        async with open_store() as store:
            ids = [one.id for one in await store.stops(most=10_000)] if everything else [stop_id]
            if not ids:
                raise NotFound("nothing is stopped; so nothing was taken back")
            return [await Controls(store).resume(one, who, now, via=_VIA) for one in ids]

    done = run(work())
    emit(
        output,
        [one.model_dump(mode="json") for one in done],
        lambda: typer.echo("\n".join(f"{one.id} is taken back" for one in done)),
    )


def stops(
    every: Annotated[bool, typer.Option("--all", help="also those that stop nothing any more")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """What is stopped, newest first."""

    async def work() -> list[Stop]:
        async with open_store() as store:
            return list(await store.stops(ended=every))

    found = run(work())
    now = datetime.now(UTC)
    rows = [[one.id, str(one.scope), _state(one, now), one.stopped_by, one.reason] for one in found]
    data: list[dict[str, Any]] = [
        {**one.model_dump(mode="json"), "in_force": one.in_force(now)} for one in found
    ]
    emit(output, data, lambda: table(["STOP", "STOPS", "STATE", "BY", "REASON"], rows, "nothing is stopped"))


def _state(one: Stop, now: datetime) -> str:
    if one.in_force(now):
        return f"until {one.until:%Y-%m-%d %H:%M} UTC" if one.until else "until somebody resumes"
    return f"taken back by {one.resumed_by}" if one.resumed_at else "over"
