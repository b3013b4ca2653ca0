"""The pages: what they show, that hostile text stays text, and that no other page can act for a person."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import Decision
from cortexops.domain.change import DiffLine
from tests.console.support import ANA, World, csrf_in, sign_in
from tests.support.case import DIGEST, VIEWER_TOKEN, a_diagnosis, an_incident, end_case, open_case

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\" autofocus onfocus=alert(3) x='"


class Tags(HTMLParser):
    """Every tag with its attributes, as a browser's parser would find them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


async def test_the_list_shows_open_incidents_first_and_what_waits(world: World) -> None:
    await end_case(world.store, await open_case(world.store))
    waiting = await open_case(world.store, run_id="run-2", title="checkout is down")
    async with world.client(**ANA) as client:
        page = (await client.get("/")).text
    assert "1 change waits for you" in page
    assert page.index("checkout is down") < page.index("payment-service is OOM-killed")
    assert f'href="/incidents/{waiting.id}"' in page
    assert re.search(r"\b78\b", page)
    assert "1m 00s" in page


async def test_the_incident_page_tells_cause_change_evidence_and_timeline(world: World) -> None:
    incident = await open_case(world.store)
    async with world.client() as client:
        await sign_in(client)
        page = (await client.get(f"/incidents/{incident.id}")).text
    for text in (
        "Root cause", "93 % confidence", "T+00:19", "&#34;512Mi&#34;", "&#34;1Gi&#34;", "quorum_production",
        "3 replicas, 2 dependents", "production changes of resources need a person", "Expires in",
        "14m 19s", "Approve", "Deny", "Take over", "kubectl -n shop logs", "metrics of the last 24 h",
    ):  # fmt: skip
        assert text in page, text
    assert "s3cret-Passw0rd" not in page
    assert f'value="{DIGEST}"' in page


async def test_an_ended_incident_shows_what_was_changed_and_its_postmortem(world: World) -> None:
    incident, postmortem = await end_case(world.store, await open_case(world.store))
    async with world.client(**ANA) as client:
        page = (await client.get(f"/incidents/{incident.id}")).text
        assert f"/postmortems/{postmortem.id}" in page
        assert "adjust_resources Deployment shop/payment-service (memory_limit=1Gi)" in page
        assert "matches e4" in page
        assert "Approve this change?" not in page
        story = (await client.get(f"/postmortems/{postmortem.id}")).text
        assert "Lessons learned" in story
        assert "T+03:30" in story
        assert (await client.get("/postmortems")).status_code == 200
        assert (await client.get("/approvals")).text.count("approved") >= 1


async def test_hostile_text_from_the_cluster_stays_text_everywhere(world: World) -> None:
    diagnosis = a_diagnosis(excerpt=f"panic: {HOSTILE}")
    lead = diagnosis.hypotheses[0].model_copy(update={"summary": f"cause {HOSTILE}"})
    evidence = tuple(fact.model_copy(update={"summary": f"fact {HOSTILE}"}) for fact in diagnosis.evidence)
    hostile = diagnosis.model_copy(update={"hypotheses": (lead,), "evidence": evidence})
    incident = await open_case(
        world.store,
        title=f"down {HOSTILE}",
        resource=an_incident().resource.model_copy(update={"name": HOSTILE}),
        diagnosis=hostile,
        request={
            "action": HOSTILE, "policy_reasons": (HOSTILE,), "blast_radius": HOSTILE, "rule": HOSTILE,
            "diff": (DiffLine(path=HOSTILE, before=HOSTILE, after=HOSTILE),), "cause": HOSTILE,
        },
    )  # fmt: skip
    async with world.client() as client:
        await sign_in(client)
        for path in (
            "/",
            f"/incidents/{incident.id}",
            "/approvals",
            f"/incidents/{incident.id}?done={HOSTILE}",
        ):
            page = await client.get(path)
            tags = Tags(page.text).found
            assert "alert(1)" in page.text or path == "/approvals"
            assert [a for t, a in tags if t == "script"] == [{"src": "/static/live.js", "defer": None}], path
            assert all(not name.startswith("on") for _, attributes in tags for name in attributes), path
            assert all(a.get("src") == "/static/icon.svg" for t, a in tags if t == "img"), path
            assert not any("style" in attributes for _, attributes in tags), path
        lost = await client.get(f"/incidents/{HOSTILE}")
        assert lost.status_code == 404
        assert "<script>alert" not in lost.text


async def test_every_answer_carries_the_strict_headers(world: World) -> None:
    async with world.client(**ANA) as client:
        for path in ("/", "/login", "/nowhere", "/api/v1/incidents", "/static/console.css", "/metrics"):
            headers = (await client.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy, path
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/")).headers["cache-control"] == "no-store"


async def test_a_vote_by_form_counts_for_the_person_of_the_session(world: World) -> None:
    incident = await open_case(world.store)
    async with world.client() as client:
        await sign_in(client)
        page = await client.get(f"/incidents/{incident.id}")
        form = {"csrf": csrf_in(page.text), "digest": DIGEST, "reason": "e4 shows it", "approver": "bo"}
        answer = await client.post(f"/approvals/{incident.id}-approval-1/approve", data=form)
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/incidents/{incident.id}?done=approve"
        assert "Your approval is counted." in (await client.get(answer.headers["location"])).text
    assert [(v.person.id, v.person.via, v.reason) for v in world.votes.counted] == [
        ("ana", "web", "e4 shows it")
    ]


async def test_a_form_without_this_sessions_csrf_token_counts_nothing(world: World) -> None:
    incident = await open_case(world.store)
    url = f"/approvals/{incident.id}-approval-1/approve"
    async with world.client() as other, world.client() as client:
        await sign_in(other)
        foreign = csrf_in((await other.get(f"/incidents/{incident.id}")).text)
        await sign_in(client)
        for csrf in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": foreign}):
            answer = await client.post(url, data={"digest": DIGEST, **csrf})
            assert answer.status_code == 401, csrf
        bare = await client.post(f"/api/v1{url}", json={"digest": DIGEST})
        assert bare.status_code == 401
        own = csrf_in((await client.get(f"/incidents/{incident.id}")).text)
        counted = await client.post(f"/api/v1{url}", json={"digest": DIGEST}, headers={"x-csrf-token": own})
        assert counted.status_code == 200
    assert len(world.votes.counted) == 1


async def test_a_refused_vote_is_explained_on_the_page_and_the_reason_is_kept(world: World) -> None:
    incident = await open_case(world.store)
    async with world.client() as client:
        await sign_in(client, VIEWER_TOKEN)
        page = (await client.get(f"/incidents/{incident.id}")).text
        assert re.search(r'<button class="approve" disabled>', page)
        form = {"csrf": csrf_in(page), "digest": DIGEST, "reason": "let me"}
        answer = await client.post(f"/approvals/{incident.id}-approval-1/approve", data=form)
        assert answer.status_code == 409
        assert "none of the roles" in answer.text
        assert ">let me</textarea>" in answer.text
        denied = await client.post(f"/approvals/{incident.id}-approval-1/deny", data=form)
        assert denied.status_code == 303
        assert (await client.post(f"/approvals/{incident.id}-approval-1/shrug", data=form)).status_code == 422
    assert [v.decision for v in world.votes.counted] == [Decision.DENY]


async def test_the_session_cookie_is_signed_closed_to_scripts_and_ends(world: World) -> None:
    async with world.client() as client:
        assert (await client.get("/")).headers["location"] == "/login?next=/"
        assert (await client.post("/login", data={"token": "guess"})).status_code == 401
        answer = await client.post("/login", data={"token": "ana-token-for-tests", "next": "/approvals"})
        assert answer.headers["location"] == "/approvals"
        cookie = answer.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=strict", "Max-Age=43200"):
            assert part in cookie
        assert "ana-token" not in cookie
        kept = client.cookies["cortexops_session"]
        page = (await client.get("/")).text
        payload, _, signature = kept.partition(".")
        for forged in (f"{payload}.{'0' * 64}", f"{payload}x.{signature}", "x", ".", f"é{kept}"):
            headers = {b"cookie": f"cortexops_session={forged}".encode()}
            client.cookies.clear()
            assert (await client.get("/", headers=headers)).status_code == 303
        client.cookies["cortexops_session"] = kept
        assert (await client.post("/logout", data={"csrf": csrf_in(page)})).status_code == 303
        client.cookies["cortexops_session"] = kept
        assert (await client.get("/")).status_code == 303  # a kept copy is worth nothing
        await sign_in(client)
        world.clock.advance(hours=12, seconds=1)
        assert (await client.get("/")).status_code == 303


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\n/x"])
async def test_signing_in_never_leads_elsewhere(world: World, target: str) -> None:
    async with world.client() as client:
        answer = await client.post("/login", data={"token": "ana-token-for-tests", "next": target})
    assert answer.headers["location"] == "/"


async def test_another_page_cannot_sign_a_browser_in(world: World) -> None:
    async with world.client() as client:
        data = {"token": "ana-token-for-tests"}
        for headers in (
            {"origin": "https://evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"origin": "null"},
        ):
            assert (await client.post("/login", data=data, headers=headers)).status_code == 403


async def test_with_nobody_configured_the_page_says_how_to_add_a_person(store: PostgresStore) -> None:
    world = World(store, people=())
    incident = await open_case(store)
    async with world.client() as client:
        page = (await client.get(f"/incidents/{incident.id}")).text
        assert "Sign in to answer" in page
        assert 'action="/approvals/' not in page
        assert "token_sha256" in (await client.get("/login")).text
        form = {"digest": DIGEST, "csrf": ""}
        refused = await client.post(f"/approvals/{incident.id}-approval-1/approve", data=form)
        assert refused.status_code == 401
        assert "token_sha256" in refused.text
    assert world.votes.counted == []


async def test_large_bodies_and_bodies_of_unknown_length_are_refused(world: World) -> None:
    async with world.client(**ANA) as client:
        big = await client.post("/api/v1/approvals/x/approve", content=b"x" * (1024 * 1024 + 1))
        assert big.status_code == 422

        async def endless() -> AsyncIterator[bytes]:
            yield b"{}"

        assert (await client.post("/slack/interactions", content=endless())).status_code == 422
