"""Signals and parked messages into their streams: as few messages as possible, all in flight together."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError

from cortexops.adapters.nats.connection import Connection
from cortexops.adapters.nats.streams import subject_of, token
from cortexops.domain.errors import TemporaryError
from cortexops.domain.signal import FateReason, Signal
from cortexops.ports.bus import NotAllStored

PLACE = "Cortex-Place"
PARKED_BODY = 64 * 1024  # bytes of a parked message that are kept
MOST_IN_MESSAGE = 500  # signals
LARGEST_MESSAGE = 512 * 1024  # bytes; the server takes 1 MiB
_IN_FLIGHT = 256  # messages without an answer, per call
_ACK_TIMEOUT = 5.0  # seconds for the stream's answer to a publish


def _fields(model: Any) -> dict[str, Any]:
    """The fields of a signal or of its resource, under the names that they have in documents."""
    if not isinstance(model, Signal):
        return dict(model.__dict__)
    fields = {**model.__dict__, "schema": model.schema_}
    del fields["schema_"]
    return fields


document_of = msgspec.json.Encoder(enc_hook=_fields).encode
"""A signal's JSON. In a storm this is done for every signal, and takes half the time of the model's own way."""


@dataclass(slots=True)
class _Parcel:
    """Signals of one subject that travel as one message."""

    subject: str
    indices: list[int]
    parts: list[bytes]
    id: str

    @property
    def body(self) -> bytes:
        """One document as other programs would send it, or an array of them."""
        return self.parts[0] if len(self.parts) == 1 else b"[" + b",".join(self.parts) + b"]"


class _Number(NamedTuple):
    """What a parcel was sent under."""

    publisher: str
    subject: str
    before: tuple[int, int]  # messages and signals sent earlier
    after: tuple[int, int]


class Publisher:
    """Numbers what it sends for each subject. After a failure, when nobody knows what the stream took, it
    goes on under another name, so that a gap in its numbers always means that the stream discarded. What the
    stream has already is not stored again, so its number is used for the next message."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._acks: dict[str, asyncio.Future[Msg]] = {}
        self._next_ack = 0
        self._inbox = ""
        self._subscribing = asyncio.Lock()
        self._rename()
        connection.lost.append(self._broken)

    def _rename(self) -> None:
        self._name = secrets.token_hex(4)
        self._sent: dict[str, tuple[int, int]] = {}

    def _broken(self) -> None:
        for future in list(self._acks.values()):
            if not future.done():
                future.set_exception(TemporaryError("the connection to NATS broke"))

    async def publish(self, signals: Sequence[Signal]) -> list[bool]:
        """See the port."""
        await self._ready()
        outcome: list[bool | None] = [None] * len(signals)
        failure: TemporaryError | None = None
        parcels = list(self._parcels(signals))
        for start in range(0, len(parcels), _IN_FLIGHT):
            part = parcels[start : start + _IN_FLIGHT]
            numbers: list[_Number] = []
            unused: list[_Number] = []
            sent: list[tuple[str, asyncio.Future[Msg]]] = []
            for parcel in part:  # numbered in the order of sending, also beside other calls
                numbers.append(self._number(parcel))
                sent.append(await self._send(parcel.subject, parcel.body, _headers(parcel, numbers[-1])))
            for parcel, number, answer in zip(part, numbers, await self._answers(sent), strict=True):
                if isinstance(answer, TemporaryError):
                    failure = answer
                    continue
                duplicate = bool(answer.get("duplicate"))
                if duplicate:
                    unused.append(number)
                for index in parcel.indices:
                    outcome[index] = duplicate
            self._take_back(unused)
            if failure is not None:
                self._rename()
                self._connection.doubt()
                raise NotAllStored(str(failure), outcome, delay=failure.delay)
        return [bool(flag) for flag in outcome]

    async def park(self, raw: bytes, reason: FateReason, source: str, detail: str = "") -> None:
        """Keeps at most 64 KiB of it; the header `Cortex-Size` has the full size."""
        await self._ready()
        headers = {"Cortex-Reason": reason.value, "Cortex-Size": str(len(raw))}
        if detail:
            headers["Cortex-Detail"] = re.sub(r"[^\x20-\x7e]", "?", detail)[:500]
        subject = f"parked.{token(source)}.{reason.value}"
        (answer,) = await self._answers([await self._send(subject, raw[:PARKED_BODY], headers)])
        if isinstance(answer, TemporaryError):
            self._connection.doubt()
            raise answer

    def _parcels(self, signals: Sequence[Signal]) -> Iterator[_Parcel]:
        open_parcels: dict[str, tuple[list[int], list[bytes], int]] = {}
        for index, signal in enumerate(signals):
            subject = subject_of(signal, self._connection.settings)
            body = document_of(signal)
            indices, parts, size = open_parcels.get(subject, ([], [], 0))
            if parts and (len(parts) == MOST_IN_MESSAGE or size + len(body) > LARGEST_MESSAGE):
                yield _parcel(subject, indices, parts, signals)
                indices, parts, size = [], [], 0
            indices.append(index)
            parts.append(body)
            open_parcels[subject] = indices, parts, size + len(body) + 1
        for subject, (indices, parts, _) in open_parcels.items():
            yield _parcel(subject, indices, parts, signals)

    def _number(self, parcel: _Parcel) -> _Number:
        messages, signals = before = self._sent.get(parcel.subject, (0, 0))
        after = self._sent[parcel.subject] = messages + 1, signals + len(parcel.indices)
        return _Number(self._name, parcel.subject, before, after)

    def _take_back(self, unused: Sequence[_Number]) -> None:
        """Numbers of messages that were not stored. Where others were sent after them, a gap remains that means
        nothing: then what follows has another name."""
        for number in reversed(unused):
            if number.publisher != self._name:
                return
            if self._sent[number.subject] != number.after:
                self._rename()
                return
            self._sent[number.subject] = number.before

    async def _ready(self) -> None:
        await self._connection.ensure()
        if self._inbox:
            return
        async with self._subscribing:
            if not self._inbox:
                inbox = self._connection.client.new_inbox()
                try:
                    await self._connection.client.subscribe(f"{inbox}.*", cb=self._on_ack)
                except (NatsError, OSError) as error:
                    raise _refusal(error) from None
                self._inbox = inbox

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
            await self._connection.client.publish(subject, data, reply=reply, headers=headers)
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


def _parcel(subject: str, indices: list[int], parts: list[bytes], signals: Sequence[Signal]) -> _Parcel:
    """A message of one signal has the signal's id; one of several has an id made of all of theirs."""
    ids = [signals[index].id for index in indices]
    name = ids[0] if len(ids) == 1 else hashlib.sha256("".join(ids).encode()).hexdigest()[:32]
    return _Parcel(subject, indices, parts, name)


def _headers(parcel: _Parcel, number: _Number) -> dict[str, str]:
    messages, signals = number.before
    return {"Nats-Msg-Id": parcel.id, PLACE: f"{number.publisher}/{messages}/{signals}"}


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
