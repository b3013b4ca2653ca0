"""A real incident that waits for people, and the four ways in which they answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from fastapi import FastAPI
from temporalio.client import Client, WorkflowHandle

from console.app import create_console
from console.slack_socket import SlackSocket
from cortexops.adapters.held import Silencing
from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.votes import VoteBox
from cortexops.contracts.incident import (
    ADD_SIGNALS,
    INCIDENT_WORKFLOW,
    IncidentInput,
    IncidentLimits,
    SignalBatch,
)
from cortexops.domain.approval import ApprovalRequest, ApprovalState
from cortexops.domain.incident import Incident
from cortexops.domain.people import REFUSAL_TEXTS
from cortexops.domain.policy import Effect
from cortexops.domain.resource import ResourceRef
from cortexops.settings import Settings
from tests.console.real_workflow import real_workers
from tests.console.support import BASE, PEOPLE
from tests.support.case import ANA_TOKEN, BO_TOKEN, VIEWER_TOKEN
from tests.support.engines import RunningEngines
from tests.support.slack import (
    APP,
    APP_TOKEN,
    BOT_TOKEN,
    SIGNING_SECRET,
    TEAM,
    FakeSlack,
    filled,
    posted,
    pressed,
    signed,
)
from tests.support.story import a_decision, a_signal

TOKENS = {"ana": ANA_TOKEN, "bo": BO_TOKEN, "vi": VIEWER_TOKEN, "nobody": "a-token-of-nobody"}
USERS = {"ana": "U0ANA", "bo": "U0BO", "vi": "U0VI", "nobody": "U0STRANGER"}
CHANNELS = ("slack", "socket", "rest", "cli")


def slack_settings(slack: FakeSlack, **more: Any) -> dict[str, Any]:
    base = {
        "bot_token": BOT_TOKEN, "signing_secret": SIGNING_SECRET, "app_token": APP_TOKEN,
        "api_url": slack.url, "team_id": TEAM, "app_id": APP,
    }  # fmt: skip
    return {**base, **more}


@dataclass
class Scene:
    store: PostgresStore
    handle: WorkflowHandle[Any, Incident]
    app: FastAPI
    slack: FakeSlack
    request: ApprovalRequest
    environment: dict[str, str]
    envelopes: int = 0

    def client(self, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url=BASE, headers=headers)

    async def answer(
        self, channel: str, who: str, decision: str = "approve", *, digest: str = "", approval: str = ""
    ) -> str:
        """What became of it: `counted`, a vote's refusal, or what the person was told."""
        how = {"slack": self._by_slack, "socket": self._by_slack, "rest": self._by_rest, "cli": self._by_cli}
        text = await how[channel](
            channel, who, decision, digest or self.request.digest, approval or self.request.id
        )
        if text.startswith("You have answered"):
            return "already_voted"
        for refusal, words in REFUSAL_TEXTS.items():
            if words in text:
                return refusal.value
        return text

    async def _by_slack(self, channel: str, who: str, decision: str, digest: str, approval: str) -> str:
        value = json.dumps({"approval": approval, "digest": digest})
        forms, told = len(self.slack.of("views.open")), len(self.slack.of("chat.postEphemeral"))
        send = self.send_http if channel == "slack" else self.send_socket
        await send(pressed(USERS[who], f"cortexops_{decision.replace('-', '_')}", value))
        if len(self.slack.of("views.open")) == forms:
            return str(self.slack.of("chat.postEphemeral")[told]["text"])
        view = self.slack.of("views.open")[-1]["view"]
        answer = await send(filled(USERS[who], view, f"by {channel}"))
        text = str(answer["view"]["blocks"][0]["text"]["text"])
        return "counted" if " counts: " in text else text

    async def send_http(self, payload: dict[str, Any]) -> dict[str, Any]:
        body = posted(payload)
        async with self.client() as client:
            now = self.app.state.desk.clock().timestamp()
            answer = await client.post("/slack/interactions", content=body, headers=signed(body, now))
        assert answer.status_code == 200, answer.text
        return json.loads(answer.content or "{}")  # type: ignore[no-any-return]

    async def send_socket(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.envelopes += 1
        answer = await self.slack.deliver(f"envelope-{self.envelopes}", payload)
        return dict(answer.get("payload") or {})

    async def _by_rest(self, _: str, who: str, decision: str, digest: str, approval: str) -> str:
        async with self.client(authorization=f"Bearer {TOKENS[who]}") as client:
            body = {"reason": "by rest", "digest": digest}
            answer = await client.post(f"/api/v1/approvals/{approval}/{decision}", json=body)
        return str(answer.json()["outcome" if answer.status_code == 200 else "error"])

    async def _by_cli(self, _: str, who: str, decision: str, digest: str, approval: str) -> str:
        arguments = ["approvals", decision, approval, "--yes", "--reason", "by cli", "--digest", digest]
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "cortexops"), *arguments,
            env={**self.environment, "CORTEXOPS_TOKEN": TOKENS[who]},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert b"Traceback" not in err, err.decode()
        if process.returncode != 0:
            return (err or out).decode()
        return "already_voted" if b"already voted" in out else "counted"

    async def refusals(self) -> list[tuple[str, str, str]]:
        """(who, by which means, why) of the refused votes in the audit trail."""
        events = await self.store.events(self.request.incident_id)
        return [(e.actor, str(e.data["via"]), e.reason) for e in events if e.type == "vote_refused"]

    async def turned_away(self) -> list[tuple[str, str]]:
        """(by which means, why) of the refused requests in the audit trail."""
        events = await self.store.events("platform")
        return [(str(e.data["via"]), e.reason) for e in events if e.type == "request_refused"]

    async def applied(self) -> bool:
        events = await self.store.events(self.request.incident_id)
        return any(e.data.get("after") == "REMEDIATING" for e in events)


@asynccontextmanager
async def waiting(
    engines: RunningEngines,
    temporal: Client,
    store: PostgresStore,
    slack: FakeSlack,
    prefix: str,
    tmp_path: Path,
    *,
    quorum: int = 2,
    seconds: float = 900,
) -> AsyncIterator[Scene]:
    """Real workers, a real workflow in APPROVAL_PENDING, the console with its real votes, and its socket."""
    decision = a_decision(Effect.REQUIRE_APPROVAL, quorum=quorum, roles=("oncall", "sre-lead"))

    async def healthy() -> dict[str, str | None]:
        return {}

    async def connect() -> Client:
        return temporal

    settings = Settings(people=PEOPLE, slack=slack_settings(slack))
    app = create_console(settings, store, VoteBox(temporal, store), healthy, Silencing(store, connect))
    target = ResourceRef(cluster="test", kind="Deployment", namespace=prefix.strip("-"), name="api")
    async with real_workers(temporal, store, prefix, decision) as queue:
        handle = await temporal.start_workflow(
            INCIDENT_WORKFLOW,
            IncidentInput(
                resource=target, environment="staging", limits=IncidentLimits(approval_seconds=seconds)
            ),
            id=f"incident:{target.key}",
            task_queue=queue,
            start_signal=ADD_SIGNALS,
            start_signal_args=[SignalBatch(signals=(a_signal(),))],
            result_type=Incident,
        )
        asked = []
        for _ in range(400):
            asked = await store.approvals(state=ApprovalState.PENDING)
            if asked:
                break
            await asyncio.sleep(0.05)
        socket = SlackSocket(app.state.buttons, settings.slack, ping_seconds=1)
        await socket.start()
        try:
            await slack.connected()
            yield Scene(store, handle, app, slack, asked[0].request, _environment(engines, store, tmp_path))
        finally:
            await socket.stop()
            await app.state.buttons.finish()


def _environment(engines: RunningEngines, store: PostgresStore, tmp_path: Path) -> dict[str, str]:
    """Where the command line finds the same database and the same Temporal."""
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"people": [dict(p) | {"roles": list(p["roles"])} for p in PEOPLE]}))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CORTEXOPS_")}
    engine = store._database._engine
    return {
        **clean,
        "CORTEXOPS_CONFIG": str(file),
        "CORTEXOPS_TEMPORAL__ADDRESS": engines.temporal_address,
        "CORTEXOPS_POSTGRES__DSN": engine.url.render_as_string(hide_password=False),
    }
