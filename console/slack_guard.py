"""Which requests are believed to come from our Slack app, just now and for the first time."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from slack_sdk.signature import Clock, SignatureVerifier

from console.desk import Desk
from cortexops.adapters.refusals import Refusals, RequestRefusal
from cortexops.domain.errors import Forbidden, InvalidInput, TemporaryError

WINDOW = 300.0
"""Seconds that a signed request is worth something, before and after."""
_KEPT = 2 * WINDOW + 60
"""Seconds that a taken request is remembered: a timestamp may lie as far ahead as it may lie behind."""
_PATIENCE = 2.5
"""Seconds to wait for the database, which knows what other consoles have taken; Slack waits for three."""
_TEXTS = {
    RequestRefusal.NOT_CONFIGURED: "Slack is not configured: set slack.signing_secret.",
    RequestRefusal.FORGED: "The request is not signed by Slack, or older than five minutes.",
    RequestRefusal.STALE: "The request is not signed by Slack, or older than five minutes.",
    RequestRefusal.REPLAYED: "This very request was received before.",
    RequestRefusal.WRONG_WORKSPACE: "The request is of another Slack workspace.",
    RequestRefusal.WRONG_APP: "The request is of another Slack app.",
}


class RequestRefused(Forbidden):
    """Turned away; `refusal` says why."""

    def __init__(self, refusal: RequestRefusal) -> None:
        super().__init__(_TEXTS[refusal])
        self.refusal = refusal


class _DeskClock(Clock):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def now(self) -> float:
        return self._desk.clock().timestamp()


class SlackGuard:
    """Looks at requests before anything in them is used; what it refuses is in the audit trail."""

    def __init__(self, desk: Desk, refusals: Refusals) -> None:
        self._desk = desk
        self._refusals = refusals

    async def open(self, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """The payload of a signed HTTP request that no console has taken yet.

        Raises `RequestRefused`, `InvalidInput`; `TemporaryError` while it cannot be known whether another
        console took it: then it is not taken here.
        """
        try:
            if not await self._first(f"slack-signature:{self._verify(body, headers)}"):
                raise RequestRefused(RequestRefusal.REPLAYED)
            payload = _payload(body)
            self._ours(payload)
        except RequestRefused as refused:
            await self._refusals.request("slack", refused.refusal)
            raise
        except InvalidInput:
            await self._refusals.request("slack", RequestRefusal.MALFORMED)
            raise
        return payload

    async def admit(self, envelope_id: str, payload: dict[str, Any]) -> bool:
        """Whether to handle what came over the socket, whose other end proved itself by our token.

        False for an envelope that was delivered before, here or elsewhere. Raises `RequestRefused`;
        `TemporaryError` while that cannot be known.
        """
        if not await self._first(f"slack-envelope:{envelope_id}"):
            await self._refusals.request("slack_socket", RequestRefusal.REPLAYED)
            return False
        try:
            self._ours(payload)
        except RequestRefused as refused:
            await self._refusals.request("slack_socket", refused.refusal)
            raise
        return True

    async def _first(self, mark: str) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._desk.store.first_time(mark, keep_seconds=_KEPT)
        except TimeoutError:
            raise TemporaryError(
                "It cannot be told whether this request was received before. Nothing was counted.",
                delay=timedelta(seconds=5),
            ) from None

    def _verify(self, body: bytes, headers: dict[str, str]) -> str:
        """The signature, which Slack made just now. Raises `RequestRefused`."""
        secret = self._desk.settings.slack.signing_secret
        if secret is None or not secret.get_secret_value().strip():
            raise RequestRefused(RequestRefusal.NOT_CONFIGURED)
        verifier = SignatureVerifier(secret.get_secret_value(), _DeskClock(self._desk))
        try:
            genuine = verifier.is_valid_request(body, headers)
        except (ValueError, TypeError):  # no number in the timestamp, no text in the body
            genuine = False
        small = {name.lower(): value for name, value in headers.items()}
        now = self._desk.clock().timestamp()
        if not genuine:
            stamp = small.get("x-slack-request-timestamp", "")
            stale = stamp.isascii() and stamp.isdigit() and abs(now - int(stamp)) > WINDOW
            raise RequestRefused(RequestRefusal.STALE if stale else RequestRefusal.FORGED)
        return small["x-slack-signature"]

    def _ours(self, payload: dict[str, Any]) -> None:
        settings = self._desk.settings.slack
        team, app = payload.get("team"), payload.get("api_app_id")
        if settings.team_id and (not isinstance(team, dict) or team.get("id") != settings.team_id):
            raise RequestRefused(RequestRefusal.WRONG_WORKSPACE)
        if settings.app_id and app != settings.app_id:
            raise RequestRefused(RequestRefusal.WRONG_APP)


def _payload(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(parse_qs(body.decode())["payload"][0])
    except (ValueError, KeyError, RecursionError):
        raise InvalidInput("payload", "must be the JSON of an interaction") from None
    if not isinstance(found, dict):
        raise InvalidInput("payload", "must be a JSON object")
    return found
