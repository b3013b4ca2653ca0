"""Link, decide, deliver, absorb: each bundle as far as it gets.

Whatever fails for an outage is tried again from where it stopped. What fails for its own sake is tried a few
times alone and then parked.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cortexops.contracts.incident import Absorption
from cortexops.domain.causes import Assignment
from cortexops.domain.correlation import (
    DUPLICATE,
    KEEPS_FAILING,
    OPEN_INCIDENT,
    RESOLVED_UNKNOWN,
    Fate,
    decide_group,
    fates_after_delivery,
    fold,
    is_heard,
)
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.links import LinkReason
from cortexops.domain.signal import FateReason, SignalFate, SignalStatus
from cortexops.metrics import CORRELATION_LATENCY
from cortexops.ports.bus import SignalBus
from cortexops.ports.store import IncidentStore
from cortexops.settings_ingest import CorrelatorSettings
from cortexops.telemetry import get_logger
from ingest.grouping import Bundle, Group, Groups, Taken
from ingest.registry import Registry
from ingest.starter import Starter

_AT_ONCE = 32  # deliveries to Temporal
_LONGEST_PAUSE = 10.0  # seconds between tries while an engine is away
_REMEMBERED = 10_000  # ids of signals, and absorbed incidents
_LINKED: dict[LinkReason, Fate] = {
    reason: Fate(SignalFate.MERGED, FateReason(reason.value))
    for reason in LinkReason
    if reason is not LinkReason.SAME_WORKLOAD
}

_log = get_logger(__name__)
K = TypeVar("K")
V = TypeVar("V")


class Settler:
    """Settles one partition's groups; what cannot be settled goes back to `groups`."""

    def __init__(
        self,
        settings: CorrelatorSettings,
        bus: SignalBus,
        store: IncidentStore,
        starter: Starter,
        groups: Groups,
        registry: Registry,
        *,
        answer: Callable[[Sequence[tuple[Taken, Fate]], str], None],
        may_act: Callable[[], bool],
    ) -> None:
        """`answer` is told the fates of signals and the key of their incident; `may_act` says whether the
        lease is still ours."""
        self._cooldown = timedelta(minutes=settings.cooldown_minutes)
        self._most_failures = settings.max_deliver
        self._bus = bus
        self._store = store
        self._starter = starter
        self._groups = groups
        self._registry = registry
        self._answer = answer
        self._may_act = may_act
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._recent: OrderedDict[str, datetime] = OrderedDict()  # ids that a workflow heard of lately
        self._absorbed: OrderedDict[str, str] = OrderedDict()  # key of a part → of the cause that it was told
        self.problem: str | None = None
        self._outage = 0  # rounds in a row in which an engine was away
        self._resume = 0.0

    async def settle(self, groups: Sequence[Group], retries: Sequence[Bundle]) -> None:
        """Take everything as far as it goes now. Raises nothing for what the engines do."""
        self.problem = None
        bundles = [*retries, *(await self._bundles(groups))]
        bundles.sort(key=lambda bundle: bundle.urgency)  # severe and fresh first, above all after an outage
        decided = await self._decide(bundles)
        done = await asyncio.gather(*(self._deliver(bundle) for bundle in decided))
        for bundle, delivered in zip(decided, done, strict=True):
            if delivered:
                self._finish(bundle)
        if not self.problem:
            self._outage = 0

    # -- link ----------------------------------------------------------------------------------------

    async def _bundles(self, groups: Sequence[Group]) -> list[Bundle]:
        """Groups by the incident that each of their signals belongs to."""
        bundles: dict[str, Bundle] = {}
        queue = list(groups)
        assignments: dict[str, Assignment] = {}
        while queue:
            group = queue.pop(0)
            cluster = group.resource.cluster
            if cluster not in assignments:
                assignments[cluster] = await self._assignment(cluster)
            for taken in group.taken:
                link = assignments[cluster].target(taken.key, taken.sighting.sign)
                key = link.key if link else taken.key
                bundle = bundles.get(key)
                if bundle is None:
                    resource = self._registry.resource(key) or taken.resource
                    bundle = bundles[key] = Bundle(key, resource)
                    if link and (cause := self._groups.waiting(key)) is not None:
                        queue.append(self._groups.take(cause, time.monotonic()))
                bundle.taken.append(taken)
                if link:
                    bundle.linked[taken.key] = taken.resource
                    bundle.reasons[taken.sighting.id] = link.reason
        for cluster, assignment in assignments.items():
            self._absorb(cluster, assignment, bundles)
        for bundle in bundles.values():  # the cause's own signals speak first
            bundle.taken.sort(key=lambda taken: taken.key != bundle.key)
        return list(bundles.values())

    async def _assignment(self, cluster: str) -> Assignment:
        try:
            return await self._registry.assignment(cluster)
        except (TemporaryError, PermanentError) as error:
            _log.warning("troubles are not linked", cluster=cluster, error=str(error))
            return Assignment({}, {})

    def _absorb(self, cluster: str, assignment: Assignment, bundles: dict[str, Bundle]) -> None:
        """Mark incidents that turned out to be part of another's."""
        for key, link in assignment.whole.items():
            if self._absorbed.get(key) == link.key or not self._registry.is_open(key, cluster):
                continue
            part, cause = self._registry.resource(key), self._registry.resource(link.key)
            if part is None or cause is None:
                continue
            bundle = bundles.setdefault(link.key, Bundle(link.key, cause))
            bundle.linked[key] = part
            bundle.absorbs[key] = link.reason

    # -- decide --------------------------------------------------------------------------------------

    async def _decide(self, bundles: Sequence[Bundle]) -> list[Bundle]:
        fresh = [bundle for bundle in bundles if bundle.fates is None]
        done = [bundle for bundle in bundles if bundle.fates is not None]
        if not fresh:
            return done
        keys = [bundle.key for bundle in fresh]
        ids = list({taken.sighting.id for bundle in fresh for taken in bundle.taken})
        try:
            opened = await self._store.open_keys(keys)
            ended = await self._store.last_ended(keys)
            known = {**await self._store.known_signals(ids), **self._heard(ids)}
        except TemporaryError as error:
            self._postpone(fresh, error)
            return done
        except PermanentError as error:
            return done + await self._apart(fresh, error)
        now = datetime.now(UTC)
        for bundle in fresh:
            bundle.decided_at = now
            bundle.fates = decide_group(
                [taken.sighting for taken in bundle.taken],
                opened=opened.get(bundle.key),
                ended=ended.get(bundle.key),
                known=known,
                now=now,
                cooldown=self._cooldown,
            ).fates
        return done + fresh

    def _heard(self, ids: Iterable[str]) -> dict[str, datetime]:
        """Those that were delivered moments ago and may not be in the books yet."""
        return {id_: self._recent[id_] for id_ in ids if id_ in self._recent}

    async def _apart(self, bundles: Sequence[Bundle], error: PermanentError) -> list[Bundle]:
        """One of these makes the database refuse all: find it by asking for each alone."""
        if len(bundles) > 1:
            return [bundle for one in bundles for bundle in await self._decide([one])]
        await self._refused(bundles[0], error)
        return []

    # -- deliver -------------------------------------------------------------------------------------

    async def _deliver(self, bundle: Bundle) -> bool:
        """True when the workflow knows what it must."""
        assert bundle.fates is not None
        fates = bundle.fates
        sightings = list({taken.sighting.id: taken.sighting for taken in bundle.taken}.values())
        heard = [s for s in sightings if is_heard(fates[s.id])]
        ended = [s for s in sightings if s.status is SignalStatus.RESOLVED and fates[s.id] != DUPLICATE]
        linked = tuple(bundle.linked.values())
        running = True
        try:
            async with self._slots:
                if not self._may_act():
                    raise TemporaryError("the lease of the partition is not renewed")
                if self.problem:  # it would only wait for the same time-out
                    raise TemporaryError(self.problem)
                if any(sighting.status is SignalStatus.FIRING for sighting in heard):
                    told = [sighting.text for sighting in fold(heard)]
                    started = await self._starter.deliver(bundle.key, bundle.resource, told, linked)
                    bundle.fates = fates_after_delivery(fates, started)
                    if started:  # what was said to the last incident of this key, the new one has not heard
                        self._absorbed.pop(bundle.key, None)
                elif ended or linked:  # news of an end never starts an incident
                    news = [sighting.text for sighting in fold(ended)]
                    running = await self._starter.add(bundle.key, news, linked)
                    fate = OPEN_INCIDENT if running else RESOLVED_UNKNOWN
                    bundle.fates = {**fates, **{sighting.id: fate for sighting in ended}}
                # What has ended goes on in no other's place: its parts keep their own incidents.
                for key, reason in bundle.absorbs.items() if running else ():
                    await self._starter.absorb(key, Absorption(into_key=bundle.key, reason=reason))
                    self._absorbed[key] = bundle.key
                    _forget(self._absorbed)
        except TemporaryError as error:
            self._postpone([bundle], error)
            return False
        except PermanentError as error:
            await self._refused(bundle, error)
            return False
        return True

    def _finish(self, bundle: Bundle) -> None:
        """Every signal has its fate; of copies of one signal the first has it, the rest are duplicates."""
        assert bundle.fates is not None
        fates, recent, moment = bundle.fates, self._recent, datetime.now(UTC)
        oldest = float("inf")
        seen: set[str] = set()
        answers: list[tuple[Taken, Fate]] = []
        for taken in bundle.taken:
            id_ = taken.sighting.id
            fate = DUPLICATE if id_ in seen or self._overtaken(id_, bundle) else fates[id_]
            seen.add(id_)
            if is_heard(fate):
                oldest = min(oldest, taken.stored_at)
                recent[id_] = moment
                if taken.key != bundle.key and fate.fate is SignalFate.MERGED:
                    fate = _LINKED[bundle.reasons[id_]]
            answers.append((taken, fate))
        _forget(recent)
        self._registry.settled(Counter(taken.key for taken in bundle.taken))
        self._answer(answers, bundle.key)
        if oldest < float("inf"):
            CORRELATION_LATENCY.observe(max(0.0, time.time() - oldest))
            self._registry.delivered(bundle.key)

    def _overtaken(self, id_: str, bundle: Bundle) -> bool:
        """Whether a copy of the signal was settled while this bundle waited to be tried again."""
        settled = self._recent.get(id_)
        return settled is not None and bundle.decided_at is not None and settled > bundle.decided_at

    # -- what went wrong -----------------------------------------------------------------------------

    def _postpone(self, bundles: Sequence[Bundle], error: TemporaryError) -> None:
        if not self.problem:
            pause = min(_LONGEST_PAUSE, error.delay.total_seconds() * 2 ** min(self._outage, 10))
            self._outage += 1
            self._resume = time.monotonic() + pause
            _log.warning("signals are held", error=str(error), seconds=round(pause, 1))
        self.problem = str(error)
        self._groups.hold(list(bundles), self._resume)

    async def _refused(self, bundle: Bundle, error: PermanentError) -> None:
        """Halve the bundle until what is refused stands alone; that is tried again later, then parked."""
        if len(bundle.taken) > 1:
            middle = len(bundle.taken) // 2
            for part in (bundle.taken[:middle], bundle.taken[middle:]):
                self._groups.again.append(bundle.part(part))
            return
        bundle.failures += 1
        if bundle.failures < self._most_failures and bundle.taken:
            bundle.due = time.monotonic() + min(60, 2**bundle.failures)
            bundle.fates = None
            self._groups.again.append(bundle)
            return
        for taken in bundle.taken:
            _log.error("signal parked: it keeps failing", signal=taken.sighting.id, error=str(error))
            raw = taken.sighting.text.encode()
            try:
                await self._bus.park(raw, FateReason.KEEPS_FAILING, taken.sighting.source, str(error))
            except TemporaryError as lost:
                self._postpone([bundle], lost)
                return
            self._registry.settled({taken.key: 1})
            self._answer([(taken, KEEPS_FAILING)], bundle.key)


def _forget(kept: OrderedDict[K, V]) -> None:
    """The oldest beyond what is remembered."""
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)
