"""Running drills and reporting on them, as Markdown for people and JUnit for CI."""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree as XML

from rich.console import Console
from rich.text import Text

import cortexops
from cortexops.domain.errors import CortexError, InvalidInput
from cortexops.domain.resource import Frozen
from sandbox.drills.catalogue import DRILLS
from sandbox.drills.stage import Check, staged


class Result(Frozen):
    """One drill: its checks, and what went wrong besides."""

    name: str
    title: str
    checks: tuple[Check, ...]
    error: str
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.error and bool(self.checks) and all(check.held for check in self.checks)


async def run_drill(name: str) -> Result:
    """Run one drill on a platform of its own."""
    drill = DRILLS[name]
    began = time.monotonic()
    checks: list[Check] = []
    error = ""
    try:
        async with staged(drill.overrides) as stage:
            checks = stage.checks
            await drill.run(stage)
    except (CortexError, TimeoutError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    return Result(
        name=name,
        title=drill.title,
        checks=tuple(checks),
        error=error,
        seconds=round(time.monotonic() - began, 1),
    )


async def run_drills(names: list[str], folder: Path, console: Console) -> bool:
    """Run them one after the other and write `drills.md` and `drills.xml`; True when all passed.

    Raises `InvalidInput` for an unknown drill.
    """
    for name in names:
        if name not in DRILLS:
            raise InvalidInput("drill", f"there is no {name!r}; there are {', '.join(DRILLS)}")
    results = []
    for name in names or list(DRILLS):
        with console.status(f"{name}: {DRILLS[name].title}"):
            result = await run_drill(name)
        results.append(result)
        console.print(
            Text.assemble(
                (" ok   " if result.passed else " FAIL ", "bold green" if result.passed else "bold red"),
                (f"{result.name}: {result.title} ", "bold"),
                (f"({result.seconds:.0f} s)", "dim"),
            )
        )
        for check in result.checks:
            mark = ("  ✓ ", "green") if check.held else ("  ✗ ", "red")
            console.print(Text.assemble("    ", mark, check.invariant, (f"  {check.detail}", "dim")))
        if result.error:
            console.print(Text(f"      {result.error}", style="red"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "drills.md").write_text(_markdown(results), encoding="utf-8")
    XML.ElementTree(_junit(results)).write(folder / "drills.xml", encoding="utf-8", xml_declaration=True)
    passed = sum(result.passed for result in results)
    console.print(f"\n{passed} of {len(results)} drills passed; report in {folder / 'drills.md'}")
    return passed == len(results)


def _markdown(results: list[Result]) -> str:
    lines = [
        f"# Drills of CortexOps {cortexops.__version__}",
        "",
        "| drill | result | seconds |",
        "|---|---|---|",
    ]
    lines += [
        f"| {r.name}: {r.title} | {'passed' if r.passed else '**failed**'} | {r.seconds} |" for r in results
    ]
    for result in results:
        lines += ["", f"## {result.name}", "", result.title, ""]
        lines += [
            f"- {'held' if c.held else '**broken**'}: {c.invariant} ({c.detail})" for c in result.checks
        ]
        if result.error:
            lines.append(f"- **error**: {result.error}")
    return "\n".join(lines) + "\n"


def _junit(results: list[Result]) -> XML.Element:
    suite = XML.Element(
        "testsuite",
        name="cortexops.drills",
        tests=str(sum(len(r.checks) for r in results)),
        failures=str(sum(not c.held for r in results for c in r.checks)),
        errors=str(sum(bool(r.error) for r in results)),
    )
    for result in results:
        for check in result.checks:
            case = XML.SubElement(suite, "testcase", classname=result.name, name=check.invariant)
            if not check.held:
                XML.SubElement(case, "failure", message=check.detail)
        if result.error:
            case = XML.SubElement(
                suite, "testcase", classname=result.name, name="runs to its end", time=str(result.seconds)
            )
            XML.SubElement(case, "error", message=result.error)
    return suite
