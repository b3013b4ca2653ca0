"""Taking over in a real browser: one button, with the reason, and the automation has stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import Decision
from tests.console.support import World
from tests.console.test_browser import complaints, served, sign_in
from tests.support.browser import CHROMIUM, browser
from tests.support.case import open_case

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")]


async def test_a_person_takes_over_with_a_reason(store: PostgresStore, tmp_path: Path) -> None:
    world = World(store)
    incident = await open_case(store, request={"quorum": 2})
    async with served(world) as base, browser(tmp_path) as page:
        await page.look(width=390, height=844)
        await sign_in(page, base, f"/incidents/{incident.id}")
        assert await page.evaluate("document.querySelector('button.take-over').textContent") == "Take over"
        await page.fill("#reason", "I look at node-3 by hand")
        await page.click("button.take-over")
        await page.until(
            "document.body.innerText.includes('It is yours now. Nothing is done automatically.')"
        )
        assert complaints(page) == []
    assert [(v.person.id, v.person.via, v.decision, v.reason) for v in world.votes.counted] == [
        ("ana", "web", Decision.TAKE_OVER, "I look at node-3 by hand")
    ]
