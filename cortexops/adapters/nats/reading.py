"""Reading one partition: a pull consumer of our own, whose name carries the epoch of its owner.

A new owner makes its own consumer and removes those of earlier epochs, so that an owner which has been
replaced without noticing is handed nothing more. One acknowledgement covers all messages before it.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import suppress
from datetime import timedelta

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from cortexops.adapters.nats.connection import CLIENT_ERRORS, Connection
from cortexops.adapters.nats.publishing import PLACE
from cortexops.adapters.nats.streams import filter_of
from cortexops.domain.errors import TemporaryError
from cortexops.ports.bus import Envelope, Place
from cortexops.telemetry import get_logger

_PULL_EXPIRES = 30.0  # seconds that a pull request lingers at the server
_PULL_BYTES = 4 * 1024**2
_ACK_WAIT = 3600.0  # the owner remembers what it was handed; the server need not send it again
_PREFIX = "correlator"
_ACK_TOKENS = 9  # parts of an acknowledgement's subject without a domain

_log = get_logger(__name__)


def consumer_name(partition: int, epoch: int) -> str:
    return f"{_PREFIX}-{partition}-{epoch}"


def parse_consumer(name: str) -> tuple[int, int] | None:
    """(partition, epoch) of one of our consumers."""
    prefix, _, rest = name.partition("-")
    partition, _, epoch = rest.partition("-")
    if prefix != _PREFIX or not partition.isdigit() or not epoch.isdigit():
        return None
    return int(partition), int(epoch)


class JetStreamReader:
    """Implements `cortexops.ports.bus.PartitionReader`."""

    def __init__(self, connection: Connection, partition: int, epoch: int, after: int) -> None:
        self._connection = connection
        self._partition = partition
        self._name = consumer_name(partition, epoch)
        self._last = after  # position of the newest message that we were handed
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._received: deque[Envelope] = deque()
        self._tokens: deque[tuple[int, str]] = deque()
        self._arrived = asyncio.Event()
        self._asked = 0  # messages that pull requests at the server may still bring
        self._asked_until = 0.0
        self._handed = 0  # messages that the consumer has sent us: it numbers them
        self._consumer_lost = True
        self._losses = 0
        connection.lost.append(self._lose)
        connection.back.append(self._lose)

    def _lose(self) -> None:
        """Go on with a new consumer. The server may serve our request on: what comes of it may follow on messages
        that were lost on the way, and is the new consumer's to bring."""
        self._asked = 0
        self._consumer_lost = True
        self._losses += 1
        self._arrived.set()

    async def open(self) -> None:
        """Make the consumer. Raises `TemporaryError`."""
        await self._connection.ensure()
        losses = self._losses
        stream, jetstream = self._connection.settings.stream, self._connection.client.jetstream()
        try:
            with suppress(NotFoundError):
                await jetstream.delete_consumer(stream, self._name)
            await jetstream.add_consumer(stream, self._config())
            self._tokens.clear()  # of the consumer before
            if self._subscription is None:
                self._inbox = self._connection.client.new_inbox()
                self._subscription = await self._connection.client.subscribe(
                    self._inbox, cb=self._on_delivery, pending_msgs_limit=-1, pending_bytes_limit=-1
                )
        except (APIError, *CLIENT_ERRORS) as error:
            raise TemporaryError(f"JetStream has no consumer for us: {type(error).__name__}") from None
        self._asked = self._handed = 0
        self._consumer_lost = losses != self._losses  # the connection may have broken meanwhile

    def _config(self) -> ConsumerConfig:
        return ConsumerConfig(
            durable_name=self._name,
            ack_policy=AckPolicy.ALL,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._last + 1,
            filter_subject=filter_of(self._partition),
            ack_wait=_ACK_WAIT,
            max_deliver=-1,
            max_ack_pending=-1,
            inactive_threshold=self._connection.settings.max_age_hours * 3600,
        )

    async def close(self) -> None:
        self._connection.lost.remove(self._lose)
        self._connection.back.remove(self._lose)
        subscription, self._subscription = self._subscription, None
        if subscription is None or self._connection.client.is_closed:
            return
        try:
            await subscription.unsubscribe()
        except CLIENT_ERRORS as error:
            _log.debug("left a partition without goodbye", error=type(error).__name__)

    async def _on_delivery(self, message: Msg) -> None:
        if not message.reply:
            self._on_status(message.headers or {})
            return
        if self._consumer_lost:
            return
        if _number(message) != self._handed + 1:
            _log.warning("messages were lost on the way; reading them again", consumer=self._name)
            self._lose()
            return
        self._asked -= 1
        self._handed += 1
        envelope = _envelope(message)
        if envelope.sequence > self._last:  # else the server repeats what was not acknowledged for long
            self._last = envelope.sequence
            self._received.append(envelope)
            self._tokens.append((envelope.sequence, message.reply))
        self._arrived.set()

    def _on_status(self, headers: dict[str, str]) -> None:
        """A pull request ended: expired or satisfied (408, 404, 409 size), or the consumer is gone."""
        status, description = headers.get("Status", ""), headers.get("Description", "").lower()
        if status.startswith(("408", "404")) or "max" in description or "batch completed" in description:
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", "0") or 0))
        elif not status.startswith("100"):
            self._asked = 0
            gone = status.startswith("503") or "delet" in description or "shutdown" in description
            self._consumer_lost = self._consumer_lost or gone
        self._arrived.set()

    async def fetch(self, most: int, wait: timedelta) -> list[Envelope]:
        if not self._received:
            if not self._connection.client.is_connected:
                await asyncio.sleep(min(wait.total_seconds(), 0.2))
                raise TemporaryError("not connected to NATS", delay=timedelta(milliseconds=300))
            if self._consumer_lost:
                await self.open()
        if not self._consumer_lost:
            await self._ask(most)
        if not self._received:
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait.total_seconds()):  # wait_for may swallow a cancellation
                    await self._arrived.wait()
            except TimeoutError:
                return []
        return [self._received.popleft() for _ in range(min(most, len(self._received)))]

    async def _ask(self, most: int) -> None:
        """Keep requests at the server: it works while the owner does."""
        loop = asyncio.get_running_loop()
        if self._asked_until < loop.time():
            self._asked = 0
        if self._asked + len(self._received) >= most:
            return
        request = {"batch": most, "expires": int(_PULL_EXPIRES * 1e9), "max_bytes": _PULL_BYTES}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._connection.settings.stream}.{self._name}"
        try:
            await self._connection.client.publish(subject, json.dumps(request).encode(), reply=self._inbox)
        except (NatsError, OSError) as error:
            raise TemporaryError(f"cannot ask NATS for messages: {type(error).__name__}") from None
        self._asked += most
        self._asked_until = loop.time() + _PULL_EXPIRES + 1

    async def done(self, sequence: int) -> None:
        """Acknowledge the newest message up to this position, and with it all before."""
        token = ""
        while self._tokens and self._tokens[0][0] <= sequence:
            _, token = self._tokens.popleft()
        if not token:
            return
        try:
            await self._connection.client.publish(token, b"")
        except (NatsError, OSError) as error:
            _log.debug("acknowledgement lost", error=type(error).__name__)


def _figures(message: Msg) -> list[str]:
    """Times delivered, position in the stream, number of the consumer, time, messages left."""
    tokens = message.reply.split(".")
    before = 4 if len(tokens) == _ACK_TOKENS else 6  # with a domain and an account before the stream
    return tokens[before:]


def _number(message: Msg) -> int:
    """Which of all that its consumer has sent it is."""
    return int(_figures(message)[2])


def _envelope(message: Msg) -> Envelope:
    _, sequence, _, stored_at, behind, *_ = _figures(message)
    return Envelope(
        data=message.data,
        sequence=int(sequence),
        stored_at=int(stored_at) / 1e9,
        place=_place(message),
        behind=int(behind),
    )


def _place(message: Msg) -> Place | None:
    """What is not in our form was not numbered by us."""
    if not message.headers or PLACE not in message.headers:
        return None
    name, _, numbers = message.headers[PLACE].partition("/")
    first, _, second = numbers.partition("/")
    if not (name and first.isdigit() and second.isdigit()):
        return None
    return Place(f"{name} {message.subject}", int(first), int(second))
