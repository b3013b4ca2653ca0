"""Into the stream, counted: the one way in for the gateway and the watchers, so that the sums come out.

Counted as ingested is what the stream has confirmed, and what was refused and parked. A duplicate that the
stream itself recognised reaches no correlator, so its fate is counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from cortexops.domain.signal import FateReason, Signal, SignalFate
from cortexops.metrics import EVENTS_INGESTED, SIGNAL_FATES, SIGNALS_REJECTED
from cortexops.ports.bus import NotAllStored, SignalSink
from ingest.source import Rejection


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
    """Park and count what is no signal. Raises `TemporaryError` when it cannot be parked."""
    for item in rejected:
        await bus.park(item.raw, item.reason, source, f"{item.field}: {item.message}")
        EVENTS_INGESTED.labels(source, cluster).inc()
        SIGNALS_REJECTED.labels(source, item.reason).inc()
        SIGNAL_FATES.labels(SignalFate.PARKED, item.reason).inc()
