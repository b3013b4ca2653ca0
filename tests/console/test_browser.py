"""The pages in a real browser, served by the real server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn

from cortexops.domain.audit import AuditType
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.signal import Severity
from tests.console.support import ANA, World
from tests.console.test_pages import HOSTILE
from tests.support.browser import CHROMIUM, Page, browser
from tests.support.case import ANA_TOKEN, START, an_incident, end_case, entry, open_case, ref

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
]
PICTURES = os.environ.get("CORTEXOPS_TEST_PICTURES")
"""A folder that keeps the screenshots, for people who want to look."""


@asynccontextmanager
async def served(world: World) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(world.app, host="127.0.0.1", port=0, log_level="error", ws="none"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def others(world: World) -> None:
    """A list as it looks on a busy night."""
    rows = (
        ("checkout answers 5xx", "checkout", Severity.HIGH, 61, IncidentState.INVESTIGATING, 45),
        ("image of catalog does not exist", "catalog", Severity.HIGH, 55, IncidentState.VERIFYING, 20),
        ("search is restarting", "search", Severity.MEDIUM, 34, IncidentState.DETECTED, 52),
        ("mailer cannot reach smtp.example.org", "mailer", Severity.LOW, 18, IncidentState.ESCALATED, 0),
    )
    for number, (title, name, severity, risk, state, seconds) in enumerate(rows):
        at = START + timedelta(seconds=seconds)
        final = state.final
        draft = an_incident(
            title=title, resource=ref("Deployment", name), severity=severity, risk_score=risk,
            run_id=f"o{number}", detected_at=at, updated_at=at, key=f"k{number}",
        )  # fmt: skip
        opened = await world.store.open_incident(
            draft, (), entry("platform", AuditType.DETECTED, number, title)
        )
        ended = {"ended_at": START + timedelta(seconds=50)} if final else {}
        change = {"state": state, "reason": Reason.CAUSE_EXTERNAL, "updated_at": at, **ended}
        await world.store.update_incident(opened.model_copy(update=change), [])


async def sign_in(page: Page, base: str, path: str) -> None:
    await page.go(f"{base}{path}")
    assert "Sign in" in await page.evaluate("document.title")
    await page.fill("#token", ANA_TOKEN)
    await page.click("button.approve")
    await page.until(f"location.pathname === {path!r} && document.readyState === 'complete'")


def pictures(tmp_path: Path) -> Path:
    folder = Path(PICTURES) if PICTURES else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def complaints(page: Page) -> list[str]:
    """What the browser had to complain about: blocked by policy, failed to load, thrown."""
    return [
        str(event["params"])
        for event in page.events
        if event.get("method") == "Runtime.exceptionThrown"
        or (
            event.get("method") == "Log.entryAdded"
            and event["params"]["entry"]["level"] in ("warning", "error")
        )
    ]


async def test_a_person_signs_in_reads_the_case_and_approves(world: World, tmp_path: Path) -> None:
    incident = await open_case(world.store)
    await others(world)
    where = f"/incidents/{incident.id}"
    async with served(world) as base, browser(tmp_path) as page:
        await page.look(width=1280, height=900)
        await sign_in(page, base, where)
        assert "payment-service is OOM-killed" in await page.evaluate(
            "document.querySelector('h1').textContent"
        )
        marks = [
            await page.evaluate(f"getComputedStyle(document.querySelector('.diff .{side}')).backgroundColor")
            for side in ("minus", "plus")
        ]
        assert len(set(marks)) == 2
        first = await page.evaluate("document.querySelector('.countdown strong').textContent")
        await page.until(f"document.querySelector('.countdown strong').textContent !== {first!r}")
        folder = pictures(tmp_path)
        for scheme in ("light", "dark"):
            for name, width, height in (("desktop", 1280, 900), ("narrow", 390, 844)):
                await page.look(width=width, height=height, scheme=scheme)
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                await page.screenshot(folder / f"incident-{name}-{scheme}.png")
        await page.look(width=1280, height=1130)
        await page.screenshot(folder / "console-incident.png", whole=False)
        await page.fill("#reason", "e4 shows 490 of 512 MiB")
        await page.click("button.approve")
        await page.until("document.body.innerText.includes('Your approval is counted.')")
        assert complaints(page) == []
        requested = [
            e["params"]["request"]["url"]
            for e in page.events
            if e.get("method") == "Network.requestWillBeSent"
        ]
        assert requested
        assert all(url.startswith(base) for url in requested)
    assert [(v.person.id, v.person.via, v.reason) for v in world.votes.counted] == [
        ("ana", "web", "e4 shows 490 of 512 MiB")
    ]


async def test_the_list_refreshes_itself_and_fits_every_width(world: World, tmp_path: Path) -> None:
    incident = await open_case(world.store)
    await others(world)
    async with served(world) as base, browser(tmp_path) as page:
        await page.look(width=1280, height=900)
        await sign_in(page, base, "/")
        folder = pictures(tmp_path)
        for scheme in ("light", "dark"):
            for name, width in (("desktop", 1280), ("narrow", 390)):
                await page.look(width=width, height=844, scheme=scheme)
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                await page.screenshot(folder / f"list-{name}-{scheme}.png")
        assert await page.evaluate("document.body.innerText.includes('1 change waits for you')")
        _, postmortem = await end_case(world.store, incident)
        await page.until("!document.body.innerText.includes('waits for you')", seconds=10)
        await page.look(width=1280, height=900)
        for name, path in (
            ("ended", f"/incidents/{incident.id}"), ("postmortem", f"/postmortems/{postmortem.id}"),
            ("approvals", "/approvals"), ("postmortems", "/postmortems"), ("missing", "/incidents/none"),
        ):  # fmt: skip
            await page.go(base + path)
            await page.screenshot(folder / f"{name}.png")


async def test_hostile_text_runs_nothing_in_a_real_browser(world: World, tmp_path: Path) -> None:
    incident = await open_case(
        world.store, title=f"down {HOSTILE}", request={"action": HOSTILE, "blast_radius": HOSTILE}
    )
    async with served(world) as base, browser(tmp_path) as page:
        await sign_in(page, base, f"/incidents/{incident.id}")
        assert (
            await page.evaluate("document.querySelectorAll('img[src=x], [onerror], [onfocus]').length") == 0
        )
        assert "<script>alert(1)" in await page.evaluate("document.querySelector('h1').textContent")
        assert not [e for e in page.events if e.get("method") == "Page.javascriptDialogOpening"]
        assert complaints(page) == []


async def test_a_person_lifts_a_silence_on_the_page(world: World, tmp_path: Path) -> None:
    world.clock.now = datetime.now(UTC)  # the database's clock says which silences have ended
    async with world.client(**ANA) as client:
        body = {"reason": HOSTILE, "matcher": {"namespace": "shop", "name": "n" * 200}, "minutes": 30}
        assert (await client.post("/api/v1/silences", json=body)).status_code == 201
    async with served(world) as base, browser(tmp_path) as page:
        await sign_in(page, base, "/silences")
        folder = pictures(tmp_path)
        for name, width in (("desktop", 1280), ("narrow", 390)):
            await page.look(width=width, height=844)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            await page.screenshot(folder / f"silences-{name}.png")
        assert await page.evaluate("document.querySelectorAll('img[src=x], [onfocus]').length") == 0
        await page.click("td button.quiet")
        await page.until("document.body.innerText.includes('Nothing is silenced.')")
        assert complaints(page) == []
    assert await world.store.silences() == []
