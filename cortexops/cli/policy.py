"""`cortexops policy …`: test a bundle, explain a decision, replay the decisions of the past."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cortexops.cli.common import FINDING, Output, OutputOption, emit, open_store, run, settings, table
from cortexops.domain.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from cortexops.adapters.policy_bundle import Bundle
    from cortexops.adapters.policy_explain import Explanation, Fired
    from cortexops.adapters.policy_opa import OpaPolicy
    from cortexops.adapters.policy_regorus import RegorusPolicy
    from cortexops.domain.audit import AuditEvent
    from cortexops.domain.policy_replay import Replay

app = typer.Typer(no_args_is_help=True, help="Test, explain and replay policies.")

BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="folder of a bundle; the configured one when absent")
]
DataOption = Annotated[Path | None, typer.Option("--data", help="JSON file laid over the bundle's data.json")]
OpaUrlOption = Annotated[str, typer.Option("--opa-url", help="ask this OPA server instead of a folder")]


@app.callback()
def _group() -> None:
    """Test, explain and replay policies."""


@app.command()
def test(
    path: Annotated[
        Path | None, typer.Argument(help="folder of the bundle; the configured one when absent")
    ] = None,
    opa: Annotated[Path | None, typer.Option(help="an OPA program: run the tests on it as well")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run the `test_…` rules of the bundle and the invariants; exit 1 when one fails."""
    from cortexops.adapters.policy import shipped_pack
    from cortexops.adapters.policy_bundle import load_bundle
    from cortexops.adapters.policy_invariants import invariant_results
    from cortexops.adapters.policy_tests import TestResult, run_policy_tests

    async def work() -> dict[str, list[TestResult]]:
        bundle = load_bundle(path or settings().policy.path or shipped_pack())
        found = {"regorus": run_policy_tests(bundle), "invariants": invariant_results(bundle)}
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


@app.command()
def explain(
    incident: Annotated[str, typer.Argument(metavar="[INCIDENT]", help="its newest decision")] = "",
    input_: Annotated[Path | None, typer.Option("--input", help="a question as a JSON file")] = None,
    bundle: BundleOption = None,
    data: DataOption = None,
    opa_url: OpaUrlOption = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Which rules fired on a question, what they looked at, and what they decided; exit 1 for a denial."""

    async def work() -> tuple[Explanation, AuditEvent | None]:
        from cortexops.adapters.policy_explain import explain_on_opa, explain_on_regorus

        if bool(incident) == (input_ is not None):
            raise InvalidInput("INCIDENT", "name an incident, or give --input FILE")
        event = None
        if input_ is not None:
            question = _question(input_)
        else:
            event = await _newest(incident)
            question = event.data["input"]
        configured = settings().policy
        if opa_url or (configured.engine == "opa" and bundle is None):
            token = configured.opa_token.get_secret_value() if configured.opa_token else None
            return await explain_on_opa(opa_url or configured.opa_url, question, token=token), event
        return explain_on_regorus(_bundle(bundle, data), question), event

    found, event = run(work())

    def text() -> None:
        if event is not None:
            typer.echo(f"{event.chain} at {event.at:%Y-%m-%d %H:%M:%S} UTC: {event.detail}")
            if event.data.get("rule") in ("kill_switch", "autonomy", "limits", "fail_closed"):
                typer.echo(
                    f"decided by the product itself (rule {event.data['rule']}), whatever the bundle said"
                )
        said = found.decision
        typer.echo(f"{said.engine} {said.revision[:12]} answers: {said.effect} (rule {said.rule})")
        if found.problem:
            typer.echo(f"the engine complained: {found.problem}")
        if said.effect == "require_approval":
            roles = ", ".join(said.roles) or "anybody known"
            typer.echo(f"{said.quorum} of {roles} must agree within {said.expires_seconds} s")
        for fired in found.fired:
            _tell(fired)
        if not found.fired:
            typer.echo(f"reasons: {', '.join(said.reasons)}")

    emit(output, found.model_dump(mode="json"), text)
    if found.decision.effect == "deny":
        raise typer.Exit(FINDING)


def _tell(fired: Fired) -> None:
    asks = f" ({fired.quorum} people)" if fired.quorum else ""
    typer.echo(f"\n{fired.verdict}: {fired.reason}{asks}, rule {fired.rule}")
    for place in fired.places:
        typer.echo(f"  {place.file}:{place.line}")
    for path, value in fired.looked_at.items():
        shown = json.dumps(value, ensure_ascii=False, default=str)
        typer.echo(f"    {path} = {shown[:200]}")


@app.command()
def replay(
    bundle: BundleOption = None,
    data: DataOption = None,
    opa_url: OpaUrlOption = "",
    since: Annotated[str, typer.Option(help="how far back: 30d, 12h, or a time in RFC 3339")] = "30d",
    fail_on_change: Annotated[
        bool, typer.Option("--fail-on-change", help="exit 1 when an effect or an approval would be another")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """What this bundle would have decided on the questions of the past; lists what would be another."""

    async def work() -> Replay:
        from cortexops.domain.policy_replay import difference, recorded, summed

        begin = since_time(since, datetime.now(UTC))
        engine = _engine(bundle, data, opa_url)
        asked = unreadable = 0
        found = []
        try:
            async with open_store() as store:
                async for event in store.decisions(begin):
                    before = recorded(event)
                    if before is None:
                        unreadable += 1
                        continue
                    asked += 1
                    now = difference(before, await engine.evaluate(before.question))
                    found += [now] if now is not None else []
        finally:
            await engine.close()
        return summed(asked, unreadable, found)

    result = run(work())

    def text() -> None:
        rows = [
            [
                one.incident_id,
                f"{one.at:%Y-%m-%d %H:%M}",
                one.action,
                f"{one.then.effect}: {', '.join(one.then.reasons)}",
                f"{one.now.effect}: {', '.join(one.now.reasons)}",
            ]
            for one in result.differences
        ]
        table(["INCIDENT", "AT", "ACTION", "THEN", "NOW"], rows, "no decision would be another")
        for change, count in sorted(result.effects.items()):
            typer.echo(f"{change}: {count}")
        typer.echo(
            f"{result.asked} decisions asked again, {len(result.differences)} would be another, "
            f"{result.unreadable} cannot be asked again"
        )

    emit(output, {**result.model_dump(mode="json"), "changed": result.changed}, text)
    if fail_on_change and result.changed:
        raise typer.Exit(FINDING)


def since_time(text: str, now: datetime) -> datetime:
    """The beginning of a span such as `30d`, `12h`, `45m`, or a time. Raises `InvalidInput`."""
    unit = {"d": "days", "h": "hours", "m": "minutes"}.get(text[-1:])
    try:
        if unit and text[:-1].isascii() and text[:-1].isdigit():
            return now - timedelta(**{unit: int(text[:-1])})
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidInput("--since", "must look like 30d, 12h, or 2026-03-01T00:00:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _question(file: Path) -> dict[str, Any]:
    """A question from a file, filled up and checked. Raises `InvalidInput`."""
    from pydantic import ValidationError

    from cortexops.domain.policy import PolicyInput

    try:
        return PolicyInput.model_validate_json(file.read_text(encoding="utf-8")).document()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("--input", f"cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput("--input", f"{where or 'the document'}: {first['msg']}") from None


async def _newest(incident: str) -> AuditEvent:
    async with open_store() as store:
        found = [
            event async for event in store.decisions(datetime.min.replace(tzinfo=UTC), incident=incident)
        ]
    kept = [event for event in found if isinstance(event.data.get("input"), dict)]
    if not kept:
        raise NotFound(f"no decision of {incident} was found")
    return kept[-1]


def _bundle(path: Path | None, data: Path | None) -> Bundle:
    from cortexops.adapters.policy import shipped_pack
    from cortexops.adapters.policy_bundle import load_bundle

    configured = settings().policy
    if path is not None:
        return load_bundle(path, data)
    return load_bundle(configured.path or shipped_pack(), data or configured.data)


def _engine(path: Path | None, data: Path | None, opa_url: str) -> RegorusPolicy | OpaPolicy:
    from cortexops.adapters.policy_opa import OpaPolicy
    from cortexops.adapters.policy_regorus import RegorusPolicy

    configured = settings().policy
    if opa_url or (configured.engine == "opa" and path is None):
        token = configured.opa_token.get_secret_value() if configured.opa_token else None
        return OpaPolicy(
            opa_url or configured.opa_url, token=token, timeout_seconds=configured.timeout_seconds
        )
    return RegorusPolicy(_bundle(path, data), timeout_seconds=configured.timeout_seconds)
