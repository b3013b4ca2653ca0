"""`python -m tests.crash.matrix` (`make crash-matrix`): kill -9 at every boundary of every action, as a table."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.actions import ACTIONS
from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.migrate import upgrade
from tests.crash import others
from tests.crash.calls import Boundary, Call, When
from tests.crash.cell import Bench, Left, Plan, run
from tests.crash.grounds import Ground, Real, Simulated, Stopwatch
from tests.crash.judge import faults
from tests.crash.nursery import Nursery
from tests.crash.report import Report, table
from tests.crash.scenes import SCENES, action_of
from tests.crash.worker import Job
from tests.git.support import provider
from tests.support.controlplane import missing_parts
from tests.support.engines import ROOT, RunningEngines, engine_process, fresh_database, scratch_folder

_READS = {"verify": 1, "compensate": 2}
"""Of repeated looks in one activity, how many are boundaries of their own: a watch's later rounds are the same."""
_MOST_READS = 3


def boundaries(calls: Sequence[Call]) -> list[Boundary]:
    """Before every call; amid and after every call that changes something; after the last of the dry run."""
    found: list[Boundary] = []
    judged = [call for call in calls if call.activity == "dry_run"]
    for call in calls:
        if not call.activity or (not call.stores and call.nth > _READS.get(call.activity, _MOST_READS)):
            continue
        found.append(Boundary(call=call, when=When.BEFORE))
        if call.stores:
            found.append(Boundary(call=call, when=When.AMID))
        if call.stores or (judged and call == judged[-1]):
            found.append(Boundary(call=call, when=When.AFTER))
    return found


def plans(action: str, calls: Sequence[Call], *, meddle: bool) -> list[Plan]:
    """All runs of one action on one server."""
    found = [Plan(action, b.call.activity == "compensate", b) for b in boundaries(calls)]
    if meddle:
        (sent,) = [call for call in calls if call.activity == "apply" and call.sends]
        found += [
            Plan(action, True, Boundary(call=sent, when=when), meddle=True)
            for when in (When.BEFORE, When.AFTER)
        ]
    return found


@asynccontextmanager
async def bench(running: RunningEngines, folder: Path) -> AsyncIterator[Bench]:
    """A migrated database, warm workers and an orchestrator on the given engines."""
    async with AsyncExitStack() as stack:
        database = stack.enter_context(fresh_database(running))
        await asyncio.to_thread(upgrade, database.dsn)
        store = await PostgresStore.connect(database.dsn)
        stack.push_async_callback(store.close)
        nursery = await stack.enter_async_context(Nursery(folder))
        client = await Client.connect(running.temporal_address, data_converter=pydantic_data_converter)
        requests = stack.enter_context(provider("github"))
        made = Bench(client, running.temporal_address, store, database.dsn, nursery, folder, requests)
        made.orchestrator = await nursery.start(Job(temporal=running.temporal_address, queue=""))
        yield made


async def undisturbed(
    bench: Bench, ground: Ground, scenes: Sequence[str], report: Report, *, undo: bool = True, at_once: int
) -> dict[str, Left]:
    """Each scene once without a kill: what all others are measured by, and whose calls are the boundaries.

    Those that go wrong even so are left out; the report tells.
    """
    found: dict[str, Left] = {}
    free = asyncio.Semaphore(at_once)

    async def one(scene: str) -> None:
        async with free:
            left = await run(bench, ground, Plan(scene, undo))
        wrong = faults(left)
        report.add(ground.name, left, wrong)
        if not wrong:
            found[scene] = left

    async with asyncio.TaskGroup() as group:
        for scene in scenes:
            group.create_task(one(scene))
    return found


async def play(bench: Bench, ground: Ground, todo: Iterable[Plan], *, at_once: int, report: Report) -> None:
    """Run the plans, some at once."""
    queue = list(reversed(list(todo)))

    async def one_after_the_other() -> None:
        while queue:
            left = await run(bench, ground, queue.pop())
            report.add(ground.name, left, faults(left))
            if not len(queue) % 50:
                print(f"{ground.name}: {len(queue)} runs to go", file=sys.stderr, flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_the_other())


async def whole(
    running: RunningEngines,
    folder: Path,
    grounds: Sequence[Ground],
    actions: Sequence[str],
    at_once: int,
    report: Report,
) -> None:
    """Everything: each action on each server, then the other processes."""
    async with bench(running, folder) as made:
        for ground in grounds:
            began = Stopwatch()
            async with ground:
                found = await undisturbed(made, ground, actions, report, at_once=at_once)
                todo = [
                    plan
                    for scene in actions
                    if (left := found.get(scene)) is not None
                    for plan in plans(scene, left.calls, meddle=left.meddleable)
                ]
                await play(made, ground, todo, at_once=at_once, report=report)
                calls = {scene: left.calls for scene, left in found.items()}
                await others.play(made, ground, running, calls, report)
            report.seconds[ground.name] = began.seconds


def main() -> int:
    """Exit 1 when a cell is not ok."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.matrix", description=__doc__)
    parser.add_argument("--action", action="append", default=[], help="only these")
    parser.add_argument("--server", choices=("simulated", "real"), action="append", default=[])
    parser.add_argument("--at-once", type=int, default=6, help="runs at a time (default: %(default)s)")
    parser.add_argument("--report", type=Path, default=ROOT / "reports" / "crash-matrix.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the servers, whoever ends us
    signal.signal(signal.SIGINT, signal.default_int_handler)
    servers = options.server or ["simulated", "real"]
    if "real" in servers and (reason := missing_parts()):
        print(f"not on a real API server: {reason}", file=sys.stderr)
        servers.remove("real")
    actions = options.action or [name for name in SCENES if action_of(name) in ACTIONS.kinds]
    missing = set(ACTIONS.kinds) - {action_of(name) for name in SCENES}
    report = Report(sorted(missing), options.report)
    with scratch_folder() as folder, engine_process(folder / "data") as running:
        kinds = {"simulated": Simulated, "real": Real}
        grounds = [kinds[name](folder / name) for name in servers]
        asyncio.run(whole(running, folder, grounds, actions, options.at_once, report))
        if report.wrong:
            kept = options.report.with_suffix(".stderr")
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes((folder / "workers.stderr").read_bytes())
    print(table(report))
    report.keep()
    print(f"written to {options.report}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
