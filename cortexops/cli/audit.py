"""`cortexops audit …`: check the trail, anchor it, export it, archive its old rows."""

from __future__ import annotations

import getpass
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cortexops.cli.common import FINDING, USAGE, Output, OutputOption, emit, fail, open_store, run, settings

if TYPE_CHECKING:
    from cortexops.adapters.postgres.audit_archive import Written
    from cortexops.adapters.postgres.audit_check import Checked
    from cortexops.domain.anchor import Anchor

app = typer.Typer(no_args_is_help=True, help="Verify, anchor, export and archive the audit trail.")
_PAGE = 5_000
_PAUSE = 1.0  # seconds between looks for new events


@app.command()
def verify(
    incident_id: Annotated[
        str | None, typer.Argument(help="only this incident's chain; all when absent")
    ] = None,
    anchor: Annotated[
        str, typer.Option(help="HASH or DAY:HASH that was kept outside (`audit anchor --print`)")
    ] = "",
    archive: Annotated[
        list[Path] | None, typer.Option(help="archive of old rows to check as well; may be repeated")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Recompute every hash; exit 1 and name the place when a row was changed, removed or reordered."""
    from cortexops.adapters.postgres.audit_archive import read_archive

    async def work() -> Checked:
        archives = [read_archive(path) for path in archive or ()]
        async with open_store() as store:
            return await store.examine(chain=incident_id, anchor=anchor, archives=archives)

    checked = run(work())
    faults = checked.faults
    if incident_id is not None and not (checked.events or checked.unseen or faults):
        fail(f"{incident_id} was not found: no chain, no anchor and no archive names it")

    def text() -> None:
        for fault in faults:
            column = f" (column {fault.column})" if fault.column and fault.column not in fault.fault else ""
            typer.echo(f"{fault.chain} #{fault.number}: {fault.fault}{column}")
        if checked.unseen:
            typer.echo(f"{checked.unseen} events are in archives that were not given (--archive)")
        typer.echo(f"{checked.events} events checked, {len(faults)} faults")

    data = {
        "checked": checked.events,
        "archived_unchecked": checked.unseen,
        "faults": [fault.model_dump() for fault in faults],
    }
    emit(output, data, text)
    if faults:
        raise typer.Exit(FINDING)


@app.command()
def anchor(
    show: Annotated[
        bool, typer.Option("--print", help="print DAY:HASH of the newest anchor, to be kept outside")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write the anchors of all days that have ended without one. Safe to call again."""

    async def work() -> tuple[list[Anchor], list[Anchor]]:
        async with open_store() as store:
            written = await store.anchor(datetime.now(UTC))
            return written, await store.anchors(most=1)

    written, newest = run(work())

    def text() -> None:
        if not show:
            typer.echo(f"{len(written)} anchors written")
        for one in newest:
            typer.echo(f"{one.day}:{one.hash}" if show else f"newest: {one.day}, {one.cursor} events covered")

    told = [{"day": one.day, "number": one.number, "cursor": one.cursor, "hash": one.hash} for one in newest]
    emit(output, {"written": [str(one.day) for one in written], "newest": told}, text)


@app.command()
def export(
    after: Annotated[int, typer.Option(help="cursor: only events recorded after it", min=0)] = 0,
    most: Annotated[int | None, typer.Option(help="at most so many; without --follow 10000", min=1)] = None,
    format: Annotated[Literal["ndjson", "cef"], typer.Option(help="NDJSON, or CEF for a SIEM")] = "ndjson",
    follow: Annotated[bool, typer.Option("--follow", help="go on with new events until Ctrl-C")] = False,
    state: Annotated[
        Path | None, typer.Option(help="file that keeps the cursor, to go on after a restart")
    ] = None,
) -> None:
    """Events one a line, each with its cursor; asked again after the last one, none is missed."""
    import asyncio

    import cortexops
    from cortexops.domain.audit_export import ExportFormat, export_line

    begin, chosen = max(after, _kept(state)), ExportFormat(format)
    limit = most if most is not None or follow else 10_000

    async def work() -> None:
        last, left = begin, limit
        async with open_store() as store:
            while True:
                asked = _PAGE if left is None else min(_PAGE, left)
                count = 0
                async for cursor, event in store.export(after=last, most=asked):
                    sys.stdout.write(export_line(cursor, event, chosen, version=cortexops.__version__) + "\n")
                    last, count = cursor, count + 1
                sys.stdout.flush()
                _keep(state, last)
                left = None if left is None else left - count
                if left == 0 or (count < asked and not follow):
                    return
                if count < asked:
                    await asyncio.sleep(_PAUSE)

    run(work())


def _kept(state: Path | None) -> int:
    """The cursor in the file, 0 when there is none yet."""
    if state is None or not state.exists():
        return 0
    try:
        return int(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        fail(f"--state {state}: holds no cursor", USAGE)


def _keep(state: Path | None, cursor: int) -> None:
    """After the lines are out: a crash in between exports them again, and loses none."""
    if state is None:
        return
    new = state.with_name(f"{state.name}.new")
    new.write_text(f"{cursor}\n", encoding="utf-8")
    new.replace(state)


@app.command()
def prune(
    before: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="incidents that ended before this UTC day; default: settings"
        ),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Move the rows of old, ended, anchored incidents into an archive; the chains stay checkable."""
    configured = settings()
    now = datetime.now(UTC)
    if before is not None:
        bound = before.replace(tzinfo=UTC)
    elif configured.audit.retention_days:
        bound = now - timedelta(days=configured.audit.retention_days)
    else:
        fail("give --before DAY, or set audit.retention_days", USAGE)
    folder = configured.audit.archive_path or configured.data_dir / "audit-archive"

    async def work() -> list[Written]:
        found: list[Written] = []
        async with open_store() as store:
            while (written := await store.prune(bound, folder, actor=getpass.getuser(), now=now)) is not None:
                found.append(written)
        return found

    archives = run(work())

    def text() -> None:
        for one in archives:
            typer.echo(f"{one.path}: {one.rows} rows of {len(one.ends)} incidents, SHA-256 {one.digest}")
        if not archives:
            typer.echo("nothing is old enough")

    told = [
        {"path": str(one.path), "digest": one.digest, "rows": one.rows, "incidents": len(one.ends)}
        for one in archives
    ]
    emit(output, {"archives": told}, text)
