"""The matrix as people read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.crash.cell import Left, Plan

COLUMNS = ("clean", "dry run", "look", "intent", "the call", "record", "verify", "undo", "meddled", "others")

_NOW_AND_THEN = 10  # runs


def column(plan: Plan) -> str:
    """Where in the table a run stands."""
    if plan.boundary is None:
        return "clean"
    if plan.victim != "worker":
        return "others"
    if plan.meddle:
        return "meddled"
    call = plan.boundary.call
    if call.activity != "apply":
        return {"dry_run": "dry run", "verify": "verify"}.get(call.activity, "undo")
    if call.sends:
        return "the call"
    return {"intend": "intent", "settle": "record", "append": "record"}.get(call.name, "look")


class Cell(NamedTuple):
    server: str
    plan: Plan
    wrong: list[str]
    seconds: float


class Report:
    """Grows while the matrix runs."""

    def __init__(self, missing: list[str], path: Path | None = None) -> None:
        """`path`: where to keep the Markdown, written anew now and then, so that a long run leaves something."""
        self.missing = missing
        self._path = path
        self.cells: list[Cell] = []
        self.seconds: dict[str, float] = {}

    def add(self, server: str, left: Left, wrong: list[str]) -> None:
        self.cells.append(Cell(server, left.plan, wrong, left.seconds))
        if len(self.cells) % _NOW_AND_THEN == 0:
            self.keep()

    def keep(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(markdown(self), encoding="utf-8")

    @property
    def wrong(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.wrong]

    def rows(self, server: str) -> Iterator[list[str]]:
        """Action, then `ok/all` of each column."""
        found: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
        for cell in self.cells:
            if cell.server == server:
                found[cell.plan.action][column(cell.plan)].append(cell)
        for action, by_column in sorted(found.items()):
            yield [action, *(_share(by_column[name]) for name in COLUMNS)]

    @property
    def servers(self) -> list[str]:
        return list(dict.fromkeys(cell.server for cell in self.cells))

    def total(self, server: str) -> str:
        cells = [cell for cell in self.cells if cell.server == server]
        right = sum(not cell.wrong for cell in cells)
        took = self.seconds.get(server)
        return f"{right} of {len(cells)} runs ok" + (f" in {took:.0f} s" if took else "")


def _share(cells: list[Cell]) -> str:
    return f"{sum(not cell.wrong for cell in cells)}/{len(cells)}" if cells else "–"


def table(report: Report) -> str:
    """For the terminal."""
    lines: list[str] = []
    for server in report.servers:
        rows = [["action", *COLUMNS], *report.rows(server)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines += [f"{server} API server: {report.total(server)}", ""]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        lines.append("")
    lines += [f"WRONG {cell.server}: {cell.plan}: {'; '.join(cell.wrong)}" for cell in report.wrong]
    lines += [f"MISSING a scene: {action}" for action in report.missing]
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """The table, what went wrong, and every run."""
    lines = ["# Crash matrix", "", "kill -9 at each boundary: runs that are ok / all runs.", ""]
    for server in report.servers:
        lines += [f"## {server.capitalize()} API server", "", f"{report.total(server)}.", ""]
        lines += [f"| action | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in report.rows(server)] + [""]
    if report.missing:
        lines += [f"Without a scene: {', '.join(report.missing)}.", ""]
    lines += ["## What went wrong", ""]
    lines += [f"- {cell.server}: {cell.plan}: {'; '.join(cell.wrong)}" for cell in report.wrong] or [
        "Nothing."
    ]
    lines += ["", "## Every run", "", "| server | run | seconds | outcome |", "|---|---|---|---|"]
    lines += [
        f"| {cell.server} | {cell.plan} | {cell.seconds:.1f} | {'; '.join(cell.wrong) or 'ok'} |"
        for cell in report.cells
    ]
    return "\n".join(lines) + "\n"
