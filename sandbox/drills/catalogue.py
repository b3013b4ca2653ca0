"""The drills. Each breaks one thing at the worst moment and notes what must hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from cortexops.domain.change import OPERATION_ANNOTATION, lookup
from cortexops.domain.incident import IncidentState
from cortexops.domain.ledger import LedgerState
from cortexops.domain.resource import JSON
from sandbox.cluster.faults import Fault
from sandbox.drills import storming
from sandbox.drills.stage import Stage

_OOM = "oom-after-release"


class Drill(NamedTuple):
    """A drill with the settings that it needs."""

    title: str
    run: Callable[[Stage], Awaitable[None]]
    overrides: dict[str, Any]


def _memory(live: JSON) -> str:
    limit: str = live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    return limit


def _revision(live: JSON) -> int:
    return int(live["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


async def _changed_once(stage: Stage, before: JSON, after: JSON) -> None:
    """A Deployment's revision counts the changes of its pod template; its generation counts more than that."""
    steps = _revision(after) - _revision(before)
    stage.check("the object was changed exactly once", steps == 1, f"{steps} new revisions")


async def bus_killed(stage: Stage) -> None:
    """The bus dies while alerts arrive: the gateway says 503, the sender repeats, nothing is lost."""
    plan = await stage.break_workload(_OOM)
    stage.platform.engines.supervised = False
    stage.platform.engines.kill9("nats")
    sending = asyncio.create_task(stage.post(plan, within=60))

    async def told() -> bool | None:
        return True if stage.answers else None

    await stage.until(told, "an answer of the gateway", 30)
    first = stage.answers[0]
    stage.check("while the bus is down the sender is told to repeat", first == 503, f"HTTP {first}")
    stage.platform.engines.supervised = True
    await sending
    last = stage.answers[-1]
    stage.check(
        "once it is back the alert is accepted", last == 202, f"HTTP {last} at try {len(stage.answers)}"
    )
    incident = await stage.incident(plan)
    await stage.approve(incident)
    ended = await stage.ended(incident)
    stage.check("the incident is resolved", ended.state is IncidentState.RESOLVED, ended.state)
    await stage.common_checks(plan)


async def correlator_killed(stage: Stage) -> None:
    """The correlator dies holding a group: the signals come again and make one incident, not two."""
    plan = await stage.break_workload(_OOM)
    await stage.post(plan)
    stage.platform.services["correlator"].kill9()
    await stage.post(plan)
    incident = await stage.incident(plan)
    await stage.approve(incident)
    ended = await stage.ended(incident)
    same = [i for i in await stage.store.incidents(most=50) if i.key == incident.key]
    stage.check("one cause made one incident", len(same) == 1, f"{len(same)} incidents")
    stage.check("the incident is resolved", ended.state is IncidentState.RESOLVED, ended.state)
    await stage.common_checks(plan)


async def remediator_killed_before_the_change(stage: Stage) -> None:
    """The worker dies after the intent is in the ledger and before the API server has the change."""
    plan = await stage.break_workload(_OOM)
    before = await stage.live(plan)
    await stage.post(plan)
    incident = await stage.incident(plan)
    await stage.asked(incident)
    stage.simulation.server.faults.add(
        Fault(path=r"/deployments/payment-service$", method="PATCH", query=r"^(?!.*dryRun)", latency=30)
    )
    await stage.approve(incident)
    await _kill_at(stage, incident.id, LedgerState.INTENT)
    await _finish_once(stage, plan, incident.id, before)


async def remediator_killed_after_the_change(stage: Stage) -> None:
    """The API server has applied the change, the answer never arrives, and the worker dies."""
    plan = await stage.break_workload(_OOM)
    before = await stage.live(plan)
    await stage.post(plan)
    incident = await stage.incident(plan)
    await stage.asked(incident)
    stage.simulation.server.faults.add(
        Fault(
            path=r"/deployments/payment-service$",
            method="PATCH",
            query=r"^(?!.*dryRun)",
            hang_after_apply=True,
        )
    )
    await stage.approve(incident)

    async def applied() -> bool | None:
        live = await stage.live(plan)
        return OPERATION_ANNOTATION in (live["metadata"].get("annotations") or {}) or None

    await stage.until(applied, "the change to be applied", 30)
    await _kill_at(stage, incident.id, LedgerState.INTENT)
    await _finish_once(stage, plan, incident.id, before)


async def _kill_at(stage: Stage, incident_id: str, state: LedgerState) -> None:
    async def there() -> bool | None:
        rows = await stage.store.rows_of(incident_id)
        return True if rows and rows[-1].state is state else None

    await stage.until(there, f"the ledger to say {state}", 30)
    stage.platform.services["remediator"].kill9()
    rows = await stage.store.rows_of(incident_id)
    stage.check(f"the worker died with the ledger at {state}", rows[-1].state is state, rows[-1].state)
    stage.simulation.server.faults.clear()


async def _finish_once(stage: Stage, plan: Any, incident_id: str, before: JSON) -> None:
    incident = await stage.store.incident(incident_id)
    assert incident is not None
    ended = await stage.ended(incident, within=120)
    stage.check("the incident is resolved", ended.state is IncidentState.RESOLVED, ended.state)
    await _changed_once(stage, before, await stage.live(plan))
    rows = await stage.store.rows_of(incident_id)
    stage.check(
        "the ledger has one row, verified",
        [row.state for row in rows] == [LedgerState.VERIFIED],
        ", ".join(row.state for row in rows),
    )
    await stage.common_checks(plan)


async def orchestrator_killed(stage: Stage) -> None:
    """The workflow's worker dies while people are asked: the answer still counts after its return."""
    plan = await stage.break_workload(_OOM)
    await stage.post(plan)
    incident = await stage.incident(plan)
    await stage.asked(incident)
    stage.platform.services["orchestrator"].kill9()

    async def back() -> bool | None:
        return True if await stage.platform.services["orchestrator"].healthy() is None else None

    await stage.until(back, "the orchestrator to be back", 30)
    await stage.approve(incident)
    ended = await stage.ended(incident)
    stage.check("the incident is resolved", ended.state is IncidentState.RESOLVED, ended.state)
    await stage.common_checks(plan)


async def database_killed(stage: Stage) -> None:
    """Postgres dies while people are asked: no vote counts unrecorded, and the story goes on after it is back."""
    plan = await stage.break_workload(_OOM)
    before = await stage.live(plan)
    await stage.post(plan)
    incident = await stage.incident(plan)
    await stage.asked(incident)
    stage.platform.engines.kill9("postgres")

    async def back() -> bool | None:
        return True if await stage.store.health() is None else None

    await stage.until(back, "Postgres to be back", 30)
    await stage.approve(incident)
    ended = await stage.ended(incident)
    stage.check("the incident is resolved", ended.state is IncidentState.RESOLVED, ended.state)
    await _changed_once(stage, before, await stage.live(plan))
    await stage.common_checks(plan)


async def pod_deleted(stage: Stage) -> None:
    """Somebody deletes a pod while the change is being verified: verification sees through it."""
    plan = await stage.break_workload(_OOM)
    await stage.post(plan)
    incident = await stage.incident(plan)
    await stage.approve(incident)
    await stage.reached(incident, IncidentState.VERIFYING)
    live = await stage.live(plan)
    labels = ",".join(f"{key}={value}" for key, value in live["spec"]["selector"]["matchLabels"].items())
    pods = await stage.admin.list("Pod", live["metadata"]["namespace"], labels=labels)
    await stage.admin.delete("Pod", live["metadata"]["namespace"], pods.items[0]["metadata"]["name"])
    ended = await stage.ended(incident)
    stage.check("the incident is resolved", ended.state is IncidentState.RESOLVED, ended.state)
    await stage.common_checks(plan)


async def approval_expires(stage: Stage) -> None:
    """Nobody answers: the approval expires and nothing is done."""
    plan = await stage.break_workload(_OOM)
    before = await stage.live(plan)
    await stage.post(plan)
    ended = await stage.ended(await stage.incident(plan))
    after = await stage.live(plan)
    stage.check("the incident ends as EXPIRED", ended.state is IncidentState.EXPIRED, ended.state)
    same = (
        before["metadata"]["generation"] == after["metadata"]["generation"]
        and before["spec"] == after["spec"]
    )
    stage.check("the object is untouched", same, f"memory limit {_memory(after)}")
    stage.check("the ledger is empty", not await stage.store.rows_of(ended.id))
    await stage.common_checks(plan)


async def fix_fails(stage: Stage) -> None:
    """The remedy does not help: it is undone, the snapshot is back, a person is called."""
    plan = await stage.break_workload("fix-does-not-help")
    await stage.post(plan)
    incident = await stage.incident(plan)
    ended = await stage.ended(incident, within=120)
    after = await stage.live(plan)
    stage.check(
        "the incident ends as ROLLED_BACK or ESCALATED",
        ended.state in (IncidentState.ROLLED_BACK, IncidentState.ESCALATED),
        ended.state,
    )
    rows = await stage.store.rows_of(ended.id)
    restored = all(lookup(after, edit.path)[1] == edit.before for row in rows for edit in row.change.edits)
    stage.check("every field that was changed is as it was", restored, f"memory limit {_memory(after)}")
    stage.check(
        "every change is compensated in the ledger",
        bool(rows) and all(row.state is LedgerState.COMPENSATED for row in rows),
        ", ".join(f"{row.action.type} {row.state}" for row in rows),
    )
    await stage.common_checks(plan)


DRILLS: dict[str, Drill] = {
    "storm": Drill("100,000 signals while everything is killed", storming.storm, storming.OVERRIDES),
    "bus-killed": Drill("kill -9 of NATS while alerts arrive", bus_killed, {}),
    "correlator-killed": Drill(
        "kill -9 of the correlator holding a group",
        correlator_killed,
        {"correlator": {"lease_seconds": 5}},
    ),
    "remediator-killed-before": Drill(
        "kill -9 between ledger intent and change", remediator_killed_before_the_change, {}
    ),
    "remediator-killed-after": Drill(
        "kill -9 between change and ledger done", remediator_killed_after_the_change, {}
    ),
    "orchestrator-killed": Drill("kill -9 of the workflow worker during approval", orchestrator_killed, {}),
    "database-killed": Drill("kill -9 of Postgres during approval", database_killed, {}),
    "pod-deleted": Drill("a pod deleted during verification", pod_deleted, {}),
    "approval-expired": Drill(
        "an approval that nobody answers", approval_expires, {"incident": {"approval_seconds": 4}}
    ),
    "fix-fails": Drill("a remedy that does not help", fix_fails, {}),
}
