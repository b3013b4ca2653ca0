"""When what a pod or a node complained of is over, by the object's own times.

Well for a moment is not well: a crash loop runs between its crashes, a rollout passes through readiness. So
every end has a time from which on it may be told, and whatever the object complains of until then undoes it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import JSON
from cortexops.domain.signal import Signal, SignalStatus
from ingest.source import some_time

LONGEST_PROOF = timedelta(minutes=10)
"""After this long without a crash the kubelet itself forgets a container's back-off."""


class End(NamedTuple):
    """A complaint's end: since when it is over, from when on that may be told, and how it ended."""

    at: datetime
    due: datetime
    how: str


def end_of(signal: Signal, item: JSON, grace: timedelta) -> End | None:
    """The end of what `signal` complained of, if `item` (the pod or node that it is about) shows one.

    A container that ended before must outlive its last life twice (at most `LONGEST_PROOF`, at least
    `grace`): one that crashes every two minutes is not well each time that it has run for half a minute.
    Raises `InvalidInput` for an object that is not formed as Kubernetes forms it.
    """
    try:
        return _end(signal, item, grace)
    except (AttributeError, TypeError, KeyError) as error:
        kind = signal.resource.kind
        raise InvalidInput(kind, f"is not formed as Kubernetes forms it ({type(error).__name__})") from None


def _end(signal: Signal, item: JSON, grace: timedelta) -> End | None:
    status = item.get("status") or {}
    deleted = deletion_time(item)
    if deleted is not None:
        return End(deleted, deleted + grace, "was deleted")
    if signal.resource.kind == "Pod" and status.get("phase") == "Succeeded":
        ends = [_ended(one.get("state") or {}) for one in status.get("containerStatuses") or []]
        last = max((at for at in ends if at is not None), default=None)
        return End(last, last + grace, "has completed") if last else None
    if name := signal.labels.get("container"):
        return _container(name, status, grace)
    condition = "PodScheduled" if signal.name == "FailedScheduling" else "Ready"
    since = _true_since(status, condition)
    words = {"PodScheduled": "has been scheduled", "Ready": "is ready again"}
    return End(since, since + grace, words[condition]) if since else None


def deletion_time(item: JSON) -> datetime | None:
    """When somebody asked to delete the object. The time that it carries is when its grace period is over."""
    metadata = item.get("metadata") or {}
    gone = some_time(metadata.get("deletionTimestamp"), "metadata.deletionTimestamp")
    seconds = metadata.get("deletionGracePeriodSeconds")
    return gone - timedelta(seconds=seconds if isinstance(seconds, int) else 0) if gone else None


def resolved(signal: Signal, end: End, started: datetime, now: datetime) -> Signal:
    """The end of the firing that began at `started`: the fingerprint is the firing's, the id follows from it
    and `started` alone, whoever sees the end and whenever."""
    changes = {
        "status": SignalStatus.RESOLVED,
        "started_at": started,
        "ended_at": max(end.at, started),
        "received_at": now,
        "summary": f"{signal.resource} {end.how}",
    }
    return signal.model_copy(update=changes).sealed()


def _container(name: str, status: JSON, grace: timedelta) -> End | None:
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    found: JSON = next((one for one in statuses if one.get("name") == name), {})
    state = found.get("state") or {}
    if found in (status.get("initContainerStatuses") or []) and "terminated" in state:
        at = _ended(state)
        return (
            End(at, at + grace, "has completed") if at and state["terminated"].get("exitCode") == 0 else None
        )
    started = some_time((state.get("running") or {}).get("startedAt"), "status.containerStatuses.startedAt")
    if started is None or found.get("ready") is False:
        return None
    proof = max(grace, min(_last_life(found) * 2, LONGEST_PROOF))
    ready = _true_since(status, "Ready") or started
    return End(max(started, ready), max(started + proof, ready + grace), f"container {name} runs again")


def _last_life(container: JSON) -> timedelta:
    """How long the container ran before it last ended; nothing when that is not known."""
    last = (container.get("lastState") or {}).get("terminated") or {}
    began = some_time(last.get("startedAt"), "status.containerStatuses.startedAt")
    ended = _ended(container.get("lastState") or {})
    return max(ended - began, timedelta(0)) if began and ended else timedelta(0)


def _ended(state: JSON) -> datetime | None:
    ended = state.get("terminated") or {}
    return some_time(ended.get("finishedAt"), "status.containerStatuses.finishedAt")


def _true_since(status: JSON, condition: str) -> datetime | None:
    for one in status.get("conditions") or []:
        if one.get("type") == condition and one.get("status") == "True":
            return some_time(one.get("lastTransitionTime"), "status.conditions")
    return None
