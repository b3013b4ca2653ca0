"""kill -9 of the processes beside the worker: database, Temporal, API server, orchestrator, at the worst moments.

The worker waits at the boundary until the other process is dead, goes on without it, and finds it again when
it has been started on the same data.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tests.crash.calls import Boundary, Call, When
from tests.crash.cell import Bench, Crash, Plan, run
from tests.crash.grounds import Ground
from tests.crash.judge import faults
from tests.crash.worker import Job
from tests.support.engines import RunningEngines

if TYPE_CHECKING:
    from tests.crash.report import Report

VICTIMS = ("postgres", "temporal", "api server", "orchestrator")
REPRESENTATIVES = ("scale_workload", "delete_pod", "drain_node")
"""One change, one deletion, and one that goes on for many calls: these at every moment, all others at the worst."""
_DOWN = 0.4  # seconds


def moments(calls: Sequence[Call]) -> list[Boundary]:
    """Before the intent, around the first call, before its record, and in the middle of the undo."""
    applied = {call.name: call for call in reversed(calls) if call.activity == "apply"}
    sent = next((call for call in calls if call.activity == "apply" and call.sends), None)
    if sent is None:
        return []
    undoing = [call for call in calls if call.activity == "compensate" and call.sends]
    return [
        Boundary(call=applied["intend"], when=When.BEFORE),
        Boundary(call=sent, when=When.BEFORE),
        Boundary(call=sent, when=When.AFTER),
        Boundary(call=applied["settle"], when=When.BEFORE),
        *(Boundary(call=call, when=When.AFTER) for call in undoing[:1]),
    ]


def worst(calls: Sequence[Call]) -> list[Boundary]:
    """When the cluster is changed and nobody has written that down."""
    return [one for one in moments(calls) if one.call.sends and one.when is When.AFTER][:1]


def crash_of(victim: str, bench: Bench, ground: Ground, running: RunningEngines) -> Crash:
    """How that process is killed and comes back."""

    async def engine() -> None:
        file = running.data_dir / "run" / f"{victim}.pid"
        pid = int(json.loads(file.read_text("ascii"))["pid"])
        os.kill(pid, signal.SIGKILL)  # its supervisor starts it again

    async def api_server() -> None:
        ground.kill9()

    async def orchestrator() -> None:
        await bench.nursery.end(bench.orchestrator)

    async def nothing() -> None:
        await asyncio.sleep(0)

    async def new_orchestrator() -> None:
        bench.orchestrator = await bench.nursery.start(Job(temporal=bench.temporal, queue=""))

    known = {"api server": (api_server, ground.again), "orchestrator": (orchestrator, new_orchestrator)}
    kill, again = known.get(victim, (engine, nothing))
    return Crash(kill, again, _DOWN)


async def play(
    bench: Bench,
    ground: Ground,
    running: RunningEngines,
    todo: Mapping[str, Sequence[Call]],
    report: Report,
    *,
    only: Sequence[Call] | None = None,
) -> None:
    """One after the other, since a dead server concerns everybody. `only` narrows it to just after those calls."""
    for action, calls in todo.items():
        found = moments(calls) if action in REPRESENTATIVES else worst(calls)
        if only is not None:
            found = [one for one in found if one.call in only and one.when is When.AFTER]
        for victim in VICTIMS:
            for boundary in found:
                plan = Plan(action, boundary.call.activity == "compensate", boundary, victim)
                left = await run(bench, ground, plan, crash_of(victim, bench, ground, running))
                report.add(ground.name, left, faults(left))
