"""Slack: one thread per incident. Its first message always says how the incident is now.

The head is edited before the news is posted in the thread: editing twice is harmless, posting twice is
not, so what fails between the two can be repeated. The reference that a delivery answers is JSON:
`channel`, `ts` of the head, `since`, what the head shows, and the `ts` of each approval message.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import aiohttp
from pydantic import Field, ValidationError
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from activities.notifiers import NOTIFIERS
from activities.notifiers import _slack_text as shown
from cortexops.domain.approval import ApprovalRequest, Person, still_to_answer
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.message import Delivered, Delivery, Message, MessageKind
from cortexops.domain.outgoing import Destination, Withheld, outgoing
from cortexops.domain.redaction import BY_NAME, secret_name
from cortexops.domain.resource import Frozen
from cortexops.metrics import count_masked
from cortexops.settings import PersonSettings, Settings, SlackSettings
from cortexops.telemetry import get_logger

_log = get_logger(__name__)
_PATIENCE = 8
"""Seconds per call; a message needs two, which fits the outbox's lease."""
_TEMPORARY = frozenset(
    {"ratelimited", "rate_limited", "fatal_error", "internal_error", "service_unavailable", "request_timeout"}
)
_LOST_MESSAGE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_REMEMBERED = 1000
_MENTIONED = 10
"""People that one message calls by name."""
_NEWS = (
    MessageKind.APPROVAL_VOTED,
    MessageKind.APPROVAL_REMINDER,
    MessageKind.APPROVAL_LAST_CALL,
    MessageKind.APPROVAL_SILENCE,
)


class Thread(Frozen):
    """Where an incident's messages are."""

    channel: str = ""
    ts: str = ""
    since: datetime | None = None
    facts: dict[str, str] = Field(default_factory=dict)
    cause: str = ""
    approvals: dict[str, str] = Field(default_factory=dict)


class SlackNotifier:
    """`url` is the console's, for links (empty: no links); `people` are those who can be mentioned."""

    def __init__(
        self, settings: SlackSettings, *, url: str = "", people: Sequence[PersonSettings] = ()
    ) -> None:
        self._settings = settings
        self._people = people
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._begun: OrderedDict[str, Thread] = OrderedDict()
        """Threads whose head was posted by a delivery that failed later: a repetition goes on from there."""

    async def send(self, message: Message, thread: str) -> Delivered:
        """See `Notifier.send`."""
        try:
            clean = _redacted(message)
        except Withheld as error:
            return Delivered(result=Delivery.REFUSED, detail=f"not sent: redaction failed ({error})")
        try:
            place = await self._deliver(clean, self._place(clean, thread))
        except TemporaryError as trouble:
            seconds = trouble.delay.total_seconds()
            return Delivered(result=Delivery.RETRY, detail=str(trouble), retry_seconds=seconds)
        except PermanentError as trouble:
            return Delivered(result=Delivery.REFUSED, detail=str(trouble))
        self._begun.pop(clean.incident_id, None)
        return Delivered(result=Delivery.SENT, reference=place.model_dump_json())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _place(self, message: Message, thread: str) -> Thread:
        if thread:
            try:
                return Thread.model_validate_json(thread)
            except ValidationError:
                _log.warning("a Slack thread's reference is unreadable", incident_id=message.incident_id)
        return self._begun.get(message.incident_id, Thread())

    async def _deliver(self, message: Message, place: Thread) -> Thread:
        place = place.model_copy(
            update={
                "since": place.since or message.at,
                "facts": place.facts or dict(list(message.fields.items())[:4]),
                "cause": _first_line(message.text)
                if message.kind in (MessageKind.DETECTED, MessageKind.DIAGNOSED)
                else place.cause,
            }
        )
        opens = not place.ts
        place = await self._head(message, place)
        if message.kind is MessageKind.DETECTED and opens:
            return place
        request = message.approval
        if message.kind is MessageKind.APPROVAL and request is not None:
            body = shown.approval(request, url=self._url)
            ts = await self._post(place, body)
            return place.model_copy(update={"approvals": {**place.approvals, request.id: ts}})
        if request is not None and message.kind in _NEWS:
            return await self._news(message, request, place)
        if message.kind is MessageKind.APPROVAL_DECIDED and request is not None:
            asked = place.approvals.get(request.id)
            body = shown.approval(request, url=self._url, outcome=message.text, votes=message.votes)
            if asked is not None and await self._edit(place, asked, body):
                return place
            await self._post(place, body)
            return place
        await self._post(place, shown.update(message))
        return place

    async def _news(self, message: Message, request: ApprovalRequest, place: Thread) -> Thread:
        """How a waiting approval stands: the message that asked is edited, silence is brought up."""
        asked = place.approvals.get(request.id)
        over = message.kind is MessageKind.APPROVAL_SILENCE
        if not over and asked is not None:
            await self._edit(place, asked, shown.approval(request, url=self._url, votes=message.votes))
        if message.kind is MessageKind.APPROVAL_VOTED:
            return place
        next_level = over or message.kind is MessageKind.APPROVAL_LAST_CALL
        elsewhere = self._settings.escalation_channel if next_level else ""
        if elsewhere:  # first: it is posted again if the thread fails after it, rather than never
            above = shown.reminder(message, mentions=self._mentions(message, above=True), url=self._url)
            await self._call("chat.postMessage", {"channel": elsewhere, **above, **_PLAIN})
        if not (over and elsewhere):
            body = shown.reminder(message, mentions=self._mentions(message, above=over), url=self._url)
            await self._post(place, body)
        return place

    def _mentions(self, message: Message, *, above: bool) -> str:
        """Who can still answer, or the next level."""
        assert message.approval is not None
        if above:
            wanted = set(self._settings.escalation_roles)
            ids = [p.slack_user_id for p in self._people if wanted & set(p.roles)]
        else:
            known = {p.id: p.slack_user_id for p in self._people}
            people = [Person(id=p.id, name=p.name, roles=p.roles) for p in self._people]
            ids = [known[p.id] for p in still_to_answer(message.approval, message.votes, people)]
        found = [f"<@{one}>" for one in ids if one and one.isalnum()]
        return " ".join(found[:_MENTIONED])

    async def _head(self, message: Message, place: Thread) -> Thread:
        """Open the thread, or bring its first message up to date."""
        assert place.since is not None
        notes = [place.cause] if place.cause else []
        if message.kind is MessageKind.ENDED:  # whoever sees only the channel knows how it ended
            notes.append(_first_line(message.text))
        body = shown.head(message, since=place.since, facts=place.facts, notes=notes, url=self._url)
        if place.ts:
            await self._edit(place, place.ts, body)
            return place
        answer = await self._call("chat.postMessage", {"channel": self._settings.channel, **body, **_PLAIN})
        opened = place.model_copy(update={"channel": str(answer["channel"]), "ts": str(answer["ts"])})
        self._begun[message.incident_id] = opened
        while len(self._begun) > _REMEMBERED:
            self._begun.popitem(last=False)
        return opened

    async def _post(self, place: Thread, body: dict[str, Any]) -> str:
        answer = await self._call(
            "chat.postMessage", {"channel": place.channel, "thread_ts": place.ts, **body, **_PLAIN}
        )
        return str(answer["ts"])

    async def _edit(self, place: Thread, ts: str, body: dict[str, Any]) -> bool:
        """False when the message is not there any more: somebody deleted it, which is their right."""
        try:
            await self._call("chat.update", {"channel": place.channel, "ts": ts, **body})
        except _Lost:
            return False
        return True

    async def _call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """One call. Raises `TemporaryError` with the time that Slack asks for, or `PermanentError`."""
        token = self._settings.bot_token
        assert token is not None
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE))
        client = AsyncWebClient(
            token.get_secret_value(),
            base_url=self._settings.api_url,
            session=self._session,
            timeout=_PATIENCE,
            retry_handlers=[],
        )
        try:
            answer = await client.api_call(method, json=body)
        except SlackApiError as error:
            response: Any = error.response
            status = int(getattr(response, "status_code", None) or getattr(response, "status", 0) or 0)
            headers = getattr(response, "headers", None) or {}
            reason = _reason(response)
            if status == 429 or reason in _TEMPORARY or status >= 500 or not reason:
                after = str(headers.get("Retry-After", headers.get("retry-after", "")))
                delay = timedelta(seconds=int(after) if after.isdigit() else 5)
                raise TemporaryError(f"{method}: {reason or f'status {status}'}", delay=delay) from None
            if reason in _LOST_MESSAGE:
                raise _Lost(f"{method}: {reason}") from None
            raise PermanentError(f"{method}: {reason}") from None
        except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise TemporaryError(f"{method}: {type(error).__name__}", delay=timedelta(seconds=5)) from None
        data = answer.data
        if not isinstance(data, dict):
            raise TemporaryError(f"{method}: the answer is not JSON", delay=timedelta(seconds=5))
        return data


class _Lost(PermanentError):
    """The message to edit is gone."""


_PLAIN: dict[str, Any] = {"link_names": False, "parse": "none", "unfurl_links": False, "unfurl_media": False}


def _reason(response: Any) -> str:
    """Slack's error code, empty when the body holds none (a proxy's page, for example)."""
    data = getattr(response, "data", None)
    return str(data.get("error", "")) if isinstance(data, dict) else ""


def _redacted(message: Message) -> Message:
    """Every text of the message masked. Raises `Withheld`: then nothing is sent."""

    def clean(text: str) -> str:
        return outgoing(text, Destination.CHAT, count=count_masked)

    request = message.approval
    if request is not None:
        request = request.model_copy(
            update={
                "action": clean(request.action),
                "cause": clean(request.cause),
                "blast_radius": clean(request.blast_radius),
                "evidence": tuple(clean(fact) for fact in request.evidence),
                "policy_reasons": tuple(clean(reason) for reason in request.policy_reasons),
                "diff": tuple(
                    line.model_copy(
                        update={
                            "path": clean(line.path),
                            "before": _value(line.path, line.before, clean),
                            "after": _value(line.path, line.after, clean),
                        }
                    )
                    for line in request.diff
                ),
            }
        )
    return message.model_copy(
        update={
            "title": clean(message.title),
            "text": clean(message.text),
            "fields": {clean(name): _value(name, value, clean) for name, value in message.fields.items()},
            "approval": request,
            "votes": tuple(v.model_copy(update={"reason": clean(v.reason)}) for v in message.votes),
        }
    )


def _value(path: str, text: str, clean: Callable[[str], str]) -> str:
    """A value under a secret's name is masked whole."""
    if text and secret_name(path.rpartition("/")[2]):
        count_masked("by_name", 1)
        return BY_NAME
    return clean(text)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _build(settings: Settings) -> SlackNotifier | None:
    if settings.slack.bot_token is None:
        return None
    console = settings.console
    host = f"[{console.host}]" if ":" in console.host else console.host
    url = console.public_url or f"http://{host}:{console.port}"
    return SlackNotifier(settings.slack, url=url, people=settings.people)


NOTIFIERS.register("slack", _build)
