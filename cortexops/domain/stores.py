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


_PORTS = frozenset(
    {1433, 1521, 2379, 3306, 5432, 6379, 5671, 5672, 6432, 9042, 9092, 9200, 11211, 26379, 27017}
)
"""What databases, caches and queues listen on when nobody says otherwise."""


_PARTS = ("port", "targetPort")
_ENGINES = (  # how it speaks, its ports, its name or image
    (
        re.compile(r"(?i)(\berror 1[0-4]\d\d\b|\[1[0-4]\d\d\]|mysql|mariadb)"),
        frozenset({3306}),
        re.compile(r"(?i)(mysql|maria|percona|vitess|proxysql)"),
    ),
    (
        re.compile(
            r"(?i)(too many clients already|remaining connection slots|max_client_conn|\b53[0-9]00\b|psycopg"
            r"|\bpgx?\b|\bpq:)"
        ),
        frozenset({5432, 6432}),
        re.compile(r"(?i)(postgres|(?:^|[^a-z])pg|bouncer|timescale)"),
    ),
    (
        re.compile(
            r"(?i)(max number of clients reached|\bmisconf\b|\bwrongpass\b|when used memory|redis|valkey)"
        ),
        frozenset({6379, 26379}),
        re.compile(r"(?i)(redis|valkey|keydb|dragonfly)"),
    ),
    (
        re.compile(r"(?i)(resource limit alarm|\brabbit|\bamqp\b|\blow on (?:disk|memory)\b)"),
        frozenset({5671, 5672}),
        re.compile(r"(?i)(rabbit|lavinmq)"),
    ),
    (
        re.compile(
            r"(?i)(\bcluster_block_exception|flood.stage|read.only[ /_-]{1,3}allow.delete|elastic|opensearch)"
        ),
        frozenset({9200}),
        re.compile(r"(?i)(elastic|opensearch|(?:^|[^a-z])es(?:$|[^a-z]))"),
    ),
)


def seems_store(service: JSON, workloads: Iterable[JSON]) -> bool:
    """Whether a store is behind the Service, as its port, its name or the image of its pods tells."""
    ports = objects(service, "spec", "ports")
    if any(number(port, part) in _PORTS for port in ports for part in _PARTS):
        return True
    named = [meta.name(service), *(image for workload in workloads for image in _images(workload))]
    return any(_STORES.search(name) for name in named)


def called_store(scene: Scene, subject: Subject, said: Sequence[str]) -> ResourceRef | None:
    """The Service of the store that the lines are about: the one they name, else the only one that is called
    and seems to be a store, else the only one that is called at all."""
    called = scene.topology.out(subject.ref, Relation.CALLS)
    named = [service for service in called if any(complaints.names(line, service.name) for line in said)]
    likely = named or [service for service in called if _is_store(scene, service)]
    if len(likely) > 1 and not named:
        likely = _of_its_engine(scene, likely, said) or likely
    if len(likely) != 1 and not named:
        likely = called if len(called) == 1 else []
    return next(iter(likely), None)


def _of_its_engine(scene: Scene, stores: Sequence[ResourceRef], said: Sequence[str]) -> list[ResourceRef]:
    """Those of the stores that are of the make whose words the lines have; none where they have nobody's, or
    several makes'."""
    spoken = [each for each in _ENGINES if any(each[0].search(line) for line in said)]
    if len(spoken) != 1:
        return []
    _, usual, called = spoken[0]
    found = []
    for store in stores:
        service = scene.get(store) or {}
        workloads = [scene.get(ref) or {} for ref in backing(scene, store)]
        names = [store.name, *(image for workload in workloads for image in _images(workload))]
        ports = [number(each, part) for each in objects(service, "spec", "ports") for part in _PARTS]
        if usual.intersection(ports) or any(called.search(name) for name in names):
            found.append(store)
    return found


def _is_store(scene: Scene, service: ResourceRef) -> bool:
    return seems_store(scene.get(service) or {}, [scene.get(ref) or {} for ref in backing(scene, service)])


def _images(workload: JSON) -> list[str]:
    """The last part of each image that it runs."""
    return [
        text(container, "image").rpartition("/")[2].partition(":")[0]
        for container in pods.containers(mapping(workload, "spec", "template", "spec"))
    ]
