"""Into the stream, counted: the one way in for the gateway and the watchers, so that the sums come out.

Counted as ingested is what the stream has confirmed, and what was refused and parked. A duplicate that the
stream itself recognised reaches no correlator, so its fate is counted here. What was ignored is no signal: it
is counted apart and in no sum.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from cortexops.domain.signal import FateReason, Signal, SignalFate
from cortexops.metrics import EVENTS_INGESTED, SIGNAL_FATES, SIGNALS_IGNORED, SIGNALS_REJECTED
from cortexops.ports.bus import NotAllStored, SignalSink
from cortexops.telemetry import get_logger
from ingest.source import Ignored, Rejection

_PARKED_AT_ONCE = 200
_log = get_logger(__name__)


class Accepted(NamedTuple):
    new: int
    duplicates: int


async def accept(bus: SignalSink, signals: Sequence[Signal]) -> Accepted:
    """Publish and count. Raises `TemporaryError` when the stream does not have all of them."""
    if not signals:
        return Accepted(0, 0)
    try:
        stored: Sequence[bool | None] = await bus.publish(signals)
    except NotAllStored as error:
        _count(signals, error.stored)
        raise
    return _count(signals, stored)


def _count(signals: Sequence[Signal], stored: Sequence[bool | None]) -> Accepted:
    taken = [(signal, flag) for signal, flag in zip(signals, stored, strict=True) if flag is not None]
    for (source, cluster), number in Counter((s.source, s.cluster) for s, _ in taken).items():
        EVENTS_INGESTED.labels(source, cluster).inc(number)
    duplicates = sum(1 for _, flag in taken if flag)
    if duplicates:
        SIGNAL_FATES.labels(SignalFate.MERGED, FateReason.DUPLICATE).inc(duplicates)
    return Accepted(len(taken) - duplicates, duplicates)


async def refuse(bus: SignalSink, source: str, cluster: str, rejected: Sequence[Rejection]) -> None:
    """Park and count what is no signal. Raises `TemporaryError` when not all of it could be parked."""
    for start in range(0, len(rejected), _PARKED_AT_ONCE):
        part = rejected[start : start + _PARKED_AT_ONCE]
        answers = await asyncio.gather(
            *(bus.park(item.raw, item.reason, source, f"{item.field}: {item.message}") for item in part),
            return_exceptions=True,
        )
        parked = Counter(item.reason for item, answer in zip(part, answers, strict=True) if answer is None)
        for reason, number in parked.items():
            EVENTS_INGESTED.labels(source, cluster).inc(number)
            SIGNALS_REJECTED.labels(source, reason).inc(number)
            SIGNAL_FATES.labels(SignalFate.PARKED, reason).inc(number)
        for failure in answers:
            if isinstance(failure, BaseException):
                raise failure


async def ignore(bus: SignalSink, source: str, ignored: Sequence[Ignored]) -> dict[str, int]:
    """Count what is no signal, and keep what a person must see beside what was parked.

    How many there are of each reason. Raises `TemporaryError` when something could not be kept.
    """
    for item in ignored:
        if item.raw:
            _log.warning("kept for a person among the parked messages", source=source, detail=item.detail)
            await bus.park(item.raw, FateReason.UNDECODABLE, source, item.detail)
    numbers = Counter(item.reason.value for item in ignored)
    for reason, number in numbers.items():
        SIGNALS_IGNORED.labels(source, reason).inc(number)
    return dict(numbers)
