"""From an address in an alert to the object that has it, by lists of the cluster that all questions share.

One list for each kind and cluster, kept for half a minute: a storm of alerts about addresses costs as many
requests as one alert, and what no object has is known to be nobody's for as long.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from cortexops.domain.errors import InvalidInput, PermanentError, TemporaryError
from cortexops.domain.kubernetes.addresses import INDEXES, Index
from cortexops.domain.resource import ResourceRef, reference
from cortexops.domain.signal import Signal, SignalStatus
from cortexops.domain.targets import ADDRESS, Found, NotRead, Question, Unclear, Unread, decide, question
from cortexops.ports.cluster import ReadableCluster
from cortexops.telemetry import get_logger
from ingest.source import LONGEST_LABEL, TARGET_LABEL, NoAnswer, NoTarget, clean

TIMEOUT = 5.0  # seconds for the list of one kind
_TTL = 30.0
_DOWN_FOR = 15.0  # seconds for which a kind that could not be listed is not asked for again
_MOST_OBJECTS = 50_000  # of one kind; of more no answer would be sure
_MOST_SERIES = 20_000
_PAGE = 500
_OPTIONAL = frozenset({"HTTPRoute"})

_log = get_logger(__name__)


class _Reading(NamedTuple):
    until: float
    found: Index | Unread


class _Answer(NamedTuple):
    resource: ResourceRef
    how: str


def on_target(signal: Signal, resource: ResourceRef, how: str) -> Signal:
    """The same signal, with the same id and fingerprint, about this object; a label says how it was found."""
    labels = {**signal.labels, TARGET_LABEL: clean(how, LONGEST_LABEL)}
    return signal.model_copy(update={"resource": resource, "labels": labels})


class TargetFinder:
    """Never changes a signal's id or fingerprint: both were made of what the payload says."""

    def __init__(self, clusters: Mapping[str, ReadableCluster], *, timeout: float = TIMEOUT) -> None:
        """`timeout` in seconds, for the list of one kind."""
        self._clusters = clusters
        self._timeout = timeout
        self._readings: dict[tuple[str, str], _Reading] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._down_until: dict[str, float] = {}
        self._known: OrderedDict[str, _Answer] = OrderedDict()

    async def find(self, signal: Signal) -> Signal:
        """The signal about the object that has its address; one that names an object already, as it is.

        Raises `NoTarget` naming what was looked for; `NoAnswer` when the cluster could not be read just now.
        """
        if signal.resource.kind != ADDRESS:
            return signal
        series = f"{signal.cluster}:{signal.fingerprint}"
        ended = signal.status is SignalStatus.RESOLVED
        # What has ended is told of whoever it began with: a pod may have gone meanwhile, with its address.
        answer = self._known.get(series) if ended else None
        if answer is None:
            answer = await self._ask(signal)
            self._keep(series, answer)
        return on_target(signal, answer.resource, answer.how)

    async def found(self, signals: Sequence[Signal]) -> tuple[list[Signal], list[tuple[Signal, NoTarget]]]:
        """Signals with their objects, and those whose address stands for none."""
        located: list[Signal] = []
        lost: list[tuple[Signal, NoTarget]] = []
        for signal in signals:
            try:
                located.append(await self.find(signal))
            except NoTarget as error:
                lost.append((signal, error))
        return located, lost

    def _keep(self, series: str, answer: _Answer) -> None:
        self._known[series] = answer
        self._known.move_to_end(series)
        if len(self._known) > _MOST_SERIES:
            self._known.popitem(last=False)

    async def _ask(self, signal: Signal) -> _Answer:
        asked = question(signal.labels, signal.name, signal.resource.name, signal.started_at)
        if asked is None:
            raise NoTarget("resource.name", "is no address that could be looked up")
        if signal.cluster not in self._clusters:
            raise NoTarget(
                "labels.instance",
                f"{asked.address} could not be looked up: cluster {signal.cluster} is not configured here",
            )
        readings: dict[str, Index | Unread] = {}
        try:
            found = await self._decide(signal.cluster, asked, readings)
        except Unclear as error:
            passing = any(isinstance(reading, Unread) and reading.passing for reading in readings.values())
            kind = NoAnswer if passing else NoTarget
            raise kind("labels.instance", f"{error} (cluster {signal.cluster})") from None
        return _Answer(reference(signal.cluster, found.kind, found.namespace, found.name), found.how)

    async def _decide(self, cluster: str, asked: Question, readings: dict[str, Index | Unread]) -> Found:
        """`readings` has what was read for it afterwards."""
        while True:
            try:
                return decide(asked, readings)
            except NotRead as need:
                readings[need.kind] = await self._read(cluster, need.kind)

    async def _read(self, cluster: str, kind: str) -> Index | Unread:
        place = (cluster, kind)
        async with self._locks[place]:
            kept = self._readings.get(place)
            if kept is not None and kept.until > time.monotonic():
                return kept.found
            if self._down_until.get(cluster, 0.0) > time.monotonic():
                return Unread("the cluster does not answer", passing=True)
            found = await self._list(self._clusters[cluster], cluster, kind)
            ttl = _DOWN_FOR if isinstance(found, Unread) else _TTL
            self._readings[place] = _Reading(time.monotonic() + ttl, found)
            return found

    async def _list(self, cluster: ReadableCluster, name: str, kind: str) -> Index | Unread:
        """Never raises for the cluster's sake: what cannot be read is a reason."""
        index = INDEXES[kind]()
        number, passing = 0, False
        try:
            async with asyncio.timeout(self._timeout), aclosing(cluster.pages(kind, limit=_PAGE)) as pages:
                async for page in pages:
                    number += len(page.items)
                    if number > _MOST_OBJECTS:
                        return Unread(f"there are more than {_MOST_OBJECTS} objects of kind {kind}")
                    for item in page.items:
                        index.add(item)
            return index
        except TimeoutError:
            why, passing = f"they did not come within {self._timeout:g} s", True
            self._down_until[name] = time.monotonic() + _DOWN_FOR
        except TemporaryError as error:
            why, passing = str(error), True
            self._down_until[name] = time.monotonic() + _DOWN_FOR
        except InvalidInput as error:
            if kind in _OPTIONAL:  # nobody installed it here
                return index
            why = str(error)
        except PermanentError as error:  # not allowed to look, or not served
            why = str(error)
        _log.warning("addresses cannot be looked up", cluster=name, kind=kind, reason=why)
        return Unread(f"{kind} objects could not be read: {why}", passing)
