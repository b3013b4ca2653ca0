"""Slack's buttons: a signed request becomes a vote of a configured person.

The signature is checked over the raw body before anything in it is believed. Slack wants an answer within
three seconds and shows nothing of it, so the result is told in a message that only the clicker sees.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

import aiohttp
from fastapi import APIRouter, Request
from slack_sdk.errors import SlackClientError
from slack_sdk.signature import Clock, SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient
from starlette.responses import JSONResponse, Response

from console.desk import Desk
from cortexops.domain.approval import Decision
from cortexops.domain.errors import CortexError, Forbidden, InvalidInput
from cortexops.domain.people import VoteNotCounted
from cortexops.telemetry import get_logger

router = APIRouter(tags=["slack"])
_log = get_logger(__name__)
_ANSWER_WITHIN = 2.0
"""Seconds to wait for the vote before Slack is answered; the vote goes on after that."""

ACTIONS = {f"cortexops_{decision.value}": decision for decision in Decision}
"""Action id of a button → what it means. The Slack notifier makes the buttons."""


class _DeskClock(Clock):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def now(self) -> float:
        return self._desk.clock().timestamp()


class Buttons:
    """Handles clicks; those still in hand are finished before the process ends."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._running: set[asyncio.Task[None]] = set()

    async def click(self, body: bytes, headers: dict[str, str]) -> None:
        """Verify and vote. Raises `Forbidden` for what Slack did not sign just now, `InvalidInput`."""
        secret = self._desk.settings.slack.signing_secret
        if secret is None or not secret.get_secret_value().strip():
            raise Forbidden("Slack is not configured: set slack.signing_secret.")
        verifier = SignatureVerifier(secret.get_secret_value(), _DeskClock(self._desk))
        try:
            genuine = verifier.is_valid_request(body, headers)
        except (ValueError, TypeError):  # no number in the timestamp, no text in the body
            genuine = False
        if not genuine:
            raise Forbidden("The request is not signed by Slack, or older than five minutes.")
        payload = _payload(body)
        for action in payload.get("actions") or []:
            decision = ACTIONS.get(str(action.get("action_id", "")))
            if decision is not None:
                await self._start(payload, decision, str(action.get("value", "")))

    async def finish(self) -> None:
        """Wait for the votes that are on their way."""
        if self._running:
            await asyncio.wait(self._running, timeout=10)

    async def _start(self, payload: dict[str, Any], decision: Decision, value: str) -> None:
        task = asyncio.create_task(self._vote(payload, decision, value))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait({task}, timeout=_ANSWER_WITHIN)

    async def _vote(self, payload: dict[str, Any], decision: Decision, value: str) -> None:
        user = str((payload.get("user") or {}).get("id", ""))
        await self._tell(payload, user, await self._result(user, decision, value))

    async def _result(self, user: str, decision: Decision, value: str) -> str:
        person = self._desk.gate.people.by_slack(user)
        if person is None:
            return (
                f"Your Slack user {user} is not configured, so the vote does not count. "
                f"Ask for `slack_user_id: {user}` to be added to your entry under `people` in the settings."
            )
        try:
            asked = json.loads(value)
            approval_id, digest = str(asked["approval"]), str(asked["digest"])
        except (ValueError, KeyError, TypeError):
            return "This button is not one of this console. Nothing was counted."
        try:
            done = await self._desk.votes.cast(approval_id, person, decision, "by Slack button", digest)
        except VoteNotCounted as refused:
            return f"Your vote on {approval_id} does not count: {refused}"
        except CortexError as error:
            _log.warning("a vote from Slack failed", approval_id=approval_id, error=str(error))
            return f"Your vote on {approval_id} is not confirmed: {error}"
        return (
            f"Your vote on {approval_id} counts: {decision.value.replace('_', ' ')}. "
            f"It stands at {done.state.value}, {done.approvals} of {done.quorum} approvals."
        )

    async def _tell(self, payload: dict[str, Any], user: str, text: str) -> None:
        """Only the clicker sees it. A failure is logged; the vote stands either way."""
        settings = self._desk.settings.slack
        container = payload.get("container") or {}
        channel = str((payload.get("channel") or {}).get("id") or container.get("channel_id") or "")
        if settings.bot_token is None or not channel:
            return
        client = AsyncWebClient(
            settings.bot_token.get_secret_value(), base_url=settings.api_url, timeout=5, retry_handlers=[]
        )
        safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        thread = container.get("thread_ts")
        try:
            await client.chat_postEphemeral(
                channel=channel, user=user, text=safe, thread_ts=str(thread) if thread else None
            )
        except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.warning("the answer to a Slack click was not delivered", error=type(error).__name__)


def _payload(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(parse_qs(body.decode())["payload"][0])
    except (ValueError, KeyError, RecursionError):
        raise InvalidInput("payload", "must be the JSON of an interaction") from None
    if not isinstance(found, dict):
        raise InvalidInput("payload", "must be a JSON object")
    return found


@router.post("/slack/interactions")
async def interactions(request: Request) -> Response:
    """Slack's interactivity request URL."""
    buttons: Buttons = request.app.state.buttons
    await buttons.click(await request.body(), dict(request.headers))
    return JSONResponse({}, status_code=200)
