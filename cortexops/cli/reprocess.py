"""Parked messages once more through the way that signals take, and out of the stream when they are stored."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cortexops.adapters.nats.parking import Parking
from cortexops.cli.common import whoami
from cortexops.domain.audit import PLATFORM, AuditEntry, AuditType
from cortexops.domain.errors import InvalidInput
from cortexops.domain.parked import Parked, ReplayResult
from cortexops.domain.signal import FateReason, Signal
from cortexops.ports.bus import SignalSink
from cortexops.ports.store import AuditStore
from cortexops.settings import Settings
from ingest.accept import accept
from ingest.decode import decode_signal, parse_documents, split_documents
from ingest.sighting import documents
from ingest.source import ParseResult
from ingest.sources import SOURCES

REPLAYED, DROPPED = "parked_replayed", "parked_dropped"
MOST_PROBLEMS = 20
"""Of one message, that are named."""
_PAGE = 100
_TOO_SOON = (
    "id: the stream takes it for a repetition until nats.duplicate_window_seconds are over; replay it then"
)
_OURS = frozenset({FateReason.KEEPS_FAILING.value})
"""Reasons for which a signal was parked that had been decoded before."""


def actor(configured: Settings) -> str:
    """Who does it, for the audit trail: the person whose token is set, else the account of the system."""
    try:
        return whoami(configured).id
    except InvalidInput:
        return getpass.getuser()


def read(message: Parked, cluster: str) -> tuple[list[Signal], list[str]]:
    """The signals in a message, and what is wrong with the rest of it. `cluster` is that of items that name
    none. The same message gives the same signals whenever it is read: its own time counts as now."""
    if message.cut:
        return [], [f"body: only the first {len(message.body)} of {message.size} bytes were kept"]
    try:
        if message.reason in _OURS or message.source not in SOURCES.kinds:
            return _from_the_stream(message.body)
        found = _from_a_source(message, cluster)
    except InvalidInput as error:
        return [], [str(error)]
    problems = [f"{item.field}: {item.message}" for item in found.rejected]
    problems += [f"body: is no signal ({item.reason.value})" for item in found.ignored]
    return found.signals, problems or ([] if found.signals else ["body: holds nothing"])


def _from_the_stream(body: bytes) -> tuple[list[Signal], list[str]]:
    """Documents as the stream carries them. Raises `InvalidInput` for an array that does not end."""
    signals, problems = [], []
    for document in documents(body):
        try:
            signals.append(decode_signal(document))
        except InvalidInput as error:
            problems.append(str(error))
    return signals, problems or ([] if signals else ["body: holds nothing"])


def _from_a_source(message: Parked, cluster: str) -> ParseResult:
    """A payload as its sender posted it, or one item of such a payload. Raises `InvalidInput`."""
    payloads, rejected = split_documents(message.body)
    known = {"cluster": cluster, "now": message.at}
    found = parse_documents(payloads, message.source, **known)  # type: ignore[arg-type]
    found.rejected.extend(rejected)
    whole = all(SOURCES[message.source].recognises(payload) for payload in payloads)
    if found.signals or whole:
        return found
    items = parse_documents([payloads], message.source, **known)  # type: ignore[arg-type]
    return items if items.signals else found


def _was_in_the_stream(message: Parked) -> bool:
    """Whether a correlator parked it for want of an object: then the stream may still know its id."""
    return message.reason == FateReason.NO_TARGET and message.source not in SOURCES.kinds


async def replay(
    message: Parked,
    identity: str,
    bus: SignalSink,
    store: AuditStore,
    parking: Parking,
    cluster: str,
    who: str,
) -> ReplayResult:
    """Publish what can be read, record who did it, and remove the message when nothing is left to mend.

    In that order: after a crash in between the message is still there, and replaying it again stores nothing
    a second time, since the signals' ids are the same. Raises `TemporaryError` when an engine is away.
    """
    signals, problems = read(message, cluster)
    if not signals:
        return ReplayResult(message.sequence, 0, 0, False, tuple(problems[:MOST_PROBLEMS]))
    accepted = await accept(bus, signals)
    if accepted.duplicates and _was_in_the_stream(message):
        problems.append(_TOO_SOON)
    details = {
        "signals": [signal.id for signal in signals[:_PAGE]],
        "stored": accepted.new,
        "duplicates": accepted.duplicates,
        "still_bad": len(problems),
    }
    await store.append([entry(REPLAYED, message, identity, who, **details)])
    gone = not problems and await parking.remove(message.sequence)
    stored = accepted.new + accepted.duplicates
    return ReplayResult(message.sequence, stored, accepted.duplicates, gone, tuple(problems[:MOST_PROBLEMS]))


async def drop(message: Parked, identity: str, store: AuditStore, parking: Parking, who: str) -> bool:
    """Record who does it, then remove the message for good. Raises `TemporaryError`."""
    await store.append([entry(DROPPED, message, identity, who)])
    return await parking.remove(message.sequence)


def entry(reason: str, message: Parked, identity: str, who: str, **more: Any) -> AuditEntry:
    """The audit row: the message by its place and digest, never its content."""
    return AuditEntry(
        chain=PLATFORM,
        type=AuditType.ACTION_EXECUTED,
        reason=reason,
        detail=f"parked message {message.sequence} of {message.source} ({message.reason})",
        actor=who,
        at=datetime.now(UTC),
        data={
            "sequence": message.sequence,
            "source": message.source,
            "parked_reason": message.reason,
            "size": message.size,
            "sha256": message.digest,
            "parked_at": message.at.isoformat(),
            **more,
        },
        idempotency_key=f"{identity}:{message.sequence}:{reason}:{more.get('still_bad', 0)}",
    )


async def chosen(
    parking: Parking, sequences: Sequence[int], *, everything: bool, source: str, reason: str
) -> tuple[list[Parked], list[int]]:
    """The messages that are meant, and positions where there is none. Of `everything` what is there now:
    what the replay itself brings back here is not taken again."""
    if not everything:
        found = [(sequence, await parking.message(sequence)) for sequence in dict.fromkeys(sequences)]
        return [m for _, m in found if m is not None], [n for n, m in found if m is None]
    _, _, last = await parking.extent()
    meant: list[Parked] = []
    after = 0
    while True:
        page = await parking.messages(most=_PAGE, after=after, upto=last, source=source, reason=reason)
        meant += page
        if len(page) < _PAGE:
            return meant, []
        after = page[-1].sequence


async def parked_signals(
    parking: Parking, prefix: str, cluster: str, *, most: int
) -> list[tuple[Signal, Parked]]:
    """Signals whose ids begin so, in the newest parked messages that can be read: such a signal may have
    no row of its own in the database."""
    _, _, last = await parking.extent()
    messages = await parking.messages(most=most, after=max(0, last - most), upto=last)
    return [
        (signal, message)
        for message in messages
        for signal in read(message, cluster)[0]
        if signal.id.startswith(prefix)
    ]
