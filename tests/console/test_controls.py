"""Stops and levels over HTTP and on the pages: who may set and take back, and what is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.audit import PLATFORM
from cortexops.domain.ledger import LedgerState
from cortexops.domain.limits import Phase, RemediationLimits
from tests.autonomy.support import changed
from tests.console.support import ANA, VIEWER, World, csrf_in, sign_in
from tests.support.postgres import opened

STOPS, LEVELS = "/api/v1/stops", "/api/v1/autonomy"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def world(store: PostgresStore) -> World:
    """Stops are compared with the database's clock, so this one is right."""
    made = World(store)
    made.clock.now = datetime.now(UTC)
    return made


async def trail(world: World) -> list[tuple[str, str, str]]:
    found = await world.store.events(PLATFORM)
    return [(e.reason, e.actor, e.data["via"]) for e in found if e.type == "control_changed"]


async def test_anybody_known_stops_and_who_has_a_role_takes_back(world: World) -> None:
    async with world.client(**VIEWER) as client:
        made = await client.post(STOPS, json={"reason": "wild", "scope": {"namespace": "shop"}, "minutes": 9})
        assert made.status_code == 201, made.text
        stop = made.json()
        assert (stop["stopped_by"], stop["in_force"], stop["scope"]["namespace"]) == ("vi", True, "shop")
        refused = await client.delete(f"{STOPS}/{stop['id']}")
        assert (refused.status_code, "oncall" in refused.json()["error"]) == (403, True)
    async with world.client(**ANA) as client:
        assert (await client.delete(f"{STOPS}/{stop['id']}")).json()["in_force"] is False
        assert (await client.get(STOPS)).json() == {"stops": [], "running": []}
        assert len((await client.get(f"{STOPS}?ended=true")).json()["stops"]) == 1
        assert (await client.delete(f"{STOPS}/stop-0")).status_code == 404
    assert await trail(world) == [("stop_added", "vi", "token"), ("stop_resumed", "ana", "token")]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "x"}, "scope"),
        ({"reason": "x", "everything": True, "scope": {"cluster": "east"}}, "scope"),
        ({"reason": " ", "everything": True}, "reason"),
        ({"everything": True}, "reason"),
        ({"reason": "x", "everything": True, "stopped_by": "bo"}, "stopped_by"),
        ({"reason": "x", "everything": True, "minutes": 0}, "minutes"),
    ],
)
async def test_a_stop_that_says_too_little_is_refused(world: World, body: dict[str, Any], field: str) -> None:
    async with world.client(**ANA) as client:
        answer = await client.post(STOPS, json=body)
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["field"]
    assert await trail(world) == []


async def test_nobody_stops_resumes_or_sets_levels_without_an_identity(world: World) -> None:
    async with world.client() as nobody:
        for method, path in (
            ("POST", STOPS),
            ("DELETE", f"{STOPS}/stop-1"),
            ("POST", f"{LEVELS}/overrides"),
            ("DELETE", f"{LEVELS}/overrides/level-1"),
        ):
            answer = await nobody.request(method, path, json={"reason": "x", "everything": True})
            assert answer.status_code == 401, path
    async with world.client() as browser:
        await sign_in(browser)
        assert (await browser.post("/stops", data={"reason": "x", "csrf": "guess"})).status_code == 401
    assert await trail(world) == []


async def test_the_page_stops_everything_with_one_button_and_shows_who_acts(world: World) -> None:
    incident = await opened(world.store)  # type: ignore[arg-type]
    await world.store.admit(incident.id, "east:shop:Deployment:api", Phase.RUNNING, RemediationLimits())
    async with world.client() as browser:
        await sign_in(browser)
        page = (await browser.get("/stops")).text
        assert "Nothing is stopped" in page
        assert incident.id in page
        done = await browser.post("/stops", data={"reason": HOSTILE, "csrf": csrf_in(page)})
        assert (done.status_code, done.headers["location"]) == (303, "/stops?done=stopped")
        page = (await browser.get("/stops?done=stopped")).text
        assert "It is stopped" in page
        assert "everything" in page
        assert HOSTILE not in page
        (stop,) = await world.store.stops()
        assert stop.scope.model_dump() == {"cluster": "", "namespace": "", "action": ""}
        done = await browser.post(f"/stops/{stop.id}/resume", data={"csrf": csrf_in(page)})
        assert done.headers["location"] == "/stops?done=resumed"
    assert [(reason, via) for reason, _, via in await trail(world)] == [
        ("stop_added", "web"),
        ("stop_resumed", "web"),
    ]


async def test_levels_are_shown_set_by_who_has_a_role_and_cleared(world: World) -> None:
    store: Any = world.store
    for number in range(10):
        await changed(
            store,
            f"k{number}",
            LedgerState.APPLIED,
            LedgerState.VERIFIED,
            at=world.clock.now - timedelta(hours=number + 1),
        )
    body = {"level": "observe", "reason": HOSTILE, "namespace": "shop", "days": 2}
    async with world.client(**VIEWER) as client:
        assert (await client.post(f"{LEVELS}/overrides", json=body)).status_code == 403
        (level,) = (await client.get(LEVELS)).json()["levels"]
        assert (level["level"], level["why"]) == ("auto", "promoted")
    async with world.client(**ANA) as client:
        made = await client.post(f"{LEVELS}/overrides", json=body)
        assert made.status_code == 201, made.text
        (level,) = (await client.get(LEVELS)).json()["levels"]
        assert (level["level"], "ana set observe" in " ".join(level["explanation"])) == ("observe", True)
        for wrong in ({"level": "all"}, {"days": 91}, {"workload": "api"}, {"set_by": "bo"}):
            answer = await client.post(f"{LEVELS}/overrides", json={**body, **wrong})
            assert answer.status_code == 422, wrong
    async with world.client() as browser:
        await sign_in(browser)
        page = (await browser.get("/autonomy")).text
        assert HOSTILE not in page
        for text in ("rollback_rollout on Deployment/api", "10 of 10", "observe", "by ana"):
            assert text in page, text
        path = f"/autonomy/overrides/{made.json()['id']}/clear"
        done = await browser.post(path, data={"csrf": csrf_in(page)})
        assert done.headers["location"] == "/autonomy?done=cleared"
        assert "Nobody has set a level" in (await browser.get("/autonomy?done=cleared")).text
    assert [reason for reason, _, _ in await trail(world)] == ["autonomy_set", "autonomy_cleared"]
