"""A pull request is followed to its end: closed, or merged and well in the cluster, or merged and not."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from activities.sweeping import RowSweeping
from cortexops.adapters.git_forge import branch_of
from cortexops.contracts.sweeping import Orphan
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import TemporaryError
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.proposals import PATIENCE
from cortexops.domain.sweep import Outcome, RunState
from cortexops.ports.forge import Found
from tests.git.support import MANIFEST, TOKEN, Requests, bare_repository, branches, git, provider
from tests.remediation.support import Stage
from tests.remediation.test_pull_requests import forge_of, order


class Afterwards:
    """An incident that ended with a pull request; `look` is one sweep, so much later."""

    def __init__(self, stage: Stage, bare: Path, hub: Requests, folder: Path) -> None:
        self.stage, self.bare, self.hub, self.folder = stage, bare, hub, folder
        self.forge = forge_of(
            stage, bare, provider="github", project="shop/deploy", token=SecretStr(TOKEN), api_url=hub.url
        )
        self.later = timedelta()
        self.url = ""

    async def opened(self) -> None:
        given = await order(
            self.stage, self.bare,
            provider="github", project="shop/deploy", token=SecretStr(TOKEN), api_url=self.hub.url,
        )  # fmt: skip
        done = await self.stage.apply(given)
        assert done.reason is Reason.PULL_REQUEST_OPENED, done.detail
        await self.ended()

    async def ended(self) -> None:
        incident = await self.stage.store.incident(self.stage.incident)
        assert incident is not None
        end = {"state": IncidentState.ESCALATED, "ended_at": incident.updated_at}
        await self.stage.store.update_incident(incident.model_copy(update=end), [])

    async def row(self) -> LedgerRow:
        (row,) = await self.stage.store.rows_of(self.stage.incident)
        return row

    async def look(self, later: timedelta = timedelta(0)) -> Outcome:
        self.later += later
        rows = RowSweeping(
            self.stage.store,
            {self.stage.writer.name: self.stage.writer},
            forge=self.forge,
            clock=lambda: datetime.now(UTC) + self.later,
        )
        orphan = Orphan(incident_id=self.stage.incident, run=RunState.COMPLETED, quiet=True, rows=1)
        row = await self.row()
        incident = await self.stage.store.incident(self.stage.incident)
        assert incident is not None
        return (await rows._settle(incident, orphan, row)).outcome  # whoever's turn it is

    async def merge(self) -> None:
        """The reviewer's merge, by a commit of their own."""
        work = self.folder / "seed"
        branch = branch_of((await self.row()).operation_id)
        git(work, "fetch", "--quiet", str(self.bare), branch)
        git(work, "merge", "--quiet", "--no-ff", "-m", "merged", "FETCH_HEAD")
        git(work, "push", "--quiet", str(self.bare), "main")
        self.hub.made[0]["state"] = "merged"

    async def arrives(self) -> None:
        """What the GitOps controller does after the merge."""
        live = await self.stage.live()
        spec = copy.deepcopy(live["spec"]["template"]["spec"]["containers"][0])
        spec["resources"] = {"limits": {"memory": "256Mi"}, "requests": {"memory": "192Mi"}}
        await self.stage.edit({"spec": {"template": {"spec": {"containers": [spec]}}}})
        await self.stage.revision("api", 2)

    async def told(self, type_: AuditType) -> list[str]:
        return [event.detail for event in await self.stage.trail() if event.type is type_]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_a_pull_request_is_verified_when_it_is_merged_and_the_cluster_has_followed(
    simulated: Stage, folder: Path
) -> None:
    bare = bare_repository(folder, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        after = Afterwards(simulated, bare, hub, folder)
        await after.opened()
        waiting = await after.stage.store.waiting()
        assert await after.look() is Outcome.WAITING
        assert (await after.row()).state is LedgerState.APPLIED
        await after.merge()
        assert await after.look() is Outcome.WAITING  # the cluster does not have it yet
        assert (await after.row()).state is LedgerState.APPLIED
        assert await after.stage.store.waiting() == waiting, "nobody is told that nothing has happened"
        await after.arrives()
        assert await after.look() is Outcome.VERIFIED
        row = await after.row()
        assert (row.state, "was merged and has arrived" in row.detail) == (LedgerState.VERIFIED, True)
        assert len(await after.told(AuditType.VERIFIED)) == 1
        assert await after.stage.store.waiting() > waiting


async def test_a_pull_request_that_is_closed_is_over_and_nothing_was_changed(
    simulated: Stage, folder: Path
) -> None:
    bare = bare_repository(folder, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        after = Afterwards(simulated, bare, hub, folder)
        await after.opened()
        hub.made[0]["state"] = "closed"
        assert await after.look() is Outcome.DECLINED
        row = await after.row()
        assert row.state is LedgerState.COMPENSATED and "closed without being merged" in row.detail
        (event,) = [e for e in await simulated.trail() if e.type is AuditType.COMPENSATION_EXECUTED]
        assert event.reason == Reason.PULL_REQUEST_CLOSED


async def test_a_merge_that_the_cluster_does_not_follow_is_told_with_how_to_revert_it(
    simulated: Stage, folder: Path
) -> None:
    bare = bare_repository(folder, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        after = Afterwards(simulated, bare, hub, folder)
        await after.opened()
        await after.merge()
        assert await after.look() is Outcome.WAITING
        assert await after.look(PATIENCE - timedelta(minutes=1)) is Outcome.WAITING
        assert await after.look(timedelta(minutes=2)) is Outcome.UNCLEAR
        row = await after.row()
        assert row.state is LedgerState.UNKNOWN and "does not have spec.template" in row.detail
        (event,) = [e for e in await simulated.trail() if e.type is AuditType.EFFECT_UNKNOWN]
        assert event.data["commands"][0].startswith("git revert ")


async def test_a_merge_is_known_by_the_files_when_branch_and_request_are_gone(
    simulated: Stage, folder: Path
) -> None:
    bare = bare_repository(folder, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        after = Afterwards(simulated, bare, hub, folder)
        await after.opened()
        work = folder / "seed"  # the same change, made by hand
        text = MANIFEST.replace("128Mi", "256Mi").replace("64Mi", "192Mi")
        (work / "shop/api.yaml").write_text(text)
        git(work, "commit", "--quiet", "--all", "-m", "by hand")
        git(work, "push", "--quiet", str(bare), "main")
        hub.made.clear()
        git(bare, "branch", "--quiet", "-D", branch_of((await after.row()).operation_id))
        await after.arrives()
        assert await after.look() is Outcome.VERIFIED


async def test_a_pull_request_whose_opening_a_crash_interrupted_is_found_in_git(
    simulated: Stage, folder: Path
) -> None:
    bare = bare_repository(folder, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        after = Afterwards(simulated, bare, hub, folder)
        await after.opened()
        row = await after.row()
        intent = row.model_copy(update={"state": LedgerState.INTENT})
        following = RowSweeping(simulated.store, {}, forge=after.forge)._following
        assert following is not None
        found = await following.look(intent, quiet=True)
        assert (found.outcome, found.steps) == (Outcome.WAITING, (LedgerState.APPLIED,))
        hub.made.clear()
        git(bare, "branch", "--quiet", "-D", branch_of(row.operation_id))
        assert (await following.look(intent, quiet=False)).outcome is Outcome.UNDER_WAY
        found = await following.look(intent, quiet=True)
        assert (found.outcome, found.steps) == (Outcome.NOT_DONE, (LedgerState.REFUSED,))
    assert list(branches(bare)) == ["main"]


class Silent:
    """A forge that does not answer."""

    async def fate(self, *_: object) -> Found:
        raise TemporaryError(f"git: no answer, said to {TOKEN[:3]}")


async def test_while_git_does_not_answer_nothing_is_decided(simulated: Stage, folder: Path) -> None:
    bare = bare_repository(folder, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        after = Afterwards(simulated, bare, hub, folder)
        await after.opened()
        after.forge = Silent()  # type: ignore[assignment]
        assert await after.look() is Outcome.UNREACHABLE
        assert (await after.row()).state is LedgerState.APPLIED


async def test_an_open_pull_request_is_asked_after_again_later_and_costs_no_sweep_meanwhile(
    simulated: Stage, folder: Path
) -> None:
    bare = bare_repository(folder, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        after = Afterwards(simulated, bare, hub, folder)
        await after.opened()
        store = simulated.store
        assert [one.operation_id for one in await store.unswept(simulated.incident)] == [
            (await after.row()).operation_id
        ]
        assert await after.look() is Outcome.WAITING
        assert not await store.unswept(simulated.incident)
        async with store._database.begin() as connection:
            await connection.exec_driver_sql("UPDATE ledger SET swept_at = swept_at - interval '3 minutes'")
        assert len(await store.unswept(simulated.incident)) == 1
        found = [one async for one in store.unfinished_incidents() if one.incident.id == simulated.incident]
        assert [one.rows for one in found] == [1]
        hub.made[0]["state"] = "closed"
        assert await after.look() is Outcome.DECLINED
        assert not await store.unswept(simulated.incident)
