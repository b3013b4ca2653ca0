"""A part of the crash matrix that is short enough for every test run; `make crash-matrix` runs all of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from activities.actions import ACTIONS
from tests.crash import others
from tests.crash.calls import Boundary, Call, When
from tests.crash.cell import Bench, Left, Plan
from tests.crash.grounds import Ground, Real, Simulated
from tests.crash.matrix import bench, boundaries, play, undisturbed
from tests.crash.nursery import Nursery
from tests.crash.report import Report, table
from tests.crash.scenes import SCENES, action_of
from tests.crash.worker import Job
from tests.remediation.support import eventually
from tests.support.controlplane import missing_parts
from tests.support.engines import RunningEngines, engine_process, scratch_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SCALE = "scale_workload"
_AT_ONCE = 8
_REAL_MISSING = missing_parts()


def worst(calls: Sequence[Call]) -> list[Boundary]:
    """Just before the first call that changes the cluster, when the intent is written, and just after it."""
    sent = [call for call in calls if call.activity == "apply" and call.sends][:1]
    return [Boundary(call=call, when=when) for call in sent for when in (When.BEFORE, When.AFTER)]


def sent_of(left: Left) -> Call:
    """The call that makes the change."""
    return next(call for call in left.calls if call.activity == "apply" and call.sends)


async def killed_at_the_worst(bench: Bench, ground: Ground, scenes: Sequence[str]) -> Report:
    """Every scene undisturbed, so that its calls are known, and killed at the worst boundaries."""
    report = Report([])
    found = await undisturbed(bench, ground, scenes, report, undo=False, at_once=_AT_ONCE)
    todo = [Plan(scene, False, boundary) for scene in found for boundary in worst(found[scene].calls)]
    await play(bench, ground, todo, at_once=_AT_ONCE, report=report)
    return report


@pytest.fixture
async def stand(engines: RunningEngines) -> AsyncIterator[Bench]:
    with scratch_folder() as folder:
        async with bench(engines, folder) as made:
            yield made


def test_every_action_has_a_scene() -> None:
    assert {action_of(scene) for scene in SCENES} >= set(ACTIONS.kinds)


def test_each_step_of_a_change_is_a_boundary() -> None:
    calls = [
        Call(activity="dry_run", name="get Node", nth=1),
        Call(activity="apply", name="get Node", nth=1),
        Call(activity="apply", name="intend", nth=1),
        Call(activity="apply", name="patch Node dry", nth=1),
        Call(activity="apply", name="patch Node", nth=1),
    ]
    whens = [[b.when for b in boundaries(calls) if b.call == call] for call in calls]
    three = [When.BEFORE, When.AMID, When.AFTER]
    assert whens == [[When.BEFORE, When.AFTER], [When.BEFORE], three, [When.BEFORE], three]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_no_worker_outlives_the_matrix(tmp_path: Path) -> None:
    async with Nursery(tmp_path) as nursery:
        worker = await nursery.start(Job(temporal="127.0.0.1:1", queue=""))
        assert Path(f"/proc/{worker}").exists()
        os.kill(nursery.pid, signal.SIGKILL)

        async def gone() -> bool:
            return not Path(f"/proc/{worker}").exists()

        await eventually(gone, 10)


async def test_a_killed_worker_leaves_one_effect_of_every_action(stand: Bench) -> None:
    async with Simulated(stand.folder / "simulated") as ground:
        report = await killed_at_the_worst(stand, ground, list(SCENES))
    assert not report.wrong, table(report)
    assert len(report.cells) >= 3 * (len(ACTIONS.kinds) - 1)  # escalate sends nothing


@pytest.mark.realcluster
@pytest.mark.skipif(bool(_REAL_MISSING), reason=_REAL_MISSING)
async def test_a_killed_worker_leaves_one_effect_on_a_real_api_server(stand: Bench) -> None:
    async with Real(stand.folder / "real") as ground:
        report = await killed_at_the_worst(stand, ground, [SCALE, "delete_pod"])
    assert not report.wrong, table(report)
    assert len(report.cells) == 6


async def test_what_somebody_else_wrote_meanwhile_is_never_acted_on_again(stand: Bench) -> None:
    async with Simulated(stand.folder / "simulated") as ground:
        report = Report([])
        sent = sent_of((await undisturbed(stand, ground, [SCALE], report, at_once=1))[SCALE])
        todo = [
            Plan(SCALE, True, Boundary(call=sent, when=when), meddle=True)
            for when in (When.BEFORE, When.AFTER)
        ]
        await play(stand, ground, todo, at_once=2, report=report)
    assert not report.wrong, table(report)


async def test_the_death_of_any_other_process_leaves_one_effect_too() -> None:
    """On engines of this test's own: others are not to feel it."""
    with scratch_folder() as folder, engine_process(folder / "data") as running:
        async with bench(running, folder) as made, Simulated(folder / "simulated") as ground:
            report = Report([])
            left = (await undisturbed(made, ground, [SCALE], report, at_once=1))[SCALE]
            await others.play(made, ground, running, {SCALE: left.calls}, report, only=[sent_of(left)])
    assert not report.wrong, table(report)
    assert {cell.plan.victim for cell in report.cells} == {"worker", *others.VICTIMS}
