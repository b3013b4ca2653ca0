"""Scene: what the investigation saw, as plain data. Analyzers and actions read it, nothing else.

Objects are as the API server sent them, except that values of Secrets are left out: only their keys stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import cached_property

from pydantic import Field

from cortexops.domain.earlier import EarlierValue
from cortexops.domain.evidence import Gap
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.resource import JSON, Frozen, ResourceRef
from cortexops.domain.signal import Signal, SignalStatus
from cortexops.domain.topology import Relation, Topology

_CLOCKS = timedelta(minutes=1)


class LogExcerpt(Frozen):
    """The last lines of one container; `previous` is the run before the present one."""

    pod: ResourceRef
    container: str
    previous: bool
    lines: tuple[str, ...]


class EventFact(Frozen):
    """One Kubernetes event, folded by the API server: `count` times between `first` and `last`."""

    about: ResourceRef
    type: str
    reason: str
    message: str
    count: int
    first: datetime | None
    last: datetime | None


class Measure(Frozen):
    """One measured value: `what` names the quantity (`memory_bytes`, `cpu_cores`, …), `says` words it."""

    about: ResourceRef
    container: str = ""
    what: str
    value: float
    at: datetime | None = None
    says: str = ""


class Scene(Frozen):
    """Everything that was collected around one target. `now` is the investigation's moment, `onset` the
    earliest sign of the trouble that is known (signals or statuses)."""

    cluster: str
    environment: str
    target: ResourceRef
    now: datetime
    onset: datetime
    signals: tuple[Signal, ...] = ()
    objects: dict[str, JSON] = Field(default_factory=dict)
    """By `ResourceRef.key`."""
    topology: Topology = Topology()
    events: tuple[EventFact, ...] = ()
    logs: tuple[LogExcerpt, ...] = ()
    gaps: tuple[Gap, ...] = ()
    measured: tuple[Measure, ...] = ()
    earlier: tuple[EarlierValue, ...] = ()
    """Of the cause, when it is a ConfigMap: values with which our own ledger knows it well."""

    @cached_property
    def told_at(self) -> datetime:
        """When the first signal fired, by its source's clock; the investigation's moment when there is none."""
        firing = [s.started_at for s in self.signals if s.status is SignalStatus.FIRING]
        return min(firing or [s.started_at for s in self.signals], default=self.now)

    @cached_property
    def newest_write(self) -> datetime | None:
        """The latest time that the API server's own clock put on an object."""
        writes = [meta.last_write(obj) for obj in self.objects.values()]
        return max((write.at for write in writes if write is not None), default=None)

    @cached_property
    def clocks_apart(self) -> bool:
        """Whether times of objects cannot be compared with those of alerts and statuses.

        So it is when a container ended before its pod was made, or when the alert came before every workload
        was. The order of writes among themselves still holds then.
        """
        made = [
            born
            for kind in ("Deployment", "StatefulSet", "DaemonSet")
            for _, obj in self.of_kind(kind)
            if (born := meta.created(obj)) is not None
        ]
        if made and min(made) > self.told_at + _CLOCKS:
            return True
        for _, pod in self.of_kind("Pod"):
            born = meta.created(pod)
            for state in pods.container_states(pod):
                final = state.final
                if born and final and final.at and final.at < born - _CLOCKS:
                    return True
        return False

    def get(self, ref: ResourceRef) -> JSON | None:
        """The object, or None when it was not found or not looked for."""
        return self.objects.get(ref.key)

    def ref(self, kind: str, namespace: str, name: str) -> ResourceRef:
        return ResourceRef(cluster=self.cluster, kind=kind, namespace=namespace, name=name)

    def of_kind(self, kind: str) -> Iterator[tuple[ResourceRef, JSON]]:
        """Every object of the kind, ordered by key."""
        for key in sorted(self.objects):
            cluster, namespace, its_kind, name = key.split(":", 3)
            if its_kind == kind:
                yield (
                    ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name),
                    self.objects[key],
                )

    def pods_of(self, workload: ResourceRef) -> list[tuple[ResourceRef, JSON]]:
        """The pods that the workload owns, at any depth (or itself when it is a pod)."""
        refs: Iterable[ResourceRef] = [workload, *self.topology.descendants(workload)]
        return [(ref, self.objects[ref.key]) for ref in refs if ref.kind == "Pod" and ref.key in self.objects]

    def pods_on(self, node: ResourceRef) -> list[tuple[ResourceRef, JSON]]:
        refs = self.topology.into(node, Relation.RUNS_ON)
        return [(ref, self.objects[ref.key]) for ref in refs if ref.key in self.objects]

    def events_about(self, ref: ResourceRef, *reasons: str) -> list[EventFact]:
        return [e for e in self.events if e.about == ref and (not reasons or e.reason in reasons)]

    def logs_of(self, pod: ResourceRef, container: str = "") -> list[LogExcerpt]:
        """Previous run first: that is the one that died."""
        found = [log for log in self.logs if log.pod == pod and container in ("", log.container)]
        return sorted(found, key=lambda log: (not log.previous, log.container))

    def revisions(self, deployment: ResourceRef) -> list[tuple[int, ResourceRef, JSON]]:
        """(revision, ReplicaSet) of a Deployment, newest first."""
        found = []
        for ref in self.topology.out(deployment, Relation.OWNS):
            replica_set = self.get(ref)
            if ref.kind != "ReplicaSet" or replica_set is None:
                continue
            found.append((meta.revision(replica_set), ref, replica_set))
        return sorted(found, key=lambda item: (-item[0], item[1].name))
