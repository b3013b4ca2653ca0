"""Commands that run things: up, demo, drills, worker, migrate, investigate, doctor, rbac, terminate, replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cortexops.cli.common import (
    FINDING,
    Output,
    OutputOption,
    emit,
    fail,
    found,
    open_store,
    run,
    settings,
    table,
)

DataOption = Annotated[Path, typer.Option("--data", envvar="CORTEXOPS_DATA_DIR", help="data folder")]
_DATA = Path(".cortexops")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (up, demo, drills, worker, migrate, investigate, doctor, rbac, terminate, replay):
        app.command()(command)


def up(
    kubeconfig: Annotated[Path | None, typer.Option(help="a real cluster; the sandbox when absent")] = None,
    context: Annotated[str | None, typer.Option(help="context in the kubeconfig")] = None,
    cluster: Annotated[str, typer.Option(help="name of the cluster")] = "sandbox",
    sandbox: Annotated[bool, typer.Option("--sandbox", help="the simulated cluster (the default)")] = False,
    data: DataOption = _DATA,
) -> None:
    """Run the engines and all workers in the foreground, until Ctrl-C."""
    from rich.console import Console

    from cortexops.domain.errors import InvalidInput
    from cortexops.settings import load_settings
    from cortexops.telemetry import configure_logging
    from sandbox.platform.platform import Platform
    from sandbox.platform.up import run as run_platform

    if kubeconfig is not None and sandbox:
        fail("--kubeconfig and --sandbox exclude each other", 2)
    configure_logging("warning", "console")
    try:
        model = load_settings().model  # the children get their settings from a file, which has the rest
    except InvalidInput as error:
        fail(str(error), 2)
    overrides = {"model": model.with_key()} if model.on else None
    platform = Platform(data, kubeconfig=kubeconfig, context=context, cluster=cluster, overrides=overrides)
    run(run_platform(platform, Console()))


def demo(
    scenario: Annotated[
        list[str] | None, typer.Argument(help="scenarios; three that show the main job when absent")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="keep everything running afterwards, to look around")
    ] = False,
    data: DataOption = Path(".cortexops/demo"),
) -> None:
    """Break a simulated cluster and watch how the incidents are handled."""
    from rich.console import Console

    from cortexops.telemetry import configure_logging
    from sandbox.demo.play import play

    configure_logging("error", "console")
    if not run(play(data, scenario or [], keep=keep, console=Console())):
        raise typer.Exit(FINDING)


def drills(
    name: Annotated[list[str] | None, typer.Argument(help="drills; all when absent")] = None,
    report: Annotated[Path, typer.Option(help="folder for drills.md and drills.xml (JUnit)")] = Path(
        "reports"
    ),
) -> None:
    """Break the product itself on purpose and check what must always hold."""
    from rich.console import Console

    from cortexops.telemetry import configure_logging
    from sandbox.drills.run import run_drills

    configure_logging("error", "console")
    if not run(run_drills(name or [], report, Console())):
        raise typer.Exit(FINDING)


def worker(
    roles: Annotated[
        list[str], typer.Argument(help="gateway correlator orchestrator investigator remediator console")
    ],
) -> None:
    """Run one process with these roles, until a signal comes."""
    from workers.__main__ import main

    raise typer.Exit(main(roles))


def migrate() -> None:
    """Bring the database's schema to this version. Safe to run from several places at once."""
    import asyncio

    from cortexops.adapters.postgres.migrate import upgrade

    revision = run(asyncio.to_thread(upgrade, settings().postgres.dsn.get_secret_value()))
    typer.echo(f"the schema is at {revision}")


def investigate(
    target: Annotated[
        str | None, typer.Argument(help="KIND/NAME of an object to ask about, where there is no alert")
    ] = None,
    alert: Annotated[
        str | None, typer.Option(help="file with a payload, an array of them, or one a line; - for stdin")
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="of the object")] = "default",
    source: Annotated[str, typer.Option(help="auto, alertmanager, kubernetes, signals …")] = "auto",
    kubeconfig: Annotated[Path | None, typer.Option(help="kubeconfig; the usual places when absent")] = None,
    context: Annotated[str | None, typer.Option(help="context in it")] = None,
    cluster: Annotated[str, typer.Option(help="name of the cluster")] = "default",
    prometheus: Annotated[str | None, typer.Option(help="URL of a Prometheus server")] = None,
    loki: Annotated[str | None, typer.Option(help="URL of a Loki server")] = None,
    runbooks: Annotated[
        Path | None, typer.Option(help="folder of runbooks; that of the settings when absent")
    ] = None,
    no_llm: Annotated[bool, typer.Option("--no-llm", help="without a model")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Find the cause once, without servers: reads the cluster, changes nothing."""
    from cortexops.cli.investigate import look, signal_about, signals_of
    from cortexops.domain.errors import InvalidInput
    from cortexops.domain.report import render_text
    from cortexops.telemetry import configure_logging

    configure_logging("error", "console")
    if (alert is None) == (target is None):
        fail("name either an object (deployment/orders -n shop) or a file (--alert alert.json)", 2)
    try:
        asked = (
            [signal_about(target, namespace, cluster)]
            if target is not None
            else signals_of(str(alert), source, cluster)
        )
    except InvalidInput as error:
        fail(str(error), 2)
    report = run(
        look(
            asked,
            cluster,
            kubeconfig=kubeconfig,
            context=context,
            prometheus=prometheus,
            loki=loki,
            runbooks=runbooks,
            with_model=not no_llm,
        )
    )
    emit(output, report, lambda: typer.echo(render_text(report)))


def doctor(output: OutputOption = Output.TEXT) -> None:
    """Say what is missing or wrong here, and how to mend it. Exit 1 when something is."""
    from cortexops.cli.doctor import examine

    findings = run(examine())
    data = [finding._asdict() for finding in findings]
    rows = [["ok" if f.ok else "FAIL", f.what, f.detail, f.remedy] for f in findings]
    emit(output, data, lambda: table(["", "WHAT", "FOUND", "REMEDY"], rows))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(FINDING)


def rbac(
    namespace: Annotated[
        str | None, typer.Option(help="a Role in this namespace; a ClusterRole when absent")
    ] = None,
    service_account: Annotated[
        str, typer.Option(help="namespace/name prefix of the service accounts")
    ] = "cortexops/cortexops",
) -> None:
    """Print the minimal roles of the two identities, made from what collectors and actions declare."""
    from cortexops.cli.rbac import manifests

    typer.echo(manifests(namespace, service_account))


def terminate(
    incident_id: str,
    reason: Annotated[str, typer.Option(help="why; it is written into the audit trail")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Stop the automation of one incident, and say whether it left something half done."""
    from cortexops.cli.terminate import stop_incident

    stopped = run(stop_incident(incident_id, reason))
    left = stopped.left
    data = {
        "incident": incident_id,
        "half_done": [row.model_dump(mode="json") for row in left],
        "found": stopped.found,
    }

    def text() -> None:
        typer.echo(f"{incident_id} is terminated")
        for row in left:
            typer.echo(f"half done, look at it: {stopped.told(row)}")

    emit(output, data, text)
    if left:
        raise typer.Exit(FINDING)


def replay(
    incident_id: Annotated[str | None, typer.Argument(help="incident whose history is replayed")] = None,
    history: Annotated[Path | None, typer.Option(help="a recorded history (JSON) instead")] = None,
) -> None:
    """Replay a recorded history against this version's workflow; exit 1 when it would behave differently."""
    from cortexops.cli.replay import replay_history

    if (incident_id is None) == (history is None):
        fail("give an incident or --history FILE", 2)

    async def work() -> str | None:
        if history is not None:
            return await replay_history(history.stem, history.read_text(encoding="utf-8"))
        from cortexops.adapters import temporal

        async with open_store() as store:
            incident = found(await store.incident(str(incident_id)), str(incident_id))
        client = await temporal.connect(settings().temporal)
        recorded = await client.get_workflow_handle(incident.key, run_id=incident.run_id).fetch_history()
        return await replay_history(incident.key, recorded.to_json())

    problem = run(work())
    if problem is not None:
        fail(f"it would behave differently: {problem}")
    typer.echo("replayed: the same steps in the same order")
