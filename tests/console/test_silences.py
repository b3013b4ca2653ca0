"""Silences over HTTP and on the pages: who may add and lift them, and what an incident shows of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.audit import PLATFORM, AuditEntry, AuditEvent, AuditType
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.resource import ResourceRef
from cortexops.ports.store import Store
from tests.console.support import ANA, BO, Clock, World, csrf_in, sign_in
from tests.support.case import TARGET, an_incident, open_case

URL = "/api/v1/silences"
HOSTILE = "<script>alert(1)</script>\" onfocus=alert(2) x='"
BODY: dict[str, Any] = {"reason": "moving", "matcher": {"namespace": "shop"}, "minutes": 30}


@pytest.fixture
def world(store: PostgresStore) -> World:
    """Silences are compared with the database's clock, so this one is right."""
    made = World(store)
    made.clock.now = datetime.now(UTC)
    return made


async def trail(store: Store) -> list[AuditEvent]:
    return [event for event in await store.events(PLATFORM) if event.reason.startswith("silence")]


async def added(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post(URL, json={**BODY, **changes})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_silence_is_added_listed_and_lifted_by_the_person_of_the_token(world: World) -> None:
    async with world.client(**ANA) as client:
        silence = await added(client)
        assert (silence["created_by"], silence["kind"]) == ("ana", "silence")
        assert silence["holds_until"] == silence["ends_at"]
        assert [s["id"] for s in (await client.get(URL)).json()["silences"]] == [silence["id"]]
    async with world.client(**BO) as client:
        lifted = await client.request("DELETE", f"{URL}/{silence['id']}")
        assert (lifted.status_code, lifted.json()["told"], lifted.json()["complete"]) == (200, 0, True)
        assert lifted.json()["holds_until"] is None
        assert (await client.get(URL)).json()["silences"] == []
        assert len((await client.get(f"{URL}?ended=true")).json()["silences"]) == 1
        unknown = await client.delete(f"{URL}/silence-0")
        assert (unknown.status_code, set(unknown.json())) == (404, {"error", "hint"})
    assert [(e.reason, e.actor, e.data["via"]) for e in await trail(world.store)] == [
        ("silence_added", "ana", "token"),
        ("silence_lifted", "bo", "token"),
    ]


async def test_nobody_adds_or_lifts_without_an_identity_or_in_anothers_name(world: World) -> None:
    async with world.client(**ANA) as client:
        silence = await added(client)
        for field in ("created_by", "actor", "person"):
            answer = await client.post(URL, json={**BODY, field: "bo"})
            assert (answer.status_code, answer.json()["field"]) == (422, field)
            assert "token" in answer.json()["error"]
    for headers in ({}, {"authorization": "Bearer guess"}):
        async with world.client(**headers) as nobody:
            assert (await nobody.get(URL)).status_code == 401
            assert (await nobody.post(URL, json=BODY)).status_code == 401
            assert (await nobody.delete(f"{URL}/{silence['id']}")).status_code == 401
    async with world.client() as browser:
        await sign_in(browser)
        assert (await browser.delete(f"{URL}/{silence['id']}")).status_code == 401  # no CSRF token
        forged = await browser.post(f"/silences/{silence['id']}/lift", data={"csrf": "guess"})
        assert forged.status_code == 401
    assert len(await trail(world.store)) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"minutes": None}, "ends_at"),
        ({"ends_at": "2099-01-01T00:00:00Z"}, "ends_at"),
        ({"minutes": 20_000}, "ends_at"),
        ({"minutes": 5, "starts_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"minutes": 5, "starts_at": "9999-12-31T23:59:00Z"}, "minutes"),
        ({"minutes": 5, "starts_at": "2099-01-01T00:00:00"}, "starts_at"),
        ({"matcher": {"kind": "Pod"}}, "matcher"),
        ({"matcher": {"colour": "red"}}, "matcher.colour"),
        ({"reason": " "}, "reason"),
        ({"weekly": {"day": 7, "start": "22:00", "minutes": 5, "zone": "UTC"}}, "weekly.day"),
        ({"weekly": {"day": 0, "start": "22:00", "minutes": 5, "zone": "Mars/X"}}, "weekly.zone"),
    ],
)
async def test_what_may_not_be_silenced_is_refused_by_field(
    world: World, changes: dict[str, Any], field: str
) -> None:
    async with world.client(**ANA) as client:
        answer = await client.post(URL, json={**BODY, **changes})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert not await trail(world.store)


async def test_a_delete_needs_no_body_but_may_not_hide_one(world: World) -> None:
    async def body() -> Any:
        yield b"x"

    async with world.client(**ANA) as client:
        request = client.build_request("DELETE", f"{URL}/silence-0")
        assert "content-length" not in request.headers
        assert (await client.send(request)).status_code == 404
        assert (await client.request("DELETE", f"{URL}/silence-0", content=body())).status_code == 422
        assert (await client.post(URL, content=body())).status_code == 422


async def test_a_lift_stands_although_temporal_is_away_and_says_who_was_not_told(world: World) -> None:
    async with world.client(**ANA) as client:
        silence = await added(client)
        await world.store.open_incident(
            an_incident(detected_at=world.clock.now, updated_at=world.clock.now),
            (),
            _entry(world.clock),
        )
        lifted = (await client.delete(f"{URL}/{silence['id']}")).json()
    assert (lifted["told"], lifted["complete"]) == (0, False)
    assert lifted["lifted_at"] is not None


def _entry(clock: Clock) -> AuditEntry:
    return AuditEntry(
        chain=PLATFORM, type=AuditType.DETECTED, reason="x", at=clock.now, idempotency_key="detected"
    )


async def test_the_page_lists_silences_as_text_and_a_person_lifts_one(world: World) -> None:
    async with world.client(**ANA) as client:
        silence = await added(client, reason=HOSTILE, matcher={"namespace": "shop", "alert": "<b>*"})
        weekly = {"day": 0, "start": "22:00", "minutes": 90, "zone": "Europe/Berlin"}
        later = (world.clock.now + timedelta(days=1)).isoformat()
        await added(client, kind="maintenance", weekly=weekly, starts_at=later, minutes=100_000)
    async with world.client() as browser:
        await sign_in(browser)
        page = (await browser.get("/silences")).text
        assert "<script>alert" not in page
        assert "<b>*" not in page
        for text in (
            "in force",
            "waits",
            "maintenance",
            "Mondays at 22:00 Europe/Berlin",
            "by ana",
            'href="/silences"',
        ):
            assert text in page, text
        done = await browser.post(f"/silences/{silence['id']}/lift", data={"csrf": csrf_in(page)})
        assert (done.status_code, done.headers["location"]) == (303, "/silences?done=lifted")
        after = (await browser.get(done.headers["location"])).text
    assert "It is lifted" in after
    assert silence["id"] not in after
    assert [(e.reason, e.data["via"]) for e in await trail(world.store)][-1] == ("silence_lifted", "web")


async def test_an_incident_shows_that_it_is_held_flapping_a_drill_and_what_is_linked(world: World) -> None:
    until = world.clock.now + timedelta(hours=1)
    linked = tuple(
        ResourceRef(cluster="prod-eu", kind="Pod", namespace="shop", name=f"<i>-{n:02d}") for n in range(23)
    )
    incident = await open_case(world.store, drill=True)
    special = {"held_until": until, "held_by": HOSTILE, "flapping": True, "linked": linked}
    await world.store.update_incident(incident.model_copy(update=special), [])
    async with world.client(**ANA) as client:
        page = (await client.get(f"/incidents/{incident.id}")).text
        listed = (await client.get("/")).text
        told = (await client.get(f"/api/v1/incidents/{incident.id}")).json()["incident"]
    for text in (
        "Held until",
        until.strftime("%H:%M:%S UTC"),
        "flapping",
        "drill",
        "23 linked objects",
        "and 3 more",
    ):
        assert text in page, text
    assert page.count("&lt;i&gt;-") == 20
    assert "<i>-" not in page
    assert "<script>alert" not in page
    for mark in (">held<", ">flapping<", ">drill<"):
        assert mark in listed
    assert (told["flapping"], len(told["linked"])) == (True, 23)


async def test_a_merged_incident_links_to_the_one_that_it_is_part_of(world: World) -> None:
    cause = await open_case(world.store)
    part = await open_case(world.store, key="incident:other", run_id="run-2")
    merged = {
        "state": IncidentState.MERGED,
        "reason": Reason.MERGED_INTO,
        "merged_into": f"incident:{TARGET.key}",
        "ended_at": world.clock.now,
    }
    await world.store.update_incident(part.model_copy(update=merged), [])
    lost = await open_case(world.store, key="incident:third", run_id="run-3")
    await world.store.update_incident(
        lost.model_copy(update={**merged, "merged_into": "incident:<u>gone"}), []
    )
    async with world.client(**ANA) as client:
        page = (await client.get(f"/incidents/{part.id}")).text
        told = (await client.get(f"/api/v1/incidents/{part.id}")).json()
        without = (await client.get(f"/incidents/{lost.id}")).text
    assert f'<a href="/incidents/{cause.id}">{cause.id}</a>' in page
    assert told["merged_into_id"] == cause.id
    assert "<code>incident:&lt;u&gt;gone</code>" in without
