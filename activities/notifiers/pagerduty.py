"""PagerDuty: one alert per incident, when nobody answers, an undo failed or automation ended (Events API v2).

Which message pages is `cortexops.domain.paging`'s decision. The alert's `dedup_key` is the incident, so that
an event that is sent twice is one alert. The reference that a delivery answers is JSON: whether a page is open.
"""

from __future__ import annotations

import asyncio
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from pydantic import ValidationError

from activities.notifiers import NOTIFIERS
from cortexops.domain.message import Delivered, Delivery, Message
from cortexops.domain.outgoing import Destination, Withheld, outgoing
from cortexops.domain.paging import Call, call, half_done, unattended
from cortexops.domain.resource import Frozen
from cortexops.domain.signal import Severity
from cortexops.metrics import count_masked
from cortexops.settings import Settings
from cortexops.settings_pagerduty import PagerDutySettings
from cortexops.telemetry import get_logger

_log = get_logger(__name__)
_LONGEST_SUMMARY = 1024
"""Characters that PagerDuty takes of it."""
_LONGEST_TEXT = 4000
_SEVERITIES = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
}
_AGAIN = 5.0
_LONGEST_WAIT = 300.0


class Paged(Frozen):
    """What earlier deliveries did."""

    open: bool = False


class PagerDutyNotifier:
    """`url` is the console's, for links (empty: no links)."""

    def __init__(self, settings: PagerDutySettings, *, url: str = "") -> None:
        self._settings = settings
        self._url = url.rstrip("/")
        self._client: httpx.AsyncClient | None = None

    async def send(self, message: Message, thread: str) -> Delivered:
        """See `Notifier.send`. A message that pages nobody is delivered at once."""
        before = _before(message, thread)
        event = call(message, open_page=before.open)
        if event is None:
            return Delivered(result=Delivery.SENT, reference=before.model_dump_json())
        try:
            body = self._body(message, event)
        except Withheld as error:
            return Delivered(result=Delivery.REFUSED, detail=f"not sent: redaction failed ({error})")
        try:
            key = await asyncio.to_thread(self._key)
        except (OSError, ValueError) as error:
            detail = f"pagerduty.routing_key_file cannot be used: {type(error).__name__}"
            return Delivered(result=Delivery.RETRY, detail=detail, retry_seconds=_AGAIN)
        trouble = await self._post({"routing_key": key, **body})
        if trouble is not None:
            return trouble
        return Delivered(
            result=Delivery.SENT, reference=Paged(open=event is not Call.RESOLVE).model_dump_json()
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _key(self) -> str:
        """Raises `OSError`, `ValueError` when the file is not there, no text or empty."""
        if self._settings.routing_key is not None:
            return self._settings.routing_key.get_secret_value().strip()
        assert self._settings.routing_key_file is not None
        key = self._settings.routing_key_file.read_text(encoding="ascii").strip()
        if not key:
            raise ValueError("empty")
        return key

    def _body(self, message: Message, event: Call) -> dict[str, Any]:
        """The event without the key, every text masked. Raises `Withheld`: then nothing is sent."""

        def clean(text: str, most: int = _LONGEST_TEXT) -> str:
            masked = outgoing(text, Destination.CHAT, count=count_masked)
            return masked if len(masked) <= most else masked[: most - 1] + "…"

        body: dict[str, Any] = {
            "event_action": event.value,
            "dedup_key": f"cortexops/{message.incident_id}",
        }
        if event is not Call.TRIGGER:
            return body
        first = message.text.partition("\n")[0]
        details = {"incident": message.incident_id, "state": message.state.value, "text": clean(message.text)}
        if message.reason is not None:
            details["reason"] = message.reason.value
        if message.approval is not None:
            details["action"] = clean(message.approval.action)
            details["cause"] = clean(message.approval.cause)
        urgent = half_done(message)
        body["payload"] = {
            "summary": clean(f"{message.title}: {first}", _LONGEST_SUMMARY),
            "source": "cortexops",
            "severity": "critical" if urgent else _SEVERITIES[message.severity],
            "timestamp": message.at.astimezone(UTC).isoformat(),
            "class": _class(message),
            "custom_details": details,
        }
        body["client"] = "CortexOps"
        if self._url:
            body["client_url"] = f"{self._url}/incidents/{message.incident_id}"
        return body

    async def _post(self, body: dict[str, Any]) -> Delivered | None:
        """None when PagerDuty took it. Nothing of request or answer is told: either may hold the key."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._settings.timeout_seconds, trust_env=False)
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                answer = await self._client.post(
                    f"{self._settings.api_url.rstrip('/')}/v2/enqueue", json=body
                )
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            return _again(f"enqueue: {type(error).__name__}")
        status = answer.status_code
        if status == 202:
            return None
        if status in (408, 429) or status >= 500:
            return _again(f"enqueue: status {status}", _wait(answer))
        return Delivered(
            result=Delivery.REFUSED, detail=f"enqueue: PagerDuty refused it with status {status}"
        )


def _class(message: Message) -> str:
    if unattended(message):
        return "automation ended"
    return "undo failed" if half_done(message) else "approval unanswered"


def _again(detail: str, seconds: float = _AGAIN) -> Delivered:
    return Delivered(result=Delivery.RETRY, detail=detail, retry_seconds=seconds)


def _wait(answer: httpx.Response) -> float:
    """What the service asks for, in seconds or as a date, within reason."""
    asked = answer.headers.get("retry-after", "")
    if asked.isascii() and asked.isdigit():
        return min(max(float(asked), 1.0), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(asked)
        now = parsedate_to_datetime(answer.headers.get("date", ""))
        return min(max((until - now).total_seconds(), 1.0), _LONGEST_WAIT)
    except (ValueError, TypeError):
        return _AGAIN


def _before(message: Message, thread: str) -> Paged:
    """What is known of the incident's page; unreadable: taken as open, since closing none does no harm."""
    if not thread:
        return Paged()
    try:
        return Paged.model_validate_json(thread)
    except ValidationError:
        _log.warning("a page's reference is unreadable", incident_id=message.incident_id)
        return Paged(open=True)


def _build(settings: Settings) -> PagerDutyNotifier | None:
    if not settings.pagerduty.on:
        return None
    console = settings.console
    host = f"[{console.host}]" if ":" in console.host else console.host
    return PagerDutyNotifier(settings.pagerduty, url=console.public_url or f"http://{host}:{console.port}")


NOTIFIERS.register("pagerduty", _build)
