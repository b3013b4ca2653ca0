"""Decide, deliver, record, acknowledge: in this order, each group as far as it gets.

Whatever fails for an outage is tried again from where it stopped, and nothing is acknowledged before its fate
is recorded. What fails for its own sake is tried a few times alone and then parked.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cortexops.domain.correlation import Fate, decide_group, fates_after_delivery, fold, is_heard
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.signal import FateReason, Signal, SignalFate, SignalStatus
from cortexops.metrics import CORRELATION_LATENCY, SIGNAL_FATES
from cortexops.ports.bus import SignalBus
from cortexops.ports.store import IncidentStore
from cortexops.settings import CorrelatorSettings
from cortexops.telemetry import get_logger
from ingest.consumer import Taken
from ingest.grouping import Group, Groups
from ingest.starter import Starter

_AT_ONCE = 32  # deliveries to Temporal
_LONGEST_PAUSE = 30.0  # seconds between tries of a group
_DUPLICATE = Fate(SignalFate.MERGED, FateReason.DUPLICATE)
_UNKNOWN = Fate(SignalFate.SUPPRESSED, FateReason.RESOLVED_UNKNOWN)

_log = get_logger(__name__)


class Settler:
    """Settles groups; what cannot be settled goes back to `groups`."""

    def __init__(
        self,
        settings: CorrelatorSettings,
        bus: SignalBus,
        store: IncidentStore,
        starter: Starter,
        groups: Groups,
    ) -> None:
        self._cooldown = timedelta(minutes=settings.cooldown_minutes)
        self._max_deliver = settings.max_deliver
        self._bus = bus
        self._store = store
        self._starter = starter
        self._groups = groups
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self.problem: str | None = None

    async def settle(self, groups: Sequence[Group]) -> None:
        """Take each group as far as it goes now. Raises nothing for what the engines do."""
        self.problem = None
        decided = await self._decide(groups)
        delivered = await asyncio.gather(*(self._deliver(group) for group in decided))
        await self._record([group for group, done in zip(decided, delivered, strict=True) if done])

    # -- decide --------------------------------------------------------------------------------------

    async def _decide(self, groups: Sequence[Group]) -> list[Group]:
        fresh = [group for group in groups if group.fates is None]
        done = [group for group in groups if group.fates is not None]
        if not fresh:
            return done
        keys = [group.key for group in fresh]
        ids = list({taken.signal.id for group in fresh for taken in group.taken})
        try:
            open_keys = await self._store.open_keys(keys)
            ended = await self._store.last_ended(keys)
            known = await self._store.known_signals(ids)
        except TemporaryError as error:
            self._postpone(fresh, error)
            return done
        except PermanentError as error:
            return done + await self._apart(fresh, error)
        now = datetime.now(UTC)
        for group in fresh:
            decision = decide_group(
                [taken.signal for taken in group.taken],
                open_incident=group.key in open_keys,
                ended=ended.get(group.key),
                known=known,
                now=now,
                cooldown=self._cooldown,
            )
            group.fates = decision.fates
            for taken in group.taken:
                recorded = known.get(taken.signal.id)
                if taken.delivery.attempt > 1 and recorded and recorded >= taken.delivery.stored_at:
                    group.silent.add(taken.delivery.sequence)  # died between recording and acknowledging
        return done + fresh

    async def _apart(self, groups: Sequence[Group], error: PermanentError) -> list[Group]:
        """One of these makes the database refuse all: find it by asking for each alone."""
        if len(groups) > 1:
            return [group for one in groups for group in await self._decide([one])]
        await self._refused(groups[0], error)
        return []

    # -- deliver -------------------------------------------------------------------------------------

    async def _deliver(self, group: Group) -> bool:
        """True when the workflow knows what it must."""
        if group.delivered:
            return True
        assert group.fates is not None
        fates = group.fates
        signals = list({taken.signal.id: taken.signal for taken in group.taken}.values())
        heard = [s for s in signals if is_heard(fates[s.id])]
        ended = [s for s in signals if s.status is SignalStatus.RESOLVED and fates[s.id] != _DUPLICATE]
        try:
            async with self._slots:
                if any(signal.status is SignalStatus.FIRING for signal in heard):
                    started = await self._starter.deliver(group.key, group.resource, fold(heard))
                    group.fates = fates_after_delivery(fates, started)
                elif ended:  # news of an end never starts an incident
                    running = await self._starter.add(group.key, fold(ended))
                    fate = Fate(SignalFate.MERGED, FateReason.OPEN_INCIDENT) if running else _UNKNOWN
                    group.fates = {**fates, **{signal.id: fate for signal in ended}}
        except TemporaryError as error:
            self._postpone([group], error)
            return False
        except PermanentError as error:
            await self._refused(group, error)
            return False
        group.delivered = True
        return True

    # -- record and acknowledge ----------------------------------------------------------------------

    async def _record(self, groups: Sequence[Group]) -> None:
        if not groups:
            return
        told: list[tuple[Taken, Fate, str]] = []
        for group in groups:
            told.extend((taken, fate, group.key) for taken, fate in _told(group))
        rows: dict[str, tuple[Signal, Fate, str]] = {}
        for taken, fate, key in told:
            rows.setdefault(taken.signal.id, (taken.signal, fate, key))
        try:
            if rows:
                await self._store.record_fates(list(rows.values()))
        except TemporaryError as error:
            self._postpone(groups, error)
            return
        except PermanentError as error:
            if len(groups) > 1:
                for group in groups:
                    await self._record([group])
            else:
                await self._refused(groups[0], error)
            return
        now = time.time()
        for fate, number in Counter(fate for _, fate, _ in told).items():
            SIGNAL_FATES.labels(fate.fate, fate.reason).inc(number)
        for taken, fate, _ in told:
            if is_heard(fate):
                CORRELATION_LATENCY.observe(max(0.0, now - taken.delivery.stored_at.timestamp()))
        await self._acknowledge([taken for group in groups for taken in group.taken])

    async def _acknowledge(self, taken: list[Taken]) -> None:
        self._groups.settled(taken)
        try:
            await self._bus.ack([item.delivery for item in taken])
        except TemporaryError as error:  # they come again, and their fates are known then
            _log.info("acknowledgements lost", number=len(taken), error=str(error))

    # -- what went wrong -----------------------------------------------------------------------------

    def _postpone(self, groups: Sequence[Group], error: TemporaryError) -> None:
        self.problem = str(error)
        now = time.monotonic()
        for group in groups:
            pause = min(_LONGEST_PAUSE, error.delay.total_seconds() * 2**group.tries)
            group.tries = min(group.tries + 1, 10)
            self._groups.again(group, now + pause)
        _log.warning("signals are held", groups=len(groups), error=str(error))

    async def _refused(self, group: Group, error: PermanentError) -> None:
        """Halve the group until what is refused stands alone; that is tried again later, then parked."""
        if len(group.taken) > 1:
            middle = len(group.taken) // 2
            for part in (group.taken[:middle], group.taken[middle:]):
                half = Group(group.key, group.resource, 0.0, part)
                self._groups.again(half, 0.0)
            return
        (taken,) = group.taken
        self._groups.settled([taken])
        delivery = taken.delivery
        try:
            if delivery.attempt < self._max_deliver:
                await self._bus.nak([delivery], timedelta(seconds=min(60, 2**delivery.attempt)))
                return
            _log.error("signal parked: it keeps failing", signal=taken.signal.id, error=str(error))
            raw = taken.signal.model_dump_json().encode()
            await self._bus.park(raw, FateReason.KEEPS_FAILING, taken.signal.source, str(error))
            await self._bus.term([delivery])
        except TemporaryError as lost:  # the server delivers it again by itself
            _log.info("could not answer for a failing signal", error=str(lost))
            return
        fate = Fate(SignalFate.PARKED, FateReason.KEEPS_FAILING)
        SIGNAL_FATES.labels(fate.fate, fate.reason).inc()
        try:
            await self._store.record_fates([(taken.signal, fate, group.key)])
        except (TemporaryError, PermanentError) as unrecorded:
            _log.warning("fate not recorded", signal=taken.signal.id, error=type(unrecorded).__name__)


def _told(group: Group) -> list[tuple[Taken, Fate]]:
    """Each delivery with the fate to be counted: of copies of one signal the first has the signal's fate."""
    assert group.fates is not None
    seen: set[str] = set()
    told: list[tuple[Taken, Fate]] = []
    for taken in group.taken:
        signal_id = taken.signal.id
        if signal_id in seen:
            if taken.delivery.attempt == 1:
                told.append((taken, _DUPLICATE))
        elif taken.delivery.sequence not in group.silent:
            told.append((taken, group.fates[signal_id]))
        seen.add(signal_id)
    return told
