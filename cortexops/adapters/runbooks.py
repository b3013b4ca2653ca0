"""Runbooks from folders: the team's own and those that ship with the product."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cortexops.adapters.bounded_yaml import MOST_BYTES, read_yaml
from cortexops.domain.action import ActionSpec
from cortexops.domain.errors import InvalidInput
from cortexops.domain.runbook import Origin, Problem, Runbook
from cortexops.domain.runbook_document import read_runbook
from cortexops.ports.runbooks import Shelf

MOST_FILES = 500
_ENDINGS = (".yaml", ".yml")


def parse_runbook(
    raw: bytes, specs: Mapping[str, ActionSpec], *, source: str, origin: Origin
) -> tuple[Runbook | None, list[Problem]]:
    """The runbook in these bytes, or what is wrong with them. Never raises."""
    try:
        document = read_yaml(raw)
    except InvalidInput as error:
        return None, [Problem(file=source, field=error.field, message=str(error).partition(": ")[2])]
    return read_runbook(document, specs, source=source, origin=origin)


def read_folder(folder: Path, specs: Mapping[str, ActionSpec], *, origin: Origin) -> Shelf:
    """Every `.yaml` file in the folder, by name; subfolders and hidden files are left alone. Never raises."""
    try:
        files = sorted(
            file for file in folder.iterdir() if file.suffix in _ENDINGS and not file.name.startswith(".")
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return Shelf(
            problems=(Problem(file=str(folder), field="runbooks.path", message=f"cannot be read: {reason}"),)
        )
    runbooks: dict[str, Runbook] = {}
    problems: list[Problem] = []
    if len(files) > MOST_FILES:
        problems.append(
            Problem(
                file=str(folder), field="runbooks.path", message=f"only the first {MOST_FILES} files are read"
            )
        )
    for file in files[:MOST_FILES]:
        runbook, wrong = read_file(file, specs, origin=origin)
        problems += wrong
        if runbook is None:
            continue
        if runbook.id in runbooks:
            other = Path(runbooks[runbook.id].source).name
            message = f"{runbook.id!r} is the id of {other} already: give each its own"
            problems.append(Problem(file=file.name, field="id", message=message))
            continue
        runbooks[runbook.id] = runbook
    return Shelf(tuple(runbooks.values()), tuple(problems))


def read_file(
    file: Path, specs: Mapping[str, ActionSpec], *, origin: Origin = Origin.FOLDER
) -> tuple[Runbook | None, list[Problem]]:
    """The runbook in one file; complaints name the file without its folder. Never raises."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(MOST_BYTES + 1)
    except OSError as error:
        message = f"cannot be read: {error.strerror or type(error).__name__}"
        return None, [Problem(file=file.name, field="file", message=message)]
    runbook, problems = parse_runbook(raw, specs, source=file.name, origin=origin)
    return (runbook.model_copy(update={"source": str(file)}) if runbook else None), problems


def load_shelf(own: Path | None, shipped: Path | None, specs: Mapping[str, ActionSpec]) -> Shelf:
    """The team's runbooks and the shipped ones; a team's own replaces the shipped one of the same id."""
    mine = read_folder(own, specs, origin=Origin.FOLDER) if own else Shelf()
    ours = read_folder(shipped, specs, origin=Origin.SHIPPED) if shipped else Shelf()
    taken = {runbook.id for runbook in mine.runbooks}
    return Shelf(
        (*mine.runbooks, *(runbook for runbook in ours.runbooks if runbook.id not in taken)),
        (*mine.problems, *ours.problems),
    )
