"""`cortexops policy …`: test the bundle before it decides anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cortexops.cli.common import FINDING, Output, OutputOption, emit, run, settings

app = typer.Typer(no_args_is_help=True, help="Test policies.")


@app.callback()
def _group() -> None:
    """Test policies."""


@app.command()
def test(
    path: Annotated[
        Path | None, typer.Argument(help="folder of the bundle; the configured one when absent")
    ] = None,
    opa: Annotated[Path | None, typer.Option(help="an OPA program: run the tests on it as well")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run the `test_…` rules of the bundle; exit 1 when one fails."""
    from cortexops.adapters.policy import shipped_pack
    from cortexops.adapters.policy_bundle import load_bundle
    from cortexops.adapters.policy_tests import TestResult, run_policy_tests

    async def work() -> dict[str, list[TestResult]]:
        bundle = load_bundle(path or settings().policy.path or shipped_pack())
        found = {"regorus": run_policy_tests(bundle)}
        if opa is not None:
            found["opa"] = run_policy_tests(bundle, "opa", opa=opa)
        return found

    results = run(work())

    def text() -> None:
        for engine, outcomes in results.items():
            for outcome in outcomes:
                if not outcome.passed:
                    typer.echo(f"{engine}: FAILED {outcome.name}: {outcome.detail}")
            typer.echo(
                f"{engine}: {sum(o.passed for o in outcomes)} passed, {sum(not o.passed for o in outcomes)} failed"
            )

    data = {
        engine: [{"name": o.name, "passed": o.passed, "detail": o.detail} for o in outcomes]
        for engine, outcomes in results.items()
    }
    emit(output, data, text)
    if any(not outcome.passed for outcomes in results.values() for outcome in outcomes):
        raise typer.Exit(FINDING)
