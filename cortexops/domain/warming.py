"""Pods that are merely young: not ready yet, and within the time that their own probes give them."""

from __future__ import annotations

from datetime import datetime, timedelta

from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import mapping, number, objects
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import seen_until

_SETTING_UP = timedelta(seconds=60)
"""For pulling an image and starting the containers of a pod that nobody complains about."""
_PERIOD, _FAILURES = 10, 3  # the API server's defaults of a probe


def is_warming_up(scene: Scene, ref: ResourceRef, pod: JSON) -> bool:
    """Whether the pod is unready for its youth alone, as the cluster itself shows.

    Nothing of it has restarted, no warning speaks of it, and it is not older than its slowest container may be
    before a startup probe gives up or a readiness probe is first asked.
    """
    born = _born(scene, pod)
    if born is None or meta.deleting_since(pod) is not None or pods.is_finished(pod):
        return False
    states = pods.container_states(pod)
    if any(
        state.restarts or state.waiting in pods.BAD_WAITING or state.ended is not None for state in states
    ):
        return False
    if any(event.type == "Warning" for event in scene.events_about(ref)):
        return False
    allowed = max((_allowed(each) for each in objects(pod, "spec", "containers")), default=0)
    return seen_until(scene) - born < _SETTING_UP + timedelta(seconds=allowed)


def _born(scene: Scene, pod: JSON) -> datetime | None:
    """When the pod was made; where objects' times are of another clock, when its statuses say that it began."""
    if not scene.clocks_apart:
        return meta.created(pod)
    times = [meta.condition(pod, kind).since for kind in ("PodScheduled", "Initialized", "Ready")]
    times += [state.running_since for state in pods.container_states(pod)]
    return min((time for time in times if time is not None), default=None)


def _allowed(container: JSON) -> int:
    """Seconds from the container's start until its probes should have found it well."""
    ready, startup = mapping(container, "readinessProbe"), mapping(container, "startupProbe")
    seconds = number(ready, "initialDelaySeconds") + (
        number(ready, "periodSeconds", default=_PERIOD) if ready else 0
    )
    if startup:
        tries = number(startup, "failureThreshold", default=_FAILURES)
        seconds += number(startup, "initialDelaySeconds") + tries * number(
            startup, "periodSeconds", default=_PERIOD
        )
    return seconds
