"""Containers that stumbled a few times and have run ever since, as the cluster itself shows."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import moment, objects
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene

_STUMBLED = 5  # restarts
_RUNS_AGAIN = timedelta(minutes=30)
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")


def runs_again(scene: Scene, pod: ResourceRef, state: pods.ContainerState, alerted: datetime) -> bool:
    """Whether a container that failed at most a handful of times has been ready for half an hour since.

    How long that is, the cluster's own latest writes and the container's log tell, never the wall clock: alerts
    are looked into long after, too. A kill for memory comes back, and is no stumble.
    """
    since = state.running_since
    if since is None or not state.ready or state.ended is not None or state.restarts > _STUMBLED:
        return False
    if state.last is not None and state.last.out_of_memory:
        return False
    shown = [alerted, *_written(scene), *_logged(scene, pod, state.name)]
    return min(max(shown), max(scene.now, alerted)) - since >= _RUNS_AGAIN


def _written(scene: Scene) -> list[datetime]:
    """Latest writes of anybody to the objects that were read, those of the status among them; latest events.

    Where the API server's clock is not that of the statuses, what it stamped itself is left out.
    """
    found = [event.last for event in scene.events if event.last is not None]
    for obj in scene.objects.values():
        entries = [] if scene.clocks_apart else objects(obj, "metadata", "managedFields")
        found += [at for entry in entries if (at := moment(entry, "time")) is not None]
        since = meta.condition(obj, "Ready").since
        found += [since] if since is not None else []
    return found


def _logged(scene: Scene, pod: ResourceRef, container: str) -> list[datetime]:
    """The times that the last lines of the present run bear."""
    for log in scene.logs:
        if (log.pod, log.container, log.previous) == (pod, container, False):
            stamps = [match.group(0) for line in log.lines[-5:] if (match := _STAMP.search(line))]
            read = [moment({"at": stamp.replace(",", ".").replace(" ", "T")}, "at") for stamp in stamps]
            return [at for at in read if at is not None]
    return []
