"""Messages of the stream as signals: undecodable ones set aside, discarded ones counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cortexops.domain.errors import InvalidInput, TemporaryError
from cortexops.domain.signal import FateReason, Signal, SignalFate
from cortexops.metrics import EVENTS_INGESTED, SIGNAL_FATES, SIGNALS_DROPPED
from cortexops.ports.bus import ConsumerPosition, Delivery, SignalBus
from cortexops.settings import CorrelatorSettings
from cortexops.telemetry import get_logger
from ingest.decode import decode_signal
from ingest.source import NoTarget

_log = get_logger(__name__)
_UNKNOWN = "unknown"


@dataclass(slots=True)
class Taken:
    """A signal with the delivery that must be answered for it."""

    signal: Signal
    delivery: Delivery


class Gaps:
    """Counts what the stream discarded at its limit before anybody was handed it.

    A gap shows as consecutive deliveries whose positions in the stream are not consecutive. Where another
    consumer was handed something in between, the gap is that consumer's to see. The server remembers both
    positions, so a restart neither misses nor repeats one.
    """

    def __init__(self, position: ConsumerPosition) -> None:
        self._sequence = position.sequence
        self._delivery = position.delivery

    def see(self, delivery: Delivery) -> int:
        """How many messages were discarded just before this one."""
        consecutive = delivery.delivery == self._delivery + 1
        self._delivery = delivery.delivery
        if delivery.attempt > 1 and delivery.sequence <= self._sequence:
            return 0
        gap = delivery.sequence - self._sequence - 1
        self._sequence = delivery.sequence
        return max(gap, 0) if consecutive else 0


class Consumer:
    """Fetches, decodes, and parks what cannot be decoded."""

    def __init__(self, bus: SignalBus, settings: CorrelatorSettings, *, most_held: int) -> None:
        self._bus = bus
        self._settings = settings
        self._most_held = most_held
        self._gaps: Gaps | None = None

    async def take(self, wait: timedelta) -> list[Taken]:
        """The next signals, empty when none came in time. Raises `TemporaryError`."""
        if self._gaps is None:
            position = await self._bus.subscribe(
                ack_wait=timedelta(seconds=self._settings.ack_wait_seconds),
                most_unacknowledged=self._most_held + 2 * self._settings.batch,
            )
            self._gaps = Gaps(position)
        taken: list[Taken] = []
        for delivery in await self._bus.fetch(self._settings.batch, wait):
            if (gap := self._gaps.see(delivery)) > 0:
                _dropped(gap)
            try:
                signal = decode_signal(delivery.data)
            except InvalidInput as error:
                await self._park(delivery, error)
                continue
            if not delivery.counted and delivery.attempt == 1:
                EVENTS_INGESTED.labels(signal.source, signal.cluster).inc()
            taken.append(Taken(signal, delivery._replace(data=b"")))
        return taken

    async def _park(self, delivery: Delivery, error: InvalidInput) -> None:
        reason = FateReason.NO_TARGET if isinstance(error, NoTarget) else FateReason.UNDECODABLE
        _log.warning("message parked", sequence=delivery.sequence, reason=reason.value, error=str(error))
        try:
            await self._bus.park(delivery.data, reason, _UNKNOWN, str(error))
            await self._bus.term([delivery])
        except TemporaryError as lost:  # not answered for, so it comes again
            _log.info("could not park", sequence=delivery.sequence, error=str(lost))
            return
        if not delivery.counted:
            EVENTS_INGESTED.labels(_UNKNOWN, _UNKNOWN).inc()
        SIGNAL_FATES.labels(SignalFate.PARKED, reason).inc()


def _dropped(number: int) -> None:
    _log.error("the stream discarded signals at its limit before they were read", number=number)
    SIGNALS_DROPPED.inc(number)
    SIGNAL_FATES.labels(SignalFate.DROPPED, FateReason.STREAM_LIMIT).inc(number)
