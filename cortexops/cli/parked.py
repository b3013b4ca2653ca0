"""`cortexops parked …`: messages that could not be processed, looked at, replayed or dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cortexops.cli.common import (
    FINDING,
    USAGE,
    Output,
    OutputOption,
    emit,
    fail,
    found,
    open_store,
    printable,
    run,
    settings,
    table,
)

if TYPE_CHECKING:
    from cortexops.adapters.nats.parking import Parking
    from cortexops.domain.parked import Parked, ReplayResult

app = typer.Typer(no_args_is_help=True, help="Look at parked messages, replay or drop them.")

SourceOption = Annotated[str, typer.Option(help="only of this source")]
ReasonOption = Annotated[str, typer.Option(help="only with this reason, for example no_target")]
SequencesArgument = Annotated[list[int] | None, typer.Argument(metavar="[SEQUENCE]...", min=1)]
AllOption = Annotated[bool, typer.Option("--all", help="all of them, or all of --source and --reason")]


@asynccontextmanager
async def _open_parking() -> AsyncIterator[Parking]:
    from cortexops.adapters.nats.parking import Parking

    async with await Parking.connect(settings().nats) as parking:
        yield parking


def _shown(content: bytes) -> str:
    from cortexops.domain.parked import shown

    return shown(content)


def _row(message: Parked) -> dict[str, Any]:
    return {
        "sequence": message.sequence,
        "source": printable(message.source),
        "reason": printable(message.reason),
        "size": message.size,
        "cut": message.cut,
        "detail": _shown(message.detail.encode()),
        "parked_at": message.at.isoformat(),
    }


def _checked(source: str, reason: str) -> None:
    """They become part of a subject: anything but a word would ask for something else."""
    for option, value in (("--source", source), ("--reason", reason)):
        if value and not value.replace("_", "").replace("-", "").isalnum():
            fail(f"{option} {value!r} is no name", USAGE)


@app.command("list")
def list_(
    source: SourceOption = "",
    reason: ReasonOption = "",
    after: Annotated[int, typer.Option(help="only those behind this sequence", min=0)] = 0,
    most: Annotated[int, typer.Option(help="at most so many", min=1, max=10_000)] = 100,
    output: OutputOption = Output.TEXT,
) -> None:
    """The oldest parked messages: from whom, why, what is wrong with them."""
    _checked(source, reason)

    async def work() -> tuple[list[Parked], int]:
        async with _open_parking() as parking:
            messages = await parking.messages(most=most, after=after, source=source, reason=reason)
            return messages, (await parking.extent())[1]

    messages, total = run(work())
    rows = [_row(message) for message in messages]
    columns = ["SEQUENCE", "SOURCE", "REASON", "SIZE", "PARKED", "DETAIL"]

    def text() -> None:
        cells = [
            [str(r["sequence"]), r["source"], r["reason"], str(r["size"]), r["parked_at"][:19], r["detail"]]
            for r in rows
        ]
        table(columns, cells, "nothing is parked" if not total else "none of these")
        if total > len(rows) and rows:
            typer.echo(f"{len(rows)} of {total} parked messages; more with --after {rows[-1]['sequence']}")

    emit(output, rows, text)


@app.command()
def show(sequence: Annotated[int, typer.Argument(min=1)], output: OutputOption = Output.TEXT) -> None:
    """One parked message; secrets are masked and control characters written out."""

    async def work() -> Parked:
        async with _open_parking() as parking:
            return found(await parking.message(sequence), f"parked message {sequence}")

    message = run(work())
    data = {**_row(message), "sha256": message.digest, "body": _shown(message.body)}

    def text() -> None:
        for name in ("sequence", "source", "reason", "size", "detail", "parked_at", "sha256"):
            typer.echo(f"{name:<10} {data[name]}")
        if message.cut:
            typer.echo(f"only the first {len(message.body)} bytes were kept: it cannot be replayed")
        typer.echo(f"\n{data['body']}")

    emit(output, data, text)


@app.command()
def replay(
    sequences: SequencesArgument = None,
    every: AllOption = False,
    source: SourceOption = "",
    reason: ReasonOption = "",
    cluster: Annotated[
        str, typer.Option(help="cluster of items that name none; gateway.default_cluster when absent")
    ] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Decode again and store the signals; what is stored is parked no more. Exit 1 when something stays."""
    _meant(sequences, every, source, reason)

    async def work() -> tuple[list[ReplayResult], list[int]]:
        from cortexops.adapters.nats import JetStreamBus
        from cortexops.cli import reprocess

        configured = settings()
        where = cluster or configured.gateway.default_cluster
        who = reprocess.actor(configured)
        async with open_store() as store, await JetStreamBus.connect(configured.nats) as bus:
            async with _open_parking() as parking:
                messages, absent = await reprocess.chosen(
                    parking, sequences or [], everything=every, source=source, reason=reason
                )
                identity, _, _ = await parking.extent()
                done = [
                    await reprocess.replay(message, identity, bus, store, parking, where, who)
                    for message in messages
                ]
        return done, absent

    done, absent = run(work())
    data = [*(_told(result) for result in done), *(_absent(number) for number in absent)]

    def text() -> None:
        for item in data:
            state = "replayed" if item["gone"] else "stays parked"
            typer.echo(f"{item['sequence']}: {state}, {item['stored']} signals stored")
            for problem in item["problems"]:
                typer.echo(f"  {problem}")
        if not data:
            typer.echo("nothing to replay")

    emit(output, data, text)
    if not all(item["gone"] for item in data):
        raise typer.Exit(FINDING)


def _told(result: ReplayResult) -> dict[str, Any]:
    problems = [_shown(problem.encode()) for problem in result.problems]
    return {**result._asdict(), "problems": problems}


def _absent(sequence: int) -> dict[str, Any]:
    from cortexops.domain.parked import ReplayResult

    return ReplayResult(sequence, 0, 0, False, ("sequence: there is no such message",))._asdict()


@app.command()
def drop(
    sequences: SequencesArgument = None,
    every: AllOption = False,
    source: SourceOption = "",
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Remove parked messages for good; the audit trail keeps who did it and what each was."""
    _meant(sequences, every, source, reason)

    async def work() -> tuple[list[int], list[int]]:
        from cortexops.cli import reprocess

        configured = settings()
        who = reprocess.actor(configured)
        async with open_store() as store, _open_parking() as parking:
            messages, absent = await reprocess.chosen(
                parking, sequences or [], everything=every, source=source, reason=reason
            )
            identity, _, _ = await parking.extent()
            if messages and not yes:
                typer.confirm(f"drop {len(messages)} parked messages as {who}?", abort=True, err=True)
            dropped = [
                message.sequence
                for message in messages
                if await reprocess.drop(message, identity, store, parking, who)
            ]
        return dropped, absent

    dropped, absent = run(work())

    def text() -> None:
        typer.echo(f"{len(dropped)} dropped")
        for number in absent:
            typer.echo(f"{number}: there is no such message")

    emit(output, {"dropped": dropped, "absent": absent}, text)
    if absent:
        raise typer.Exit(FINDING)


def _meant(sequences: list[int] | None, every: bool, source: str, reason: str) -> None:
    _checked(source, reason)
    if bool(sequences) == every:
        fail("name the messages by SEQUENCE, or say --all", USAGE)
    if not every and (source or reason):
        fail("--source and --reason go with --all", USAGE)
