"""The troubles that are open or about to be: what new signals are compared with.

Open incidents come from the database, so that a new owner of a partition knows what the last one knew; what
this process delivered itself counts at once, before the database shows it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping

from cortexops.domain.causes import Assignment, Surroundings, Trouble, assign
from cortexops.domain.correlation import key_of
from cortexops.domain.owners import guess_workload
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import SignalStatus
from cortexops.ports.store import IncidentStore
from ingest.sighting import Seen, Sighting, see
from ingest.surroundings import SurroundingsReader

_REFRESH = 10.0  # seconds
_UNSEEN = 60.0  # seconds for which our own word counts while the database shows no such incident
_MOST_PODS = 20_000  # of a cluster, whose node their labels told
_MOST_SIGNS = 2_000  # of one trouble; a storm has few sorts of signs but may have many pods


class Registry:
    """Of one partition. Clusters are loaded when their first signal comes."""

    def __init__(self, store: IncidentStore, surroundings: SurroundingsReader) -> None:
        self._store = store
        self._surroundings = surroundings
        self._troubles: dict[str, Trouble] = {}
        self._anew: dict[str, Trouble] = {}  # those of them that may have ended, as if they had
        self._nodes: dict[str, dict[str, str]] = defaultdict(
            dict
        )  # cluster → namespace/pod → node, by labels
        self._pending: dict[str, int] = defaultdict(int)  # key → signals not yet delivered
        self._delivered: dict[str, float] = {}  # key → when
        self._open: dict[str, set[str]] = {}  # cluster → keys, as the database has them
        self._loaded: dict[str, float] = {}
        self._series: dict[str, dict[str, ResourceRef]] = {}  # cluster → fingerprint → object, of open ones

    def note(self, sighting: Sighting, key: str, resource: ResourceRef) -> None:
        """A signal has come."""
        trouble = self._troubles.get(key)
        if trouble is None:
            trouble = self._troubles[key] = Trouble(key, resource)
        elif key not in self._pending and self._is_stale(resource.cluster):
            self._anew[key] = Trouble(key, resource)
        _add(trouble, sighting)
        if key in self._anew:
            _add(self._anew[key], sighting)
        self._note_node(sighting)
        self._pending[key] += 1

    def _note_node(self, sighting: Sighting) -> None:
        resource = sighting.resource
        if sighting.node and len(self._nodes[resource.cluster]) < _MOST_PODS:
            self._nodes[resource.cluster][f"{resource.namespace}/{resource.name}"] = sighting.node

    def delivered(self, key: str) -> None:
        """A workflow knows this trouble."""
        self._delivered[key] = time.monotonic()

    def settled(self, numbers: Mapping[str, int]) -> None:
        """So many signals of these keys are dealt with."""
        for key, number in numbers.items():
            self._pending[key] -= number
            if self._pending[key] <= 0:
                del self._pending[key]

    def resource(self, key: str) -> ResourceRef | None:
        """What the trouble of this key is about."""
        trouble = self._troubles.get(key)
        return trouble.resource if trouble else None

    def is_open(self, key: str, cluster: str) -> bool:
        """Whether an incident of this key may be running."""
        return key in self._delivered or key in self._open.get(cluster, ())

    async def of_series(self, cluster: str, fingerprint: str) -> ResourceRef | None:
        """The object of an open incident's signal of this series. Raises `TemporaryError`."""
        if self._is_stale(cluster):
            await self._load(cluster)
        return self._series.get(cluster, {}).get(fingerprint)

    async def assignment(self, cluster: str) -> Assignment:
        """What explains what in this cluster. Raises `TemporaryError` while the database is away."""
        if self._is_stale(cluster):
            await self._load(cluster)
        troubles = [trouble for trouble in self._troubles.values() if trouble.resource.cluster == cluster]
        if len(troubles) < 2:
            return Assignment({}, {})
        known = await self._surroundings.around(cluster, troubles)
        around = Surroundings(
            {**self._nodes[cluster], **known.node_of},
            known.nodes,
            known.uses,
            known.changed,
            known.calls,
            known.released,
        )
        return assign(troubles, around)

    def _is_stale(self, cluster: str) -> bool:
        """Whether what is known of a cluster's open incidents has to be read again."""
        return time.monotonic() >= self._loaded.get(cluster, 0.0)

    async def _load(self, cluster: str) -> None:
        """Take in what is open, and forget what has ended."""
        found = await self._store.open_signals(cluster)
        now = time.monotonic()
        series = self._series[cluster] = {}
        for key, (resource, bodies) in found.items():
            trouble = self._troubles.setdefault(key, Trouble(key, resource))
            seen = [see(body.encode()) for body in bodies]
            series.update((one.sighting.fingerprint, one.resource) for one in seen)
            for sighting in _own(key, seen):
                _add(trouble, sighting)
                self._note_node(sighting)
        self._open[cluster] = set(found)
        self._loaded[cluster] = now + _REFRESH
        self._delivered = {key: at for key, at in self._delivered.items() if at + _UNSEEN > now}
        for key, trouble in list(self._anew.items()):
            if trouble.resource.cluster == cluster:
                del self._anew[key]
                if key not in found and key not in self._delivered:  # what it had before was another trouble
                    self._troubles[key] = trouble
        for key, trouble in list(self._troubles.items()):
            if trouble.resource.cluster == cluster and not (
                key in found or key in self._pending or key in self._delivered
            ):
                del self._troubles[key]
        if not any(trouble.resource.cluster == cluster for trouble in self._troubles.values()):
            self._nodes.pop(cluster, None)


def _add(trouble: Trouble, sighting: Sighting) -> None:
    """The news of an end is no trouble; it only has to find the incident that heard of the beginning."""
    if sighting.sign in trouble.signs or len(trouble.signs) < _MOST_SIGNS:
        trouble.add(sighting.sign, sighting.started_at, over=sighting.status is SignalStatus.RESOLVED)


def _own(key: str, seen: list[Seen]) -> list[Sighting]:
    """The signals of an incident that are about its own object, not about what was linked to it."""
    own = [one.sighting for one in seen if key_of(guess_workload(one.resource, one.labels)) == key]
    return own or [one.sighting for one in seen]
