"""`cortexops silences …`: hold automation and notices for a while, and let them go again."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cortexops.cli.common import Output, OutputOption, emit, open_store, printable, run, settings, table
from cortexops.domain.errors import InvalidInput

if TYPE_CHECKING:
    from temporalio.client import Client

    from cortexops.adapters.held import Lifted
    from cortexops.domain.silence import Silence, Weekly

app = typer.Typer(no_args_is_help=True, help="Hold automation and notices: list, add, lift.")

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKLY = re.compile(r"([a-z]{3})@([0-9]{2}):([0-9]{2})\+([0-9]{1,4})m", re.ASCII)
_LONGEST_MINUTES = 60 * 24 * 366 * 10
_VIA = "cli"


def parse_weekly(text: str, zone: str) -> Weekly | None:
    """`mon@22:00+90m`: day, local start and length. Raises `InvalidInput`."""
    if not text:
        if zone:
            raise InvalidInput("--zone", "goes with --weekly")
        return None
    match = _WEEKLY.fullmatch(text.strip().lower())
    if match is None or match[1] not in DAYS:
        raise InvalidInput("--weekly", "must be DAY@HH:MM+MINUTESm, for example mon@22:00+90m")
    from cortexops.domain.silence import Weekly

    try:
        start = time(int(match[2]), int(match[3]))
        return Weekly(day=DAYS.index(match[1]), start=start, minutes=int(match[4]), zone=zone or "UTC")
    except ValueError:
        raise InvalidInput("--weekly", "needs an hour below 24, and 1 to 1440 minutes") from None


def parse_end(minutes: int | None, until: str, now: datetime) -> datetime:
    """The end, given in one of two ways. Raises `InvalidInput`."""
    if (minutes is None) == (not until):
        raise InvalidInput("--minutes", "give either --minutes or --until")
    if minutes is not None:
        return now + timedelta(minutes=minutes)
    try:
        end = datetime.fromisoformat(until)
    except ValueError:
        raise InvalidInput("--until", "must be like 2026-03-01T22:00:00Z") from None
    if end.tzinfo is None:
        raise InvalidInput("--until", "needs a zone: Z for UTC, or an offset such as +02:00")
    return end.astimezone(UTC)


def weekly_text(weekly: Weekly) -> str:
    return f"{DAYS[weekly.day]}@{weekly.start:%H:%M}+{weekly.minutes}m {weekly.zone}"


def _told(silence: Silence, now: datetime) -> dict[str, Any]:
    return {**silence.model_dump(mode="json"), "holds_until": silence.until(now)}


def _state(silence: Silence, now: datetime) -> str:
    if silence.lifted_at is not None:
        return "lifted"
    until = silence.until(now)
    if until is not None:
        return f"until {until:%Y-%m-%d %H:%M} UTC"
    if silence.ends_at <= now:
        return "ended"
    return "waits" if silence.weekly is None else f"waits for {weekly_text(silence.weekly)}"


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="also those that have ended or were lifted")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Silences and maintenance windows, newest first."""
    from cortexops.domain.silence import shown

    async def work() -> list[Silence]:
        async with open_store() as store:
            return list(await store.silences(ended=every))

    silences = run(work())
    now = datetime.now(UTC)

    def text() -> None:
        rows = [
            [
                printable(cell)
                for cell in (s.id, s.kind, shown(s)["matches"], _state(s, now), s.created_by, s.reason)
            ]
            for s in silences
        ]
        table(["NAME", "KIND", "MATCHES", "HOLDS", "BY", "REASON"], rows, "nothing is silenced")

    emit(output, [_told(silence, now) for silence in silences], text)


@app.command()
def add(
    reason: Annotated[str, typer.Option(help="why; it is written into the audit trail")],
    minutes: Annotated[
        int | None, typer.Option(help="how long from now", min=1, max=_LONGEST_MINUTES)
    ] = None,
    until: Annotated[str, typer.Option(help="until when, for example 2026-03-01T22:00:00Z")] = "",
    cluster: Annotated[str, typer.Option(help="only in this cluster; * stands for any text")] = "",
    namespace: Annotated[str, typer.Option(help="only in this namespace")] = "",
    kind: Annotated[str, typer.Option(help="only objects of this kind")] = "",
    name: Annotated[str, typer.Option(help="only objects of this name")] = "",
    alert: Annotated[str, typer.Option(help="only when all alerts have this name")] = "",
    maintenance: Annotated[bool, typer.Option("--maintenance", help="call it a maintenance window")] = False,
    weekly: Annotated[
        str, typer.Option(help="only in this window of each week, for example mon@22:00+90m")
    ] = "",
    zone: Annotated[str, typer.Option(help="time zone of --weekly; UTC when absent")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Hold what matches all that is given: incidents are opened and shown, nothing is done or sent."""

    async def work() -> Silence:
        from pydantic import ValidationError

        from cortexops.adapters.held import Silencing, new_id
        from cortexops.cli.reprocess import actor
        from cortexops.domain.silence import Matcher, Silence, SilenceKind

        now = datetime.now(UTC)
        configured = settings()
        window = parse_weekly(weekly, zone)
        end = parse_end(minutes, until, now)
        try:
            silence = Silence(
                id=new_id(),
                kind=SilenceKind.MAINTENANCE if maintenance else SilenceKind.SILENCE,
                matcher=Matcher(cluster=cluster, namespace=namespace, kind=kind, name=name, alert=alert),
                starts_at=now,
                ends_at=end,
                weekly=window,
                reason=reason.strip(),
                created_by=actor(configured),
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidInput(f"--{first['loc'][-1]}", first["msg"]) from None
        async with open_store() as store:
            return await Silencing(store, _client).add(silence, now, via=_VIA)

    silence = run(work())
    now = datetime.now(UTC)
    emit(output, _told(silence, now), lambda: typer.echo(f"{silence.id}: {_state(silence, now)}"))


@app.command()
def lift(
    silence_id: Annotated[str, typer.Argument(metavar="SILENCE")], output: OutputOption = Output.TEXT
) -> None:
    """End it now; held incidents look again."""

    async def work() -> Lifted:
        from cortexops.adapters.held import Silencing
        from cortexops.cli.reprocess import actor

        who = actor(settings())
        async with open_store() as store:
            return await Silencing(store, _client).lift(silence_id, who, datetime.now(UTC), via=_VIA)

    done = run(work())
    if not done.complete:
        typer.echo(
            "It is lifted, but not all held incidents could be told; they look again when their time is up. "
            "Lift it again to tell them.",
            err=True,
        )
    emit(
        output,
        {**_told(done.silence, datetime.now(UTC)), "told": done.told, "complete": done.complete},
        lambda: typer.echo(f"{done.silence.id} is lifted; {done.told} held incidents look again"),
    )


async def _client() -> Client:
    from cortexops.adapters import temporal

    return await temporal.connect(settings().temporal)
