"""The REST API: what it shows, and who may act."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import Decision
from cortexops.domain.audit import AuditEvent, AuditType, verify_chain
from cortexops.domain.errors import TemporaryError
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.signal import Severity
from tests.console.support import ANA, BO, VIEWER, World
from tests.support.case import ANA_TOKEN, DIGEST, START, an_incident, end_case, entry, open_case

VOTE = {"reason": "the limit is too low", "digest": DIGEST}


async def test_an_incident_is_shown_with_diagnosis_approvals_and_timeline(world: World) -> None:
    incident = await open_case(world.store)
    async with world.client(**ANA) as client:
        listed = (await client.get("/api/v1/incidents?open=true")).json()["incidents"]
        assert [i["id"] for i in listed] == [incident.id]
        assert listed[0]["age_seconds"] == 60
        shown = (await client.get(f"/api/v1/incidents/{incident.id}")).json()
        assert shown["diagnosis"]["hypotheses"][0]["confidence"] == 0.93
        assert shown["approvals"][0]["digest"] == DIGEST
        assert shown["approvals"][0]["expires_in_seconds"] == 15 * 60 + 19 - 60
        moments = (await client.get(f"/api/v1/incidents/{incident.id}/timeline")).json()["timeline"]
        assert [m["offset"] for m in moments] == [
            "T+00:00",
            "T+00:01",
            "T+00:12",
            "T+00:13",
            "T+00:15",
            "T+00:19",
        ]
        evidence = (await client.get(f"/api/v1/incidents/{incident.id}/evidence")).json()
        assert [e["id"] for e in evidence["evidence"]] == ["e1", "e2", "e3", "e4", "e5"][:5]
        assert "s3cret" not in json.dumps(evidence) + json.dumps(shown)
        assert evidence["gaps"][0]["reason"] == "no_data"


async def test_filters_narrow_the_list_and_nonsense_is_named(world: World) -> None:
    first = await open_case(world.store)
    await end_case(world.store, first)
    second = await open_case(world.store, run_id="run-2", severity=Severity.LOW)
    async with world.client(**ANA) as client:

        async def ids(query: str) -> list[str]:
            return [i["id"] for i in (await client.get(f"/api/v1/incidents?{query}")).json()["incidents"]]

        assert await ids("state=RESOLVED") == [first.id]
        assert await ids("severity=low") == [second.id]
        assert await ids("open=true") == [second.id]
        wrong = await client.get("/api/v1/incidents?state=SLEEPING")
        assert wrong.status_code == 422
        assert wrong.json()["field"] == "state.0"
        assert (await client.get("/api/v1/incidents/INC-1")).status_code == 404


async def test_an_approval_with_a_token_counts_for_the_person_of_the_token(world: World) -> None:
    incident = await open_case(world.store)
    async with world.client(**{"x-api-key": ANA_TOKEN}) as client:
        answer = await client.post(f"/api/v1/approvals/{incident.id}-approval-1/approve", json=VOTE)
    assert answer.status_code == 200
    assert answer.json() == {
        "approval_id": f"{incident.id}-approval-1", "state": "approved", "approvals": 1, "quorum": 1,
        "outcome": "counted", "decision": "approve", "person": "ana",
    }  # fmt: skip
    assert [(v.person.id, v.person.via, v.reason) for v in world.votes.counted] == [
        ("ana", "token", VOTE["reason"])
    ]


@pytest.mark.parametrize("field", ["approver", "person", "user", "roles"])
async def test_an_approver_in_the_body_is_refused_and_never_counts(world: World, field: str) -> None:
    incident = await open_case(world.store)
    async with world.client(**VIEWER) as client:
        url = f"/api/v1/approvals/{incident.id}-approval-1/approve"
        answer = await client.post(url, json={**VOTE, field: "ana"})
        assert answer.status_code == 422
        assert answer.json()["field"] == field
        assert "token" in answer.json()["error"]
    async with world.client() as nobody:
        assert (await nobody.post(url, json={**VOTE, "approver": "ana"})).status_code == 401
        assert (await nobody.post(f"{url}?approver=ana&token={ANA_TOKEN}", json=VOTE)).status_code == 401
    assert world.votes.counted == []


async def test_a_wrong_token_is_nobody(world: World) -> None:
    incident = await open_case(world.store)
    wrong = [
        {"authorization": "Bearer guess"}, {"x-api-key": ""}, {"authorization": f"Basic {ANA_TOKEN}"},
        {"authorization": ANA_TOKEN}, {"x-api-key": "ana"},
    ]  # fmt: skip
    for headers in wrong:
        async with world.client(**headers) as client:
            answer = await client.post(f"/api/v1/approvals/{incident.id}-approval-1/approve", json=VOTE)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert set(answer.json()) == {"error", "hint"}
    assert world.votes.counted == []


async def test_the_wrong_role_may_not_approve_but_may_deny(world: World) -> None:
    incident = await open_case(world.store)
    url = f"/api/v1/approvals/{incident.id}-approval-1"
    async with world.client(**VIEWER) as client:
        refused = await client.post(f"{url}/approve", json=VOTE)
        assert refused.status_code == 403
        assert refused.json()["refusal"] == "wrong_role"
        denied = await client.post(f"{url}/deny", json=VOTE)
        assert denied.json()["state"] == "denied"
    assert [v.decision for v in world.votes.counted] == [Decision.DENY]


async def test_the_same_vote_twice_is_one_vote_and_two_people_make_a_quorum(world: World) -> None:
    incident = await open_case(world.store, request={"quorum": 2})
    url = f"/api/v1/approvals/{incident.id}-approval-1/approve"
    async with world.client() as client:
        first = (await client.post(url, json=VOTE, headers=ANA)).json()
        again = (await client.post(url, json=VOTE, headers=ANA)).json()
        assert again == {**first, "outcome": "already_voted"}
        assert (first["state"], first["approvals"]) == ("pending", 1)
        assert (await client.post(url, json=VOTE, headers=BO)).json()["state"] == "approved"
    assert len(world.votes.counted) == 2


async def test_expired_approval_changes_nothing(world: World) -> None:
    incident = await open_case(world.store)
    world.clock.advance(minutes=20)
    async with world.client(**ANA) as client:
        answer = await client.post(f"/api/v1/approvals/{incident.id}-approval-1/approve", json=VOTE)
        assert (answer.status_code, answer.json()["refusal"]) == (409, "expired")
        assert (await client.get("/api/v1/approvals?state=pending")).json()["approvals"] == []
        assert (await client.get("/api/v1/approvals")).json()["approvals"][0]["state"] == "expired"
    assert world.votes.counted == []


async def test_a_vote_for_another_diff_than_the_present_one_does_not_count(world: World) -> None:
    incident = await open_case(world.store)
    async with world.client(**ANA) as client:
        url = f"/api/v1/approvals/{incident.id}-approval-1/approve"
        answer = await client.post(url, json={"reason": "", "digest": "0" * 64})
        assert (answer.status_code, answer.json()["refusal"]) == (409, "changed_diff")
        assert (await client.post(url, json={"reason": "no digest"})).status_code == 422
        unknown = await client.post("/api/v1/approvals/INC-9-approval-1/approve", json=VOTE)
        assert (unknown.status_code, unknown.json()["refusal"]) == (404, "no_such_approval")


async def test_an_unreachable_workflow_is_no_approval_and_says_try_again(world: World) -> None:
    incident = await open_case(world.store)
    world.votes.failure = TemporaryError("no answer", delay=timedelta(seconds=3))
    async with world.client(**ANA) as client:
        answer = await client.post(f"/api/v1/approvals/{incident.id}-approval-1/approve", json=VOTE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


async def test_reading_is_open_on_loopback_only_while_nobody_is_configured(store: PostgresStore) -> None:
    incident = await open_case(store)
    alone = World(store, people=())
    async with alone.client() as client:
        assert (await client.get("/api/v1/incidents")).status_code == 200
        refused = await client.post(f"/api/v1/approvals/{incident.id}-approval-1/approve", json=VOTE)
        assert refused.status_code == 401
        assert "token_sha256" in refused.json()["error"]
        # A page elsewhere that points its own name at this machine must not read along.
        renamed = await client.get("/api/v1/incidents", headers={"host": "evil.example:8090"})
        assert renamed.status_code == 403
    reachable = World(store, console={"host": "0.0.0.0"})
    async with reachable.client() as client:
        for path in (
            "/api/v1/incidents",
            "/",
            "/openapi.json",
            "/incidents/x",
            "/api/v1/audit/export",
            "/nowhere",
        ):
            assert (await client.get(path)).status_code in (401, 303), path
        for path in ("/debug/healthz", "/metrics", "/login", "/static/console.css"):
            assert (await client.get(path)).status_code == 200, path
        assert (await client.post("/slack/interactions", content=b"payload={}")).status_code == 403
        assert (await client.get("/api/v1/incidents", headers=BO)).status_code == 200


async def test_a_postmortem_is_reviewed_then_closed_and_each_step_is_audited(world: World) -> None:
    _, postmortem = await end_case(world.store, await open_case(world.store))
    url = f"/api/v1/postmortems/{postmortem.id}"
    async with world.client(**ANA) as client:
        early = await client.post(f"{url}/close", json={})
        assert early.status_code == 409
        assert (await client.post(f"{url}/review", json={"reason": "reading"})).json()["state"] == "InReview"
        assert (await client.post(f"{url}/close")).json()["state"] == "Closed"
        assert (await client.get("/api/v1/postmortems")).json()["postmortems"][0]["state"] == "Closed"
        assert (await client.get("/api/v1/postmortems/pm-none")).status_code == 404
    events = await world.store.events(postmortem.incident_id)
    assert [(e.actor, e.reason) for e in events if e.actor == "ana"][-2:] == [
        ("ana", "reviewed"),
        ("ana", "closed"),
    ]


async def test_the_exported_trail_can_be_verified_and_continued(world: World) -> None:
    incident = await open_case(world.store)
    async with world.client(**ANA) as client:
        whole = await client.get("/api/v1/audit/export")
        lines = [json.loads(line) for line in whole.text.splitlines()]
        cursor = lines[2].pop("cursor")
        rest = await client.get(f"/api/v1/audit/export?after={cursor}&limit=2")
        assert len(rest.text.splitlines()) == 2
        array = await client.get("/api/v1/audit/export?format=json")
        assert [row["hash"] for row in array.json()] == [row["hash"] for row in lines]
        assert 'filename="audit-20260314.json"' in array.headers["content-disposition"]
        empty = await client.get("/api/v1/audit/export?after=999999")
        assert empty.text == ""
    events = [AuditEvent(**{k: v for k, v in line.items() if k != "cursor"}) for line in lines]
    assert verify_chain([event for event in events if event.chain == incident.id]) == []


async def test_analytics_count_what_ended_well_and_leave_drills_out(world: World) -> None:
    await end_case(world.store, await open_case(world.store))
    for number, (state, drill) in enumerate(
        [(IncidentState.ESCALATED, False), (IncidentState.RESOLVED, True), (IncidentState.MERGED, False)]
    ):
        ended = an_incident(run_id=f"x{number}", drill=drill)
        opened = await world.store.open_incident(
            ended, (), entry("platform", AuditType.DETECTED, number, "x")
        )
        end = START + timedelta(seconds=900)
        change = {"state": state, "reason": Reason.VERIFIED, "ended_at": end, "updated_at": end}
        await world.store.update_incident(opened.model_copy(update=change), [])
    async with world.client(**ANA) as client:
        summary = (await client.get("/api/v1/analytics/summary")).json()
        assert (summary["incidents"], summary["open"], summary["auto_resolved"]) == (2, 0, 1)
        mttr = (await client.get("/api/v1/analytics/mttr?window=24h")).json()
        assert (mttr["resolved"], mttr["mean_seconds"], mttr["by_severity"]["critical"]["p90_seconds"]) == (
            1,
            210,
            210,
        )
        top = (await client.get("/api/v1/analytics/top-resources")).json()["resources"]
        assert (top[0]["resource"]["name"], top[0]["incidents"], top[0]["seconds"]) == (
            "payment-service",
            2,
            1110,
        )
        world.clock.advance(days=8)
        assert (await client.get("/api/v1/analytics/mttr?window=7d")).json()["mean_seconds"] is None
        wrong = await client.get("/api/v1/analytics/mttr?window=fortnight")
        assert (wrong.status_code, wrong.json()["field"]) == (422, "window")


async def test_health_names_each_component_and_metrics_are_prometheus_text(world: World) -> None:
    async with world.client() as client:
        assert (await client.get("/debug/healthz")).json() == {
            "status": "ok", "components": {"postgres": {"healthy": True}, "temporal": {"healthy": True}},
        }  # fmt: skip
        world.components["temporal"] = "no answer, password=hunter2hunter2"
        sick = await client.get("/debug/healthz")
        assert sick.status_code == 503
        assert sick.json()["components"]["postgres"] == {"healthy": True}
        assert "hunter2" not in sick.text
        metrics = await client.get("/metrics")
        assert 'cortexops_component_unhealthy{component="temporal"} 1.0' in metrics.text


async def test_openapi_is_published_and_the_store_being_away_is_503(world: World) -> None:
    async with world.client(**ANA) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert "/api/v1/approvals/{approval_id}/take-over" in paths
        assert (await client.get("/docs")).status_code == 404
        await world.store.close()
