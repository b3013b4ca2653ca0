"""The incident's page tells the runbook; nothing in it is more than text."""

from __future__ import annotations

from cortexops.domain.runbook_run import RunbookRun, StepKind, StepReason, StepRun, StepStatus
from tests.console.conftest import *  # noqa: F403
from tests.console.support import World, sign_in
from tests.support.case import a_diagnosis, a_ledger_row, end_case, open_case

HOSTILE = "<img src=x onerror=alert(1)>"


def run_of(action: str) -> RunbookRun:
    def step(id: str, kind: StepKind, status: StepStatus, reason: StepReason, **more: str) -> StepRun:
        return StepRun(id=id, title=f"{id} {HOSTILE}", kind=kind, status=status, reason=reason, **more)

    return RunbookRun(
        id="mine",
        version="1",
        title=f"Mine {HOSTILE}",
        origin="folder",
        link="https://wiki.example.com/x",
        steps=(
            step("ready", StepKind.CHECK, StepStatus.FAILED, StepReason.NOT_AS_EXPECTED, detail=HOSTILE),
            step("act", StepKind.ACTION, StepStatus.PENDING, StepReason.OFFERED, action=action),
        ),
    )


async def test_the_page_shows_every_step_and_what_became_of_the_action(world: World) -> None:
    run = run_of(a_ledger_row("x").action.hash)
    diagnosis = a_diagnosis().model_copy(update={"runbook": run})
    incident = await open_case(world.store, diagnosis=diagnosis)
    async with world.client() as client:
        await sign_in(client)
        before = (await client.get(f"/incidents/{incident.id}")).text
    _, postmortem = await end_case(world.store, incident)
    async with world.client() as client:
        await sign_in(client)
        after = (await client.get(f"/incidents/{incident.id}")).text
    section = before.split('id="live-runbook"')[1].split('id="live-ledger"')[0]
    assert "FAILED" in section and "PENDING" in section and "offered" in section
    assert "<img" not in section and 'href="https://wiki.example.com/x"' in section
    section = after.split('id="live-runbook"')[1].split('id="live-ledger"')[0]
    assert "PENDING" not in section
    assert postmortem is not None
