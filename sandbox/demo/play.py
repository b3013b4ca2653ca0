"""`make demo`: three incidents, live, told as they happen."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.audit import AuditEvent, AuditType
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.narrative import diff_text
from cortexops.ports.store import ApprovalRecord
from sandbox import scenarios
from sandbox.demo.follow import Follower, approve
from sandbox.engines.lock import DataLock
from sandbox.platform.platform import Platform
from sandbox.platform.up import describe
from sandbox.scenarios.schema import Scenario

MAIN_JOB = ("oom-after-release", "image-typo-rollout", "fix-does-not-help")
_LONGEST = 120.0  # seconds for one incident

_STYLE = {
    AuditType.DETECTED: "bold yellow",
    AuditType.ANALYZED: "bold cyan",
    AuditType.POLICY_DECIDED: "magenta",
    AuditType.POLICY_VIOLATION: "bold red",
    AuditType.APPROVAL_REQUESTED: "bold yellow",
    AuditType.APPROVAL_VOTE: "green",
    AuditType.ACTION_EXECUTED: "bold blue",
    AuditType.VERIFIED: "green",
    AuditType.RESOLVED: "bold green",
    AuditType.COMPENSATION_EXECUTED: "bold blue",
    AuditType.ESCALATED: "bold red",
}
_SAY = {
    AuditType.DETECTED: "detected",
    AuditType.ANALYZED: "diagnosed",
    AuditType.POLICY_DECIDED: "policy",
    AuditType.POLICY_VIOLATION: "policy denies",
    AuditType.DRY_RUN: "dry run",
    AuditType.APPROVAL_REQUESTED: "approval asked",
    AuditType.APPROVAL_VOTE: "vote",
    AuditType.APPROVAL_DECIDED: "approval",
    AuditType.INTENT: "ledger intent",
    AuditType.ACTION_EXECUTED: "applied",
    AuditType.VERIFIED: "verified",
    AuditType.RESOLVED: "resolved",
    AuditType.COMPENSATION_EXECUTED: "undone",
    AuditType.ESCALATED: "escalated",
    AuditType.POSTMORTEM: "postmortem",
}


async def play(data: Path, names: list[str], *, keep: bool, console: Console) -> bool:
    """Play the scenarios; True when each ended as its truth says and the audit chain holds.

    Raises `InvalidInput` for an unknown scenario.
    """
    plans = [scenarios.load(name) for name in names or MAIN_JOB]
    _start_afresh(data)
    platform = Platform(data)
    began = time.monotonic()
    with console.status("starting Temporal, NATS, Postgres, a simulated cluster and the workers"):
        await platform.start()
    try:
        describe(platform, console)
        store = await PostgresStore.connect(platform.engines.postgres_dsn)
        try:
            results = [(plan, await _one(platform, store, plan, console)) for plan in plans]
            good = await _summary(store, results, console, time.monotonic() - began)
        finally:
            await store.close()
        if keep:
            await _keep(platform, console)
    finally:
        await platform.stop()
    return good


def _start_afresh(data: Path) -> None:
    """Forget an earlier demonstration: its resolved incidents would be in their cool-down.

    Raises `Conflict` when one still runs there. A folder that we did not make is left alone.
    """
    if (data / "settings.yaml").is_file():
        lock = DataLock(data.resolve())
        lock.acquire()
        lock.release()
        shutil.rmtree(data)


async def _one(platform: Platform, store: PostgresStore, plan: Scenario, console: Console) -> Incident:
    assert platform.cluster is not None
    console.print()
    console.print(Rule(Text(f"{plan.name}: {plan.title}", style="bold")))
    console.print(Text(plan.description, style="dim"))
    since = datetime.now(UTC)

    def tell(incident: Incident, event: AuditEvent) -> None:
        after = max(0.0, (event.at - incident.detected_at).total_seconds())
        said = _SAY.get(event.type, str(event.data.get("after", event.type)).lower().replace("_", " "))
        line = Text(f"  T+{int(after // 60):02d}:{int(after % 60):02d}  ", style="dim")
        line.append(f"{said:<16}", style=_STYLE.get(event.type, "white"))
        if event.type is not AuditType.STATE_CHANGED or incident.state.final:
            line.append((event.detail or event.reason).splitlines()[0])
        console.print(line, soft_wrap=True)

    async def grant(record: ApprovalRecord) -> None:
        request = record.request
        body = Text.assemble(
            (f"{request.cause}\n", "bold"),
            f"{request.action}\n",
            ("the API server would change exactly this:\n", "dim"),
            _coloured(diff_text(request.diff)),
            (
                f"\nrisk {request.risk}; {request.blast_radius}; policy: {', '.join(request.policy_reasons)}",
                "dim",
            ),
        )
        console.print(Panel(body, title=f"{request.id}: approve?", border_style="yellow"))
        await asyncio.sleep(1.5)  # a person reads before they click
        await approve(platform.console_url, platform.token, record, "the evidence and the diff fit (demo)")

    follower = Follower(store, tell)
    breaking = asyncio.create_task(platform.cluster.play(plan))
    try:
        target = _target(plan)
        await asyncio.wait_for(asyncio.shield(breaking), 60)
        await _post_alert(platform, plan)
        incident = await follower.find(*target, since=since, within=30)
        ended = await follower.follow(incident, within=_LONGEST, on_approval=grant)
    finally:
        breaking.cancel()
    expected = _ends(plan)
    good = ended.state in expected
    console.print(
        Text.assemble(
            "  ",
            (f" {ended.state} ", "bold white on green" if good else "bold white on red"),
            f"  {ended.id}, {ended.age(ended.updated_at):.0f} s after detection, attempt {ended.attempts}",
        )
    )
    return ended


def _ends(plan: Scenario) -> tuple[IncidentState, ...]:
    return tuple(IncidentState(state.strip()) for state in plan.truth.end_state.split("/"))


def _target(plan: Scenario) -> tuple[str, str]:
    """Namespace and name of the object on which the incident opens."""
    if plan.truth.action is not None:
        return plan.truth.action.target.namespace, plan.truth.action.target.name
    labels = plan.alerts[0].labels
    name = next(labels[kind] for kind in ("deployment", "statefulset", "daemonset", "node") if kind in labels)
    return labels.get("namespace", ""), name


def _coloured(text: str) -> Text:
    shown = Text()
    for line in text.splitlines():
        style = {"-": "red", "+": "green"}.get(line.strip()[:1], "")
        shown.append(f"  {line}\n", style=style)
    return shown


async def _post_alert(platform: Platform, plan: Scenario) -> None:
    """What Alertmanager would send now; the gateway answers 202 once it is stored."""
    assert platform.cluster is not None
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.post(
            f"{platform.gateway_url}/webhooks/alertmanager", json=platform.cluster.alert(plan)
        )
        answer.raise_for_status()


async def _summary(
    store: PostgresStore,
    results: list[tuple[Scenario, Incident]],
    console: Console,
    seconds: float,
) -> bool:
    table = Table(title="\nWhat happened", title_style="bold", header_style="bold")
    for column in ("incident", "scenario", "end", "what was done"):
        table.add_column(column, overflow="fold")
    good = True
    for plan, incident in results:
        rows = await store.rows_of(incident.id)
        done = "; ".join(f"{row.action.type} {row.state}" for row in rows) or "nothing"
        matches = incident.state in _ends(plan)
        good = good and matches
        table.add_row(
            incident.id,
            plan.name,
            Text(incident.state, style="green" if matches else "red")
            + Text("" if matches else f", not {plan.truth.end_state}"),
            done,
        )
    console.print(table)
    checked, faults = await store.verify()
    console.print(
        Text(
            f"audit chain: {checked} events, {len(faults)} faults",
            style="green" if not faults else "bold red",
        )
    )
    console.print(Text(f"took {seconds:.0f} s", style="dim"))
    return good and not faults


async def _keep(platform: Platform, console: Console) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    console.print(Text("\nEverything keeps running; Ctrl-C ends it.", style="bold"))
    describe(platform, console)
    await ended.wait()
