"""One run of the matrix: set the scene, kill at the boundary, let another worker finish, gather what is left."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from cortexops.adapters.git_forge import branch_of
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.audit import AuditEvent
from cortexops.domain.change import Verb
from cortexops.domain.errors import CortexError, NotFound
from cortexops.domain.incident import IncidentState
from cortexops.domain.ledger import LedgerRow
from cortexops.domain.resource import JSON, ResourceRef
from tests.crash.calls import Boundary, Call, Order, calls_of
from tests.crash.grounds import Accepted, Ground
from tests.crash.nursery import Nursery
from tests.crash.scenes import SCENES, Scene, Site
from tests.crash.story import QUEUE, Ended, Play, Story
from tests.crash.worker import Job
from tests.git.support import Requests, bare_repository, branches
from tests.support.postgres import an_entry, moved, opened

_PATIENCE = 75.0  # seconds for a whole run: every retry and time-out fits
_LOOK = 0.02


@dataclass
class Bench:
    """What all runs share."""

    client: Client
    temporal: str
    store: PostgresStore
    dsn: str
    nursery: Nursery
    folder: Path
    requests: Requests
    """The provider of pull requests."""
    orchestrator: int = 0


class Plan(NamedTuple):
    """A run. Without a boundary nothing is killed. `victim` is what dies there; `meddle`: somebody else
    changes the object while the worker is dead."""

    action: str
    undo: bool
    boundary: Boundary | None = None
    victim: str = "worker"
    meddle: bool = False

    def __str__(self) -> str:
        who = "" if self.victim == "worker" else f", {self.victim} killed"
        return (
            f"{self.action}, {self.boundary or 'undisturbed'}{who}{', meddled with' if self.meddle else ''}"
        )


@dataclass
class Left:
    """What a run left: everything that the judgement looks at."""

    plan: Plan
    seconds: float = 0.0
    ended: Ended | None = None
    failure: str = ""
    reached: bool = False
    calls: list[Call] = field(default_factory=list)
    rows: list[LedgerRow] = field(default_factory=list)
    trail: list[AuditEvent] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    before: JSON | None = None
    after: JSON | None = None
    meddled: JSON | None = None
    pods_before: set[str] = field(default_factory=set)
    pods_after: set[str] = field(default_factory=set)
    created: int = 0
    meddleable: bool = False
    pulls: list[str] = field(default_factory=list)
    """State of each pull request in the run's repository."""
    branches: int = 0


class Crash(NamedTuple):
    """Kills another process, and has it started again `down` seconds later."""

    kill: Callable[[], Awaitable[None]]
    again: Callable[[], Awaitable[None]]
    down: float


async def run(bench: Bench, ground: Ground, plan: Plan, crash: Crash | None = None) -> Left:
    """Play the plan through. Whatever goes wrong on the way is written into `failure`."""
    left = Left(plan)
    began = time.monotonic()
    site = Site(ground.admin, ground.lending)
    try:
        async with asyncio.timeout(3 * _PATIENCE):
            await site.open()
            scene = await SCENES[plan.action](site)
            await _play(bench, ground, site, scene, left, crash)
    except (CortexError, TimeoutError, AssertionError, OSError) as error:
        left.failure = left.failure or f"{type(error).__name__}: {error}"
    finally:
        try:
            await site.close()
        except CortexError as error:
            left.failure = left.failure or f"clean-up: {error}"
    left.seconds = time.monotonic() - began
    return left


async def _play(
    bench: Bench, ground: Ground, site: Site, scene: Scene, left: Left, crash: Crash | None
) -> None:
    plan, target = left.plan, scene.action.target
    name = f"{plan.action}-{secrets.token_hex(6)}"
    incident = await opened(bench.store, key=name, run=name, resource=target)
    earlier = len([one for place in site.places for one in ground.accepted(place)])
    left.meddleable = scene.meddle is not None
    left.before = await _find(site, target)
    left.pods_before = await _pods(site)
    journal, halt = bench.folder / f"{name}.journal", bench.folder / f"{name}.go"
    order = Order(boundary=plan.boundary, halt=str(halt) if crash else "") if plan.boundary else None
    bare = await asyncio.to_thread(_repository, bench.folder / name, scene) if scene.files else None
    job = Job(
        temporal=bench.temporal,
        queue=name,
        dsn=bench.dsn,
        cluster=ground.name,
        kubeconfig=ground.writer,
        journal=str(journal),
        order=order,
        repository=str(bare or ""),
        provider=bench.requests.url,
    )
    first = await bench.nursery.start(job)
    undo = plan.undo and scene.undo
    play = Play(queue=name, incident_id=incident.id, action=scene.action, subject=scene.subject, undo=undo)
    handle = await bench.client.start_workflow(
        Story.run, play, id=name, task_queue=QUEUE, task_timeout=timedelta(seconds=2)
    )
    result = asyncio.ensure_future(asyncio.wait_for(_result(handle), _PATIENCE))
    workers = [first]
    try:
        if crash is not None:
            left.reached = await _until(lambda: _reached(journal), result)
            if left.reached:
                await crash.kill()
            halt.touch()
            if left.reached:
                await asyncio.sleep(crash.down)
                await crash.again()
        elif order is not None:
            death = asyncio.ensure_future(bench.nursery.ended(first))
            await asyncio.wait({death, result}, return_when=asyncio.FIRST_COMPLETED)
            left.reached = death.done() and death.result() == -9
            if plan.meddle and scene.meddle is not None:
                notes = {"metadata": {"annotations": {"cortexops.io/operation": None}}}
                left.meddled = await site.edit(target, scene.meddle | notes)
            spare = journal.with_suffix(".second")
            workers.append(
                await bench.nursery.start(job.model_copy(update={"order": None, "journal": str(spare)}))
            )
        left.ended = await result
    except TimeoutError:
        left.failure = f"not at its end after {_PATIENCE:.0f} s"
        await handle.terminate()
    except WorkflowFailureError as error:
        left.failure = f"the workflow failed: {error.cause.__cause__ or error.cause}"
    finally:
        result.cancel()
        for pid in workers:
            await bench.nursery.end(pid)
    left.calls = calls_of(journal)
    await _gather(bench, ground, site, scene, incident.id, left)
    over = moved(incident, IncidentState.RESOLVED)  # gives the object free for the next run
    await bench.store.update_incident(over, [an_entry(incident.id, idempotency_key=f"{incident.id}:over")])
    left.accepted = left.accepted[earlier:]
    if bare is not None and left.rows:
        branch = branch_of(left.rows[0].operation_id)
        left.pulls = [str(one["state"]) for one in bench.requests.made if one["branch"] == branch]
        left.branches = len(branches(bare)) - 1  # main is there anyway


def _repository(folder: Path, scene: Scene) -> Path:
    folder.mkdir()
    return bare_repository(folder, dict(scene.files or {}))


async def _result(handle: WorkflowHandle[Story, Ended]) -> Ended:
    """The result, whatever becomes of the server meanwhile."""
    while True:
        try:
            return await handle.result()
        except RPCError:
            await asyncio.sleep(0.2)


async def _gather(
    bench: Bench, ground: Ground, site: Site, scene: Scene, incident_id: str, left: Left
) -> None:
    left.rows = await bench.store.rows_of(incident_id)
    left.trail = (await bench.store.events(incident_id))[1:]
    left.faults = [str(fault) for fault in (await bench.store.examine(chain=incident_id)).faults]
    left.accepted = [one for place in site.places for one in ground.accepted(place)]
    left.after = await _find(site, scene.action.target)
    left.pods_after = await _pods(site)
    for row in left.rows:
        if row.change.verb is Verb.CREATE:
            found = (await site.admin.list(row.change.target.kind, site.space)).items
            ours = [one for one in found if _carried(one) == row.operation_id and _stays(one)]
            left.created += len(ours)


def _carried(obj: JSON) -> str:
    return str((obj["metadata"].get("annotations") or {}).get("cortexops.io/operation", ""))


def _stays(obj: JSON) -> bool:
    return not obj["metadata"].get("deletionTimestamp")


async def _find(site: Site, ref: ResourceRef) -> JSON | None:
    try:
        return await site.live(ref)
    except NotFound:
        return None


async def _pods(site: Site) -> set[str]:
    """Uids of the site's pods that are not going."""
    return {
        str(pod["metadata"]["uid"]) for pod in (await site.admin.list("Pod", site.space)).items if _stays(pod)
    }


def _reached(journal: Path) -> bool:
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    return any("reached" in json.loads(line) for line in lines)


async def _until(true: Callable[[], bool], other: asyncio.Future[Ended]) -> bool:
    """Wait until it is true; False when the other thing ended first."""
    while not true():
        if other.done():
            return False
        await asyncio.sleep(_LOOK)
    return True
