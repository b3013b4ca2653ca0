"""The bus port on NATS JetStream: one stream of signals, one of parked messages, one durable pull consumer.

The client reconnects for ever. While it is away, publishing fails at once (senders retry) and fetching
returns nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import APIError, NotFoundError

from cortexops.domain.errors import InvalidInput, PermanentError, TemporaryError
from cortexops.domain.signal import FateReason, Signal
from cortexops.ports.bus import ConsumerPosition, Delivery, NotAllStored
from cortexops.settings import NatsSettings
from cortexops.telemetry import get_logger

CONSUMER = "correlator"
PARKED_BODY = 64 * 1024  # bytes of a parked message that are kept
_COUNTED = "Cortex-Counted"
_ACK_TIMEOUT = 5.0  # seconds for the stream's answer to a publish
_PULL_EXPIRES = 30.0  # seconds that a pull request lingers at the server
_RECONNECT_WAIT = 0.25
_CONNECT_TIMEOUT = 4.0
_SLICE = 1000  # publishes without an answer at a time, per call
_PARKED_BYTES = 256 * 1024**2
_PARKED_SHARE = 4  # parked messages take at most a quarter of the stream's limit
_JETSTREAM_ACK_TOKENS = 9  # tokens of an acknowledgement subject without a domain

_log = get_logger(__name__)
_unfit = re.compile(r"[^A-Za-z0-9_-]")


def subject_of(signal: Signal) -> str:
    """`telemetry.<cluster>.<source>`; what a subject cannot hold becomes an underscore."""
    return f"telemetry.{_unfit.sub('_', signal.cluster)}.{_unfit.sub('_', signal.source)}"


class JetStreamBus:
    """Implements `cortexops.ports.bus.SignalBus`."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._client = Client()
        self._acks: dict[str, asyncio.Future[Msg]] = {}
        self._next_ack = 0
        self._inbox = ""
        self._ready = False
        self._ensuring = asyncio.Lock()
        self._consumer: ConsumerConfig | None = None
        self._pull_inbox = ""
        self._deliveries: Subscription | None = None
        self._received: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._asked = 0  # messages that pull requests at the server may still bring
        self._asked_until = 0.0
        self._consumer_lost = False
        self._closing = False

    @classmethod
    async def connect(cls, settings: NatsSettings) -> Self:
        """Connect and make sure that the streams are there. Raises `TemporaryError` when NATS is away."""
        bus = cls(settings)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):  # the client itself would try for ever
                await bus._client.connect(
                    servers=[url.strip() for url in settings.url.split(",")],
                    name="cortexops",
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT,  # type: ignore[arg-type]  # a fraction works
                    connect_timeout=2,
                    ping_interval=10,
                    pending_size=8 * 1024**2,
                    error_cb=bus._on_error,
                    disconnected_cb=bus._on_disconnected,
                    reconnected_cb=bus._on_reconnected,
                )
        except (TimeoutError, NatsError, OSError) as error:
            await bus._client.close()
            raise TemporaryError(f"NATS does not answer: {type(error).__name__}") from None
        try:
            await bus._ensure()
        except (PermanentError, TemporaryError):
            await bus.close()
            raise
        return bus

    async def close(self) -> None:
        self._closing = True
        if not self._client.is_closed:
            await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # -- connection --------------------------------------------------------------------------------

    async def _on_error(self, error: Exception) -> None:
        _log.debug("nats client reports", error=type(error).__name__)

    async def _on_disconnected(self) -> None:
        if not self._closing:
            _log.warning("connection to NATS lost; reconnecting")
        for future in list(self._acks.values()):
            if not future.done():
                future.set_exception(TemporaryError("the connection to NATS broke"))

    async def _on_reconnected(self) -> None:
        _log.info("connected to NATS again")
        self._asked = 0
        self._ready = False  # the server may have come back without our streams
        self._consumer_lost = self._consumer is not None
        self._arrived.set()

    async def _ensure(self) -> None:
        """Streams and inbox, once per connection."""
        async with self._ensuring:
            if self._ready:
                return
            if not self._client.is_connected:
                raise TemporaryError("not connected to NATS")
            settings = self._settings
            try:
                await self._stream(
                    StreamConfig(
                        name=settings.stream,
                        subjects=["telemetry.>"],
                        retention=RetentionPolicy.LIMITS,
                        storage=StorageType.FILE,
                        discard=DiscardPolicy.OLD,
                        max_bytes=settings.max_bytes,
                        max_age=settings.max_age_hours * 3600,
                        duplicate_window=settings.duplicate_window_seconds,
                        num_replicas=settings.replicas,
                    )
                )
                await self._stream(
                    StreamConfig(
                        name=f"{settings.stream}_PARKED",
                        subjects=["parked.>"],
                        retention=RetentionPolicy.LIMITS,
                        storage=StorageType.FILE,
                        discard=DiscardPolicy.OLD,
                        max_bytes=min(_PARKED_BYTES, max(settings.max_bytes // _PARKED_SHARE, 1024**2)),
                        max_age=30 * 24 * 3600,
                        num_replicas=settings.replicas,
                    )
                )
                if not self._inbox:
                    self._inbox = self._client.new_inbox()
                    await self._client.subscribe(f"{self._inbox}.*", cb=self._on_ack)
                    await self._client.flush(timeout=int(_ACK_TIMEOUT))
            except APIError as error:
                if error.code is not None and 400 <= error.code < 500:
                    raise InvalidInput("nats", f"the stream is refused: {error.description}") from None
                raise TemporaryError(f"JetStream: {error.description}") from None
            except (TimeoutError, NatsError, OSError) as error:
                raise TemporaryError(f"JetStream does not answer: {type(error).__name__}") from None
            self._ready = True

    async def _stream(self, config: StreamConfig) -> None:
        """Create the stream, or bring the limits of an existing one up to date."""
        stream = self._client.jetstream()
        try:
            present: StreamInfo = await stream.stream_info(str(config.name))
        except NotFoundError:
            await stream.add_stream(config)
            return
        have = present.config
        wanted = ("subjects", "max_bytes", "max_age", "duplicate_window", "num_replicas")
        if any(getattr(config, field) and getattr(have, field) != getattr(config, field) for field in wanted):
            keep = {field: getattr(config, field) for field in wanted if getattr(config, field)}
            await stream.update_stream(have.evolve(**keep))

    async def health(self) -> str | None:
        """None when JetStream answers for the stream."""
        try:
            await self._ensure()
            await self._client.jetstream().stream_info(self._settings.stream)
        except (TemporaryError, PermanentError) as error:
            return str(error)
        except (TimeoutError, NatsError, OSError) as error:
            self._ready = False
            return f"JetStream does not answer: {type(error).__name__}"
        return None

    # -- publishing --------------------------------------------------------------------------------

    async def _on_ack(self, message: Msg) -> None:
        future = self._acks.get(message.subject)
        if future is not None and not future.done():
            future.set_result(message)

    async def _send(
        self, subject: str, data: bytes, headers: dict[str, str]
    ) -> tuple[str, asyncio.Future[Msg]]:
        self._next_ack += 1
        reply = f"{self._inbox}.{self._next_ack}"
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._acks[reply] = future
        try:
            await self._client.publish(subject, data, reply=reply, headers=headers)
        except (NatsError, OSError) as error:
            future.set_exception(_refusal(error))
        return reply, future

    async def _answers(
        self, sent: Sequence[tuple[str, asyncio.Future[Msg]]]
    ) -> list[dict[str, Any] | TemporaryError]:
        """The stream's answer to each publish; no answer in time is an error in its place."""
        try:
            await asyncio.wait([future for _, future in sent], timeout=_ACK_TIMEOUT)
            return [_answer(future) for _, future in sent]
        finally:
            for reply, future in sent:
                del self._acks[reply]
                if not future.done():
                    future.cancel()

    async def publish(self, signals: Sequence[Signal]) -> list[bool]:
        """See the port. All publishes are in flight together, in slices of a bounded number."""
        await self._ensure()
        outcome: list[bool | None] = []
        failure: TemporaryError | None = None
        for start in range(0, len(signals), _SLICE):
            part = signals[start : start + _SLICE]
            if failure is not None:
                outcome.extend([None] * len(part))
                continue
            sent = [
                await self._send(
                    subject_of(signal),
                    signal.model_dump_json().encode(),
                    {"Nats-Msg-Id": signal.id, _COUNTED: "1"},
                )
                for signal in part
            ]
            for answer in await self._answers(sent):
                if isinstance(answer, TemporaryError):
                    failure = answer
                    outcome.append(None)
                else:
                    outcome.append(bool(answer.get("duplicate")))
        if failure is not None:
            self._ready = False
            raise NotAllStored(str(failure), outcome, delay=failure.delay)
        return [bool(flag) for flag in outcome]

    async def park(self, raw: bytes, reason: FateReason, source: str, detail: str = "") -> None:
        """See the port. Keeps at most 64 KiB of it; the header `Cortex-Size` has the full size."""
        await self._ensure()
        headers = {"Cortex-Reason": reason.value, "Cortex-Size": str(len(raw))}
        if detail:
            headers["Cortex-Detail"] = re.sub(r"[^\x20-\x7e]", "?", detail)[:500]
        subject = f"parked.{_unfit.sub('_', source) or 'unknown'}.{reason.value}"
        sent = [await self._send(subject, raw[:PARKED_BODY], headers)]
        (answer,) = await self._answers(sent)
        if isinstance(answer, TemporaryError):
            self._ready = False
            raise answer

    # -- consuming ---------------------------------------------------------------------------------

    async def subscribe(self, *, ack_wait: timedelta, most_unacknowledged: int) -> ConsumerPosition:
        self._consumer = ConsumerConfig(
            durable_name=CONSUMER,
            ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=ack_wait.total_seconds(),
            max_deliver=-1,  # the correlator decides what is poison; an outage must not use up tries
            max_ack_pending=most_unacknowledged,
        )
        await self._ensure()
        await self._ensure_consumer()
        return await self.position()

    async def _ensure_consumer(self) -> None:
        assert self._consumer is not None, "subscribe() comes first"
        try:
            await self._client.jetstream().add_consumer(self._settings.stream, self._consumer)
            if not self._pull_inbox:
                self._pull_inbox = self._client.new_inbox()
                self._deliveries = await self._client.subscribe(self._pull_inbox, cb=self._on_delivery)
        except (TimeoutError, NatsError, OSError) as error:
            raise TemporaryError(f"JetStream has no consumer for us: {type(error).__name__}") from None
        self._consumer_lost = False

    async def _on_delivery(self, message: Msg) -> None:
        if not message.reply:
            self._on_status(message.headers or {})
            return
        self._asked -= 1
        self._received.append(_delivery(message))
        self._arrived.set()

    async def unsubscribe(self) -> None:
        subscription, self._deliveries, self._pull_inbox = self._deliveries, None, ""
        rest = list(self._received)
        self._received.clear()
        self._asked = 0
        if subscription is None or self._client.is_closed:
            return
        try:
            await subscription.unsubscribe()
            await self._reply(rest, b"-NAK")
            await self._client.flush(timeout=2)
        except (TimeoutError, NatsError, OSError, TemporaryError) as error:
            _log.info("left NATS without goodbye", error=type(error).__name__)

    def _on_status(self, headers: dict[str, str]) -> None:
        """A pull request ended: expired (408, 404), or the consumer or server has gone away."""
        status = headers.get("Status", "")
        if status.startswith(("408", "404")):
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", "0") or 0))
        elif not status.startswith("100"):
            self._asked = 0
            description = headers.get("Description", "").lower()
            gone = status.startswith("503") or "delet" in description or "shutdown" in description
            self._consumer_lost = self._consumer_lost or gone
            self._arrived.set()

    async def fetch(self, most: int, wait: timedelta) -> list[Delivery]:
        if not self._client.is_connected:
            await asyncio.sleep(min(wait.total_seconds(), 0.2))
            raise TemporaryError("not connected to NATS", delay=timedelta(milliseconds=300))
        if self._consumer_lost:
            self._ready = False
            await self._ensure()
            await self._ensure_consumer()
        loop = asyncio.get_running_loop()
        if self._asked_until < loop.time():
            self._asked = 0
        while self._asked + len(self._received) < 2 * most:  # the server works while the reader does
            await self._pull(most)
            self._asked_until = loop.time() + _PULL_EXPIRES + 1
        if not self._received:
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait.total_seconds()):  # wait_for may swallow a cancellation
                    await self._arrived.wait()
            except TimeoutError:
                return []
        return [self._received.popleft() for _ in range(min(most, len(self._received)))]

    async def _pull(self, batch: int) -> None:
        request = {"batch": batch, "expires": int(_PULL_EXPIRES * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._settings.stream}.{CONSUMER}"
        try:
            await self._client.publish(subject, json.dumps(request).encode(), reply=self._pull_inbox)
        except (NatsError, OSError) as error:
            raise TemporaryError(f"cannot ask NATS for messages: {type(error).__name__}") from None
        self._asked += batch

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._reply(deliveries, b"")

    async def nak(self, deliveries: Sequence[Delivery], delay: timedelta) -> None:
        await self._reply(deliveries, b'-NAK {"delay": %d}' % int(delay.total_seconds() * 1e9))

    async def term(self, deliveries: Sequence[Delivery]) -> None:
        await self._reply(deliveries, b"+TERM")

    async def still_working(self, deliveries: Sequence[Delivery]) -> None:
        await self._reply(deliveries, b"+WPI")

    async def _reply(self, deliveries: Sequence[Delivery], answer: bytes) -> None:
        """What gets lost here is delivered again, and recognised then."""
        try:
            for delivery in deliveries:
                await self._client.publish(delivery.token, answer)
        except (NatsError, OSError) as error:
            raise TemporaryError(f"cannot answer NATS: {type(error).__name__}") from None

    async def position(self) -> ConsumerPosition:
        try:
            stream = self._client.jetstream()
            consumer = await stream.consumer_info(self._settings.stream, CONSUMER)
            info = await stream.stream_info(self._settings.stream)
        except (TimeoutError, NatsError, OSError) as error:
            raise TemporaryError(f"JetStream does not answer: {type(error).__name__}") from None
        delivered = consumer.delivered
        return ConsumerPosition(
            sequence=delivered.stream_seq if delivered else 0,
            delivery=delivered.consumer_seq if delivered else 0,
            first_kept=info.state.first_seq,
            backlog=consumer.num_pending or 0,
        )


def _delivery(message: Msg) -> Delivery:
    tokens = message.reply.split(".")
    at = 4 if len(tokens) == _JETSTREAM_ACK_TOKENS else 6  # a domain and an account stand before the stream
    return Delivery(
        data=message.data,
        sequence=int(tokens[at + 1]),
        delivery=int(tokens[at + 2]),
        attempt=int(tokens[at]),
        stored_at=datetime.fromtimestamp(int(tokens[at + 3]) / 1e9, UTC),
        counted=message.headers is not None and _COUNTED in message.headers,
        token=message.reply,
    )


def _answer(future: asyncio.Future[Msg]) -> dict[str, Any] | TemporaryError:
    if not future.done():
        return TemporaryError("the stream did not confirm in time")
    error = future.exception()
    if error is not None:
        return error if isinstance(error, TemporaryError) else _refusal(error)
    message = future.result()
    if not message.data:  # "no responders": JetStream is not there or not ready
        return TemporaryError("JetStream is not ready")
    answer: dict[str, Any] = json.loads(message.data)
    if "error" in answer:
        return TemporaryError(f"the stream refused: {answer['error'].get('description', '')}")
    return answer


def _refusal(error: BaseException) -> TemporaryError:
    if isinstance(error, MaxPayloadError):
        return TemporaryError("larger than the bus carries")
    return TemporaryError(f"not connected to NATS: {type(error).__name__}")
