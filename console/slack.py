"""Slack's buttons: what Slack hands over becomes a vote, or a word on a diagnosis, of a configured person.

A press of an approval's button opens a form that asks for a reason; the form's submission is the vote. Slack
wants an answer within three seconds, so what takes longer is told in a message that only the clicker sees.
The same code serves HTTP, whose requests are signed, and Socket Mode (`console.slack_socket`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import aiohttp
from fastapi import APIRouter, Request
from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from starlette.responses import JSONResponse, Response

from console.desk import Desk
from console.slack_guard import SlackGuard
from console.slack_modal import Asked, form, read_button, read_form, reason_missing, told
from cortexops.adapters.judging import Judging
from cortexops.adapters.refusals import Refusals, RequestRefusal
from cortexops.domain.approval import (
    Decision,
    Person,
    Vote,
    VoteOutcome,
    VoteRefusal,
    checked_reason,
    foresee,
)
from cortexops.domain.errors import CortexError, InvalidInput
from cortexops.domain.feedback import Rating
from cortexops.domain.people import REFUSAL_TEXTS, VoteNotCounted
from cortexops.telemetry import get_logger

router = APIRouter(tags=["slack"])
_log = get_logger(__name__)
_ANSWER_WITHIN = 2.0
"""Seconds to wait for the result before Slack is answered; the work goes on after that."""
_NOT_OURS = "This button is not one of this console. Nothing was counted."

ACTIONS = {f"cortexops_{decision.value}": decision for decision in Decision}
"""Action id of a button → what it means. The Slack notifier makes the buttons."""


JUDGEMENTS = {f"cortexops_feedback_{rating.value}": rating for rating in Rating}
"""The same for the buttons under the last message of an incident."""


class Buttons:
    """Handles presses and forms; those still in hand are finished before the process ends."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._refusals = Refusals(desk.store, desk.clock)
        self.guard = SlackGuard(desk, self._refusals)
        self._running: set[asyncio.Task[Any]] = set()

    async def click(self, body: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
        """Verify and handle. Raises `Forbidden` for what Slack did not sign just now, `InvalidInput`."""
        return await self.handle(await self.guard.open(body, headers), "slack")

    async def handle(self, payload: dict[str, Any], channel: str) -> dict[str, Any] | None:
        """What Slack is answered to a payload that is known to be Slack's; None: that it has arrived."""
        if payload.get("type") == "view_submission":
            return await self._submitted(payload, channel)
        actions = payload.get("actions")
        for action in (a for a in (actions if isinstance(actions, list) else []) if isinstance(a, dict)):
            pressed, value = str(action.get("action_id", "")), str(action.get("value", ""))
            if pressed in ACTIONS:
                await self._start(self._ask(payload, ACTIONS[pressed], value, channel))
            elif pressed in JUDGEMENTS:
                await self._start(self._judge(payload, JUDGEMENTS[pressed], value))
        return None

    async def finish(self) -> None:
        """Wait for what is on its way."""
        if self._running:
            await asyncio.wait(self._running, timeout=10)

    async def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin it and give it the time that Slack gives us."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait({task}, timeout=_ANSWER_WITHIN)
        return task

    async def _ask(self, payload: dict[str, Any], decision: Decision, value: str, channel: str) -> None:
        """Open the form, or say why this person's answer would not count."""
        user = _user(payload)
        try:
            problem = await self._open(payload, user, decision, value, channel)
        except CortexError as error:
            problem = f"The form cannot be opened now: {error} Nothing was counted."
        if problem:
            await self._tell(*_place(payload), user, problem)

    async def _open(
        self, payload: dict[str, Any], user: str, decision: Decision, value: str, channel: str
    ) -> str:
        person = await self._known(user, channel)
        if person is None:
            return _stranger(user)
        named = read_button(value)
        if named is None:
            return _NOT_OURS
        approval_id, digest = named
        record = await self._desk.store.approval(approval_id)
        if record is None:
            await self._refusals.vote(approval_id, person, decision, VoteRefusal.NO_SUCH_APPROVAL)
            return _not_counted(approval_id, REFUSAL_TEXTS[VoteRefusal.NO_SUCH_APPROVAL])
        request = record.request
        vote = Vote(approval_id=approval_id, person=person, decision=decision, digest=digest)
        # without the votes in the books: the workflow may have lost one, and then it is to be cast again
        refusal = foresee(request, record.state, [], vote, now=self._desk.clock())
        if refusal is not None:
            await self._refusals.vote(
                approval_id, person, decision, refusal, incident_id=request.incident_id, digest=digest
            )
            return _not_counted(approval_id, REFUSAL_TEXTS[refusal])
        where, thread = _place(payload)
        asked = Asked(
            approval=approval_id, digest=digest, decision=decision, user=user, channel=where, thread=thread
        )
        if not await self._show(str(payload.get("trigger_id") or ""), form(asked, request)):
            return (
                "The form did not open. Nothing was counted: press again, or answer in the console or with "
                f"`cortexops approvals {decision.value.replace('_', '-')} {approval_id}`."
            )
        return ""

    async def _submitted(self, payload: dict[str, Any], channel: str) -> dict[str, Any] | None:
        """The form's answer: the vote."""
        user, found = _user(payload), read_form(payload.get("view"))
        if found is None:
            await self._refusals.request(channel, RequestRefusal.MALFORMED)
            return told(_NOT_OURS)
        asked, reason = found
        if asked.user != user:
            await self._refusals.request(channel, RequestRefusal.NOT_THE_OPENER, actor=f"slack:{user}")
            return told("This form was opened by somebody else. Nothing was counted.")
        try:
            reason = checked_reason(asked.decision, reason)
        except InvalidInput:
            return reason_missing()
        task = await self._start(self._vote(asked, reason, channel))
        if task.done():
            return told(task.result())
        task.add_done_callback(lambda done: self._late(asked, done))
        return told("Your answer is on its way. What became of it comes as a message that only you see.")

    def _late(self, asked: Asked, done: asyncio.Task[str]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        telling = asyncio.create_task(self._tell(asked.channel, asked.thread, asked.user, done.result()))
        self._running.add(telling)
        telling.add_done_callback(self._running.discard)

    async def _vote(self, asked: Asked, reason: str, channel: str) -> str:
        person = await self._known(asked.user, channel)
        if person is None:
            return _stranger(asked.user)
        try:
            done = await self._desk.votes.cast(asked.approval, person, asked.decision, reason, asked.digest)
        except VoteNotCounted as refused:
            return _not_counted(asked.approval, str(refused))
        except CortexError as error:
            _log.warning("a vote from Slack failed", approval_id=asked.approval, error=str(error))
            return f"Your vote on {asked.approval} is not confirmed: {error}"
        said = asked.decision.value.replace("_", " ")
        if done.outcome is VoteOutcome.ALREADY_VOTED:
            return (
                f"You have answered {asked.approval} already: {said}. It counts once. "
                f"It stands at {done.state.value}, {done.approvals} of {done.quorum} approvals."
            )
        return (
            f"Your vote on {asked.approval} counts: {said}. "
            f"It stands at {done.state.value}, {done.approvals} of {done.quorum} approvals."
        )

    async def _known(self, user: str, channel: str) -> Person | None:
        person = self._desk.gate.people.by_slack(user)
        if person is None:
            await self._refusals.request(channel, RequestRefusal.STRANGER, actor=f"slack:{user}")
        return person

    async def _judge(self, payload: dict[str, Any], rating: Rating, value: str) -> None:
        user = _user(payload)
        await self._tell(*_place(payload), user, await self._judged(user, rating, value))

    async def _judged(self, user: str, rating: Rating, value: str) -> str:
        person = self._desk.gate.people.by_slack(user)
        if person is None:
            return f"Your Slack user {user} is not configured, so your word is not kept."
        try:
            incident_id = str(json.loads(value)["incident"])
        except (ValueError, KeyError, TypeError):
            return "This button is not one of this console. Nothing was kept."
        try:
            await Judging(self._desk.store).say(incident_id, person, rating, now=self._desk.clock())
        except CortexError as error:
            _log.warning("a word from Slack was not kept", incident_id=incident_id, error=str(error))
            return f"Your word on {incident_id} is not kept: {error}"
        named = (
            ""
            if rating is Rating.ACCURATE
            else f" What was the cause? Say it in the console, or with `cortexops feedback {incident_id} "
            f"{rating} --cause KIND/NAMESPACE/NAME --category CATEGORY`."
        )
        return f"Your word on {incident_id} is kept: {rating}.{named}"

    async def _show(self, trigger: str, view: dict[str, Any]) -> bool:
        client = self._client()
        if client is None or not trigger:
            return False
        try:
            await client.views_open(trigger_id=trigger, view=view)
        except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.warning("a Slack form did not open", error=type(error).__name__)
            return False
        return True

    async def _tell(self, channel: str, thread: str, user: str, text: str) -> None:
        """Only the clicker sees it. A failure is logged; the vote stands either way."""
        client = self._client()
        if client is None or not channel:
            return
        safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        try:
            await client.chat_postEphemeral(channel=channel, user=user, text=safe, thread_ts=thread or None)
        except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.warning("the answer to a Slack click was not delivered", error=type(error).__name__)

    def _client(self) -> AsyncWebClient | None:
        settings = self._desk.settings.slack
        if settings.bot_token is None:
            return None
        return AsyncWebClient(
            settings.bot_token.get_secret_value(), base_url=settings.api_url, timeout=5, retry_handlers=[]
        )


def _user(payload: dict[str, Any]) -> str:
    user = payload.get("user")
    return str(user.get("id", ""))[:50] if isinstance(user, dict) else ""


def _place(payload: dict[str, Any]) -> tuple[str, str]:
    """Channel and thread of the message whose button was pressed."""
    container, channel = payload.get("container") or {}, payload.get("channel") or {}
    return str(channel.get("id") or container.get("channel_id") or ""), str(container.get("thread_ts") or "")


def _stranger(user: str) -> str:
    return (
        f"Your Slack user {user} is not configured, so the vote does not count. "
        f"Ask for `slack_user_id: {user}` to be added to your entry under `people` in the settings."
    )


def _not_counted(approval_id: str, why: str) -> str:
    return f"Your vote on {approval_id} does not count: {why}"


@router.post("/slack/interactions")
async def interactions(request: Request) -> Response:
    """Slack's interactivity request URL."""
    buttons: Buttons = request.app.state.buttons
    answer = await buttons.click(await request.body(), dict(request.headers))
    return JSONResponse(answer) if answer is not None else Response(status_code=200)
