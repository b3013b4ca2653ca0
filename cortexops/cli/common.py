"""What all commands share: settings, output, exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from cortexops.domain.errors import CortexError, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortexops.adapters.postgres import PostgresStore
    from cortexops.domain.approval import Person
    from cortexops.settings import Settings

OK, FINDING, USAGE = 0, 1, 2
"""Exit codes: fine; finding, denied or not found; wrong usage."""

RUN_FILE = "settings.yaml"
"""`cortexops up` leaves its settings here, in the data folder, so that other commands find it."""
TOKEN_FILE = "token"

T = TypeVar("T")


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="text for people, json for programs")]


def settings() -> Settings:
    """Settings from CORTEXOPS_CONFIG and the environment, else those of the `cortexops up` that runs here."""
    from cortexops.settings import load_settings

    running = Path(os.environ.get("CORTEXOPS_DATA_DIR", ".cortexops")) / RUN_FILE
    if not os.environ.get("CORTEXOPS_CONFIG") and running.is_file():
        return load_settings(running)
    return load_settings()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it; our own errors become a sentence on stderr and an exit code."""
    import asyncio

    try:
        return asyncio.run(work)
    except InvalidInput as error:
        fail(str(error), USAGE)
    except CortexError as error:
        fail(str(error), FINDING)
    except KeyboardInterrupt:
        fail("interrupted", 130)


def fail(text: str, code: int = FINDING) -> NoReturn:
    """Say what is wrong and how to mend it, and exit."""
    from cortexops.domain.outgoing import WITHHELD, Destination, Withheld, outgoing

    try:
        typer.echo(outgoing(text, Destination.LOG), err=True)
    except Withheld:
        typer.echo(WITHHELD, err=True)
    raise typer.Exit(code)


def say(text: str, *, err: bool = False) -> None:
    """A line for people. What a terminal would obey instead of showing is written out."""
    from cortexops.domain.untrusted import seen

    typer.echo(seen(text), err=err)


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey (`cortexops.domain.parked`)."""
    from cortexops.domain import parked

    return parked.printable(text)


def emit(output: Output, data: Any, text: Callable[[], None]) -> None:
    """JSON for programs, or whatever `text` prints."""
    if output is Output.JSON:
        typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))
    else:
        text()


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str = "none") -> None:
    """Columns as people read them; whole on a pipe, fitted on a terminal. Markup in values stays text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cortexops.domain.untrusted import seen

    if not rows:
        typer.echo(empty)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(seen(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200).print(shown)


@asynccontextmanager
async def open_store() -> AsyncIterator[PostgresStore]:
    """The database of the settings."""
    from cortexops.adapters.postgres import PostgresStore

    store = await PostgresStore.connect(settings().postgres.dsn.get_secret_value())
    try:
        yield store
    finally:
        await store.close()


def found(thing: T | None, what: str) -> T:
    """The thing, or `NotFound` naming it."""
    if thing is None:
        raise NotFound(f"{what} was not found")
    return thing


def whoami(configured: Settings) -> Person:
    """The person behind CORTEXOPS_TOKEN, or behind the token file of the local `cortexops up`."""
    from cortexops.domain.people import People

    token = os.environ.get("CORTEXOPS_TOKEN", "")
    local = configured.data_dir / TOKEN_FILE
    if not token and local.is_file():
        token = local.read_text(encoding="utf-8").strip()
    if not token:
        raise InvalidInput(
            "CORTEXOPS_TOKEN", "is not set; approvals need to know who you are (settings: people)"
        )
    person = People(configured.people).by_token(token)
    if person is None:
        raise InvalidInput("CORTEXOPS_TOKEN", "belongs to nobody who is configured under `people`")
    return person
