"""Which store a caller means that has no words for it: databases, caches, queues among what it calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cortexops.domain.findings import Subject, backing
from cortexops.domain.kubernetes import complaints, meta, pods
from cortexops.domain.kubernetes.values import mapping, number, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_STORES = re.compile(
    r"(?i)(postgres|pg|mysql|maria|sql|redis|valkey|memcache|mongo|db|database|oracle|bouncer|proxy|cache"
    r"|elastic|opensearch|kafka|rabbit|store|etcd|cassandra|couch)"
)


_PORTS = frozenset({1433, 1521, 2379, 3306, 5432, 6379, 6432, 9042, 9092, 9200, 11211, 26379, 27017})
"""What databases, caches and queues listen on when nobody says otherwise."""


def seems_store(service: JSON, workloads: Iterable[JSON]) -> bool:
    """Whether a store is behind the Service, as its port, its name or the image of its pods tells."""
    ports = objects(service, "spec", "ports")
    if any(number(port, part) in _PORTS for port in ports for part in ("port", "targetPort")):
        return True
    named = [meta.name(service), *(image for workload in workloads for image in _images(workload))]
    return any(_STORES.search(name) for name in named)


def called_store(scene: Scene, subject: Subject, said: Sequence[str]) -> ResourceRef | None:
    """The Service of the store that the lines are about: the one they name, else the only one that is called
    and seems to be a store, else the only one that is called at all."""
    called = scene.topology.out(subject.ref, Relation.CALLS)
    named = [service for service in called if any(complaints.names(line, service.name) for line in said)]
    likely = named or [service for service in called if _is_store(scene, service)]
    if len(likely) != 1 and not named:
        likely = called if len(called) == 1 else []
    return next(iter(likely), None)


def _is_store(scene: Scene, service: ResourceRef) -> bool:
    return seems_store(scene.get(service) or {}, [scene.get(ref) or {} for ref in backing(scene, service)])


def _images(workload: JSON) -> list[str]:
    """The last part of each image that it runs."""
    return [
        text(container, "image").rpartition("/")[2].partition(":")[0]
        for container in pods.containers(mapping(workload, "spec", "template", "spec"))
    ]
