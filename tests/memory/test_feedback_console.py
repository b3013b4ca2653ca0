"""Words on diagnoses from the API, the page and Slack: always of a verified person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from activities.notifiers._slack_text import update
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.incident import IncidentState
from cortexops.domain.message import MessageKind
from cortexops.domain.precedent import Moved
from tests.console.support import ANA, BO, World, csrf_in, sign_in
from tests.support.case import TARGET, a_diagnosis, an_incident, open_case, tell
from tests.support.slack import BOT_TOKEN, SIGNING_SECRET, FakeSlack, click, fake_slack, signed

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with fake_slack() as fake:
        yield fake


@pytest.fixture
def world(store: PostgresStore, slack: FakeSlack) -> World:
    settings = {"bot_token": BOT_TOKEN, "signing_secret": SIGNING_SECRET, "api_url": slack.url}
    return World(store, slack=settings)


async def test_the_api_takes_a_word_of_the_token_and_nobody_elses(world: World) -> None:
    incident = await open_case(world.store)
    url = f"/api/v1/incidents/{incident.id}/feedback"
    async with world.client() as nobody:
        assert (await nobody.post(url, json={"rating": "accurate"})).status_code == 401
    async with world.client(**ANA) as client:
        body = {"rating": "incorrect", "cause": "ConfigMap/shop/api-env", "note": HOSTILE}
        answer = await client.post(url, json=body)
        assert answer.status_code == 201 and answer.json()["person"] == "ana"
        forged = await client.post(url, json={"rating": "accurate", "person": "bo"})
        assert forged.status_code == 422
        unknown = await client.post(url, json={"rating": "incorrect", "category": "gremlins"})
        assert unknown.status_code == 422 and "configmap_changed" in unknown.json()["error"]
        missing = await client.post("/api/v1/incidents/INC-1/feedback", json={"rating": "accurate"})
        assert missing.status_code == 404 and "INC-1" in missing.json()["error"]
        words = (await client.get(url)).json()["feedback"]
        assert [(w["person"], w["rating"]) for w in words] == [("ana", "incorrect")]
        effect = (await client.get("/api/v1/feedback/effect")).json()["adjustments"]
        assert min(a["by"] for a in effect) == -0.2
        page = (await client.get(f"/incidents/{incident.id}")).text
        assert HOSTILE not in page and "&lt;script&gt;" in page
    async with world.client(**BO) as client:
        assert (await client.delete(url)).status_code == 404  # ana's word is hers
    async with world.client(**ANA) as client:
        assert (await client.delete(url)).json()["undoes"] == words[0]["id"]
        assert (await client.get(url)).json()["feedback"] == []


async def test_the_page_has_the_buttons_and_takes_the_word_back(world: World) -> None:
    incident = await open_case(world.store)
    url = f"/incidents/{incident.id}"
    async with world.client() as client:
        await sign_in(client)
        page = (await client.get(url)).text
        assert "Was this right?" in page and "Take my word back" not in page
        form = {"csrf": csrf_in(page), "rating": "incorrect", "category": "crash", "cause": ""}
        assert (await client.post(f"{url}/feedback", data={**form, "csrf": "guess"})).status_code == 401
        done = await client.post(f"{url}/feedback", data=form)
        assert (done.status_code, done.headers["location"]) == (303, f"{url}?done=feedback")
        page = (await client.get(f"{url}?done=feedback")).text
        assert "Your word on the diagnosis is kept" in page and "Take my word back" in page
        back = await client.post(f"{url}/feedback/undo", data={"csrf": form["csrf"]})
        assert back.status_code == 303
        assert "Take my word back" not in (await client.get(url)).text


async def test_the_page_says_what_feedback_moved(world: World) -> None:
    move = Moved(
        resource=TARGET, category="oom_after_release", by=-0.2, last=True, incidents=("INC-20260101-001",),
        why="wrong in 1 of 1 incident (workload)",
    )  # fmt: skip
    incident = await open_case(world.store, diagnosis=a_diagnosis().model_copy(update={"moved": (move,)}))
    async with world.client(**ANA) as client:
        page = (await client.get(f"/incidents/{incident.id}")).text
    assert "moved by feedback of INC-20260101-001: −0.20; it does not lead" in page


async def pressed(world: World, user: str, rating: str, *, secret: str = SIGNING_SECRET) -> int:
    incident = (await world.store.incidents())[0]
    body = click(user, f"cortexops_feedback_{rating}", json.dumps({"incident": incident.id}))
    async with world.client() as client:
        headers = signed(body, world.clock().timestamp(), secret=secret)
        return (await client.post("/slack/interactions", content=body, headers=headers)).status_code


async def test_a_button_under_the_last_message_is_a_word_of_the_person_who_pressed(
    world: World, slack: FakeSlack
) -> None:
    incident = await open_case(world.store)
    ended = incident.model_copy(update={"state": IncidentState.RESOLVED})
    message = tell(ended, MessageKind.ENDED, "verified", 200)
    blocks = update(message)["attachments"][0]["blocks"]
    (actions,) = [block for block in blocks if block["type"] == "actions"]
    assert [b["text"]["text"] for b in actions["elements"]] == ["Accurate", "Partial", "Incorrect"]
    button = actions["elements"][2]
    body = click("U0ANA", button["action_id"], button["value"])
    async with world.client() as client:
        headers = signed(body, world.clock().timestamp())
        assert (await client.post("/slack/interactions", content=body, headers=headers)).status_code == 200
    (word,) = await world.store.feedback(incident_id=incident.id)
    assert (word.person, word.via, word.rating) == ("ana", "slack", "incorrect")
    told = slack.of("chat.postEphemeral")[0]["text"]
    assert f"{incident.id} is kept: incorrect" in told and "--cause" in told


async def test_a_forged_signature_or_a_stranger_says_nothing(world: World, slack: FakeSlack) -> None:
    incident = await open_case(world.store)
    assert await pressed(world, "U0ANA", "incorrect", secret="guess") == 403
    assert await pressed(world, "U0NOBODY", "incorrect") == 200
    assert await world.store.feedback(incident_id=incident.id) == []
    assert "not configured" in slack.of("chat.postEphemeral")[0]["text"]


async def test_a_button_with_a_strange_value_is_not_believed(world: World, slack: FakeSlack) -> None:
    await open_case(world.store)
    for value in ("", "[]", "{}", '{"incident": "INC-20990101-001"}'):
        body = click("U0ANA", "cortexops_feedback_accurate", value)
        async with world.client() as client:
            headers = signed(body, world.clock().timestamp())
            assert (
                await client.post("/slack/interactions", content=body, headers=headers)
            ).status_code == 200
    assert await world.store.feedback() == []
    assert "INC-20990101-001 was not found" in slack.of("chat.postEphemeral")[-1]["text"]


@pytest.mark.parametrize("state", [IncidentState.SUPPRESSED, IncidentState.MERGED])
def test_what_was_not_diagnosed_is_not_judged(state: IncidentState) -> None:
    message = tell(an_incident(id="INC-1", state=state), MessageKind.ENDED, "over", 1)
    assert "cortexops_feedback" not in json.dumps(update(message))
