"""`cortexops feedback …`: say how good a diagnosis was, take it back, and see what it changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from cortexops.cli.common import Output, OutputOption, emit, open_store, run, settings, table, whoami

if TYPE_CHECKING:
    from cortexops.domain.experience import Adjustment
    from cortexops.domain.feedback import Feedback

_SAY = "say"


class _SayFirst(TyperGroup):
    """`cortexops feedback INC-… accurate` is short for `cortexops feedback say INC-… accurate`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = [_SAY, *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_SayFirst, no_args_is_help=True, help="How good were diagnoses? Learned from, undoable."
)


@app.command(_SAY)
def say(
    incident_id: Annotated[str, typer.Argument(metavar="INCIDENT")],
    rating: Annotated[str, typer.Argument(metavar="accurate|partial|incorrect")],
    cause: Annotated[str, typer.Option(help="the true cause: KIND/NAMESPACE/NAME")] = "",
    category: Annotated[str, typer.Option(help="its category, as diagnoses name them")] = "",
    note: Annotated[str, typer.Option(help="in your words; secrets in it are masked")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Judge the diagnosis of an incident. Your later word on it replaces your earlier one."""

    async def work() -> Feedback:
        from cortexops.adapters.judging import Judging, parse_rating
        from cortexops.domain.feedback import parse_category

        parse_rating(rating)  # what was typed wrong is said before anything is asked
        parse_category(category)
        person = whoami(settings())
        async with open_store() as store:
            return await Judging(store).say(
                incident_id, person, rating, now=datetime.now(UTC), cause=cause, category=category, note=note
            )

    word = run(work())
    emit(
        output,
        word.model_dump(mode="json"),
        lambda: typer.echo(f"{word.incident_id}: {word.rating} by {word.person}; it counts from now on"),
    )


@app.command("list")
def list_(
    incident: Annotated[str, typer.Option(help="only this incident")] = "",
    cluster: Annotated[str, typer.Option(help="only this cluster")] = "",
    every: Annotated[bool, typer.Option("--all", help="also what was replaced or taken back")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """The words that count now, newest first."""

    async def work() -> list[Feedback]:
        from cortexops.domain.feedback import standing

        async with open_store() as store:
            rows = await store.feedback(cluster=cluster, incident_id=incident)
        return rows if every else sorted(standing(rows), key=lambda word: -word.number)

    words = run(work())

    def text() -> None:
        rows = [
            [
                word.incident_id,
                f"undone: {word.rating}" if word.undoes else word.rating,
                word.person,
                f"{word.at:%Y-%m-%d %H:%M}",
                str(word.category or ""),
                " ".join(str(part) for part in (word.true_category, word.true_resource) if part),
                word.note,
            ]
            for word in words
        ]
        table(["INCIDENT", "WORD", "BY", "AT", "SAID WAS", "CAUSE WAS", "NOTE"], rows, "no feedback")

    emit(output, [word.model_dump(mode="json") for word in words], text)


@app.command()
def undo(
    incident_id: Annotated[str, typer.Argument(metavar="INCIDENT")], output: OutputOption = Output.TEXT
) -> None:
    """Take back your word on an incident; what you said before stands again."""

    async def work() -> Feedback:
        from cortexops.adapters.judging import Judging

        person = whoami(settings())
        async with open_store() as store:
            return await Judging(store).undo(incident_id, person, now=datetime.now(UTC))

    word = run(work())
    emit(
        output,
        word.model_dump(mode="json"),
        lambda: typer.echo(f"{word.incident_id}: {word.rating} by {word.person} is taken back"),
    )


@app.command()
def effect(
    cluster: Annotated[str, typer.Option(help="only this cluster")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """What people's words change now in the ranking of hypotheses, and why."""

    async def work() -> list[Adjustment]:
        from cortexops.domain.experience import adjustments

        async with open_store() as store:
            rows = await store.feedback(cluster=cluster)
        return [found for found in adjustments(rows) if found.by or found.last]

    found = run(work())

    def text() -> None:
        rows = [
            [
                a.target or f"{a.shape} in {'/'.join(filter(None, (a.cluster, a.namespace)))}",
                " on ".join(str(part) for part in (a.category, a.resource) if part),
                f"{a.by:+.3f}" + (", does not lead" if a.last else ""),
                a.why,
                ", ".join(a.incidents[:4]) + (" …" if len(a.incidents) > 4 else ""),
            ]
            for a in found
        ]
        table(["WHERE", "HYPOTHESIS", "MOVED BY", "WHY", "FEEDBACK OF"], rows, "nothing is moved")

    emit(output, [a.model_dump(mode="json") for a in found], text)
