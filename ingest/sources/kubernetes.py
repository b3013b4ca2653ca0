"""Kubernetes objects as signals: Warning events, troubled pods, nodes that are not ready.

Ids must not change while the same trouble is seen again: a signal's start is the time that the object itself
gives (the container's end, the event's first time, the condition's transition), never the time of looking.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from pydantic import ValidationError

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import JSON, KINDS, ResourceRef
from cortexops.domain.signal import Severity, Signal, SignalType, invalid_input, signal_type
from ingest.source import (
    NoTarget,
    ParseResult,
    bounded_labels,
    check_resource,
    check_signal,
    rejection,
    some_time,
    summary_text,
)
from ingest.sources import SOURCES

GRACE = timedelta(seconds=30)
"""A pod may be unready or unscheduled this long before that is worth a signal: rollouts pass through it."""
FRESH = timedelta(hours=1)
"""A container that ran out of memory longer ago and runs now is history, not news."""
_UNHEALTHY_FROM = 3  # failed probes before the event is worth a signal


class Trouble(NamedTuple):
    """What a reason that the cluster gives means to us."""

    name: str
    type: SignalType
    severity: Severity


class Complaint(NamedTuple):
    """What an object complains of, and from when on that is worth a signal if nothing changes until then."""

    signal: Signal
    due: datetime


_IMAGE = Trouble("ImagePullBackOff", SignalType.IMAGE_PULL, Severity.HIGH)
_CRASH = Trouble("CrashLoopBackOff", SignalType.CRASH_LOOP, Severity.HIGH)
_OOM = Trouble("OOMKilled", SignalType.OOM_KILL, Severity.HIGH)
_CONFIG = Trouble("CreateContainerConfigError", SignalType.CRASH_LOOP, Severity.HIGH)
_NODE = Trouble("NodeNotReady", SignalType.NODE_NOT_READY, Severity.CRITICAL)
_PROBE = Trouble("Unhealthy", SignalType.PROBE_FAILURE, Severity.MEDIUM)
_UNSCHEDULED = Trouble("FailedScheduling", SignalType.SCHEDULING, Severity.MEDIUM)
_NOT_READY = Trouble("PodNotReady", SignalType.PROBE_FAILURE, Severity.MEDIUM)

_WAITING = {
    "CrashLoopBackOff": _CRASH,
    "ImagePullBackOff": _IMAGE,
    "ErrImagePull": _IMAGE,
    "ErrImageNeverPull": _IMAGE,
    "InvalidImageName": _IMAGE,
    "CreateContainerConfigError": _CONFIG,
    "CreateContainerError": _CONFIG,
    "RunContainerError": _CONFIG,
}
_EVENTS = {
    "BackOff": _CRASH,
    "Unhealthy": _PROBE,
    "FailedScheduling": _UNSCHEDULED,
    "NodeNotReady": _NODE,
    "OOMKilling": _OOM,
    "SystemOOM": _OOM,
    "FailedMount": Trouble("FailedMount", SignalType.OTHER, Severity.MEDIUM),
    "FailedAttachVolume": Trouble("FailedAttachVolume", SignalType.OTHER, Severity.MEDIUM),
    "FailedCreate": Trouble("FailedCreate", SignalType.REPLICAS_MISSING, Severity.MEDIUM),
    "FailedCreatePodSandBox": Trouble("FailedCreatePodSandBox", SignalType.OTHER, Severity.MEDIUM),
    "Evicted": Trouble("Evicted", SignalType.OTHER, Severity.MEDIUM),
}


class Kubernetes:
    """Events, pods, nodes, one or in a list as kubectl prints it."""

    def recognises(self, payload: Any) -> bool:
        items = _items(payload)
        return bool(items) and all(isinstance(i, dict) and i.get("kind") in _READERS for i in items)

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        result = ParseResult([], [])
        for index, item in enumerate(_items(payload)):
            try:
                if not isinstance(item, dict) or item.get("kind") not in _READERS:
                    raise InvalidInput("kind", f"must be one of {', '.join(_READERS)}")
                result.signals.extend(object_signals(item, cluster, now, every_warning=True))
            except InvalidInput as error:
                result.rejected.append(rejection(index, error, msgspec.json.encode(item)))
        return result


def _items(payload: Any) -> list[Any]:
    if isinstance(payload, list):
        return payload
    if isinstance(payload, dict) and isinstance(payload.get("items"), list):
        kind = str(payload.get("kind", "List")).removesuffix("List")
        return [{"kind": kind, **i} if isinstance(i, dict) and kind else i for i in payload["items"]]
    return [payload]


def object_signals(
    item: JSON, cluster: str, now: datetime, *, every_warning: bool = False, grace: timedelta = GRACE
) -> list[Signal]:
    """What one object complains of, sealed; empty when it is well, or not of our kinds.

    Of Warning events only the known reasons count, all of them with `every_warning`.
    Raises `InvalidInput` for an object that is not formed as Kubernetes forms it.
    """
    found = complaints(item, cluster, now, every_warning=every_warning, grace=grace)
    return [complaint.signal for complaint in found if complaint.due <= now]


def complaints(
    item: JSON, cluster: str, now: datetime, *, every_warning: bool = False, grace: timedelta = GRACE
) -> list[Complaint]:
    """As `object_signals`, and besides what time alone would make a signal: who keeps this list for when it
    is due need not keep the object."""
    kind = str(item.get("kind", ""))
    if kind not in _READERS:
        return []
    try:
        if kind == "Pod":
            return list(_pod(item, cluster, now, grace))
        found = _event(item, cluster, now, every_warning) if kind == "Event" else _node(item, cluster, now)
        return [Complaint(signal, now) for signal in found]
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise InvalidInput(kind, f"is not formed as Kubernetes forms it ({type(error).__name__})") from None


def traces(pod: JSON, cluster: str, now: datetime) -> list[Signal]:
    """Crash loops that a running pod may have complained of before we first saw it, by what it still tells of
    its last end. They are for knowing what to call over; nobody has seen them fire. Raises `InvalidInput`."""
    found = []
    try:
        resource, _, hints = _about(pod, cluster)
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            finished = some_time(ended.get("finishedAt"), "status.containerStatuses.finishedAt")
            running = "running" in (container.get("state") or {})
            # A first restart is not delayed: only from the second on is there a loop to complain of.
            if running and finished and finished + FRESH > now and container.get("restartCount", 0) >= 2:
                name = str(container.get("name") or "")
                found.append(_make(_CRASH, resource, finished, now, "", container=name, **hints))
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise InvalidInput("Pod", f"is not formed as Kubernetes forms it ({type(error).__name__})") from None
    return found


_READERS = ("Event", "Pod", "Node")


def _make(
    trouble: Trouble, resource: ResourceRef, started: datetime | None, now: datetime, text: str, **labels: str
) -> Signal:
    if started is None:
        raise InvalidInput("metadata.creationTimestamp", "is missing")
    try:
        signal = Signal(
            source="kubernetes",
            cluster=resource.cluster,
            name=trouble.name[:253],
            type=trouble.type,
            severity=trouble.severity,
            resource=check_resource(resource),
            summary=summary_text(text),
            labels=bounded_labels({key: value for key, value in labels.items() if value}),
            started_at=started,
            received_at=now,
        )
    except ValidationError as error:
        raise invalid_input(error) from None
    return check_signal(signal).sealed()


def _event(event: JSON, cluster: str, now: datetime, every_warning: bool) -> Iterator[Signal]:
    if event.get("type") != "Warning":
        return
    about = event.get("involvedObject") or event.get("regarding") or {}
    reason, message = str(event.get("reason") or ""), str(event.get("message") or event.get("note") or "")
    trouble = _EVENTS.get(reason)
    if reason in {"BackOff", "Failed"} and "image" in message.lower():
        trouble = _IMAGE
    count = int((event.get("series") or {}).get("count") or event.get("count") or 1)
    if not every_warning and (trouble is None or (reason == "Unhealthy" and count < _UNHEALTHY_FROM)):
        return
    if trouble is None:
        trouble = Trouble(reason or "Warning", signal_type(reason), Severity.MEDIUM)
    kind, name = str(about.get("kind") or ""), str(about.get("name") or "")
    if not kind or not name:
        raise NoTarget("involvedObject", "names no object")
    if trouble is _NODE and kind == "Pod":
        trouble = _NOT_READY  # said of every pod of a node that failed; the pod itself complains of the same
    known = KINDS.get(kind)
    namespace = "" if known is not None and not known.namespaced else str(about.get("namespace") or "")
    metadata = event.get("metadata") or {}
    started = (
        some_time(event.get("firstTimestamp"), "firstTimestamp")
        or some_time(event.get("eventTime"), "eventTime")
        or some_time(metadata.get("creationTimestamp"), "metadata.creationTimestamp")
    )
    field = str(about.get("fieldPath") or "")
    container = field.partition("{")[2].rstrip("}") if field.startswith("spec.") else ""
    resource = ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name)
    yield _make(trouble, resource, started, now, message, container=container, reason=reason)


def _about(pod: JSON, cluster: str) -> tuple[ResourceRef, datetime | None, dict[str, str]]:
    """The pod, when it was made, and the labels that tell whose it is."""
    metadata = pod.get("metadata") or {}
    resource = ResourceRef(
        cluster=cluster,
        kind="Pod",
        namespace=str(metadata.get("namespace") or ""),
        name=str(metadata.get("name") or ""),
    )
    labels = metadata.get("labels") or {}
    hints = {key: str(labels[key]) for key in ("pod-template-hash", "job-name") if labels.get(key)}
    return resource, some_time(metadata.get("creationTimestamp"), "metadata.creationTimestamp"), hints


def _pod(pod: JSON, cluster: str, now: datetime, grace: timedelta) -> Iterator[Complaint]:
    status = pod.get("status") or {}
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return
    resource, created, hints = _about(pod, cluster)
    told = False
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        name = str(container.get("name") or "")
        for trouble, started, text in _container(container, created, now):
            # A container that runs again after it ran out of memory says nothing of why its pod is unready.
            told = told or trouble is not _OOM or "running" not in (container.get("state") or {})
            signal = _make(trouble, resource, started, now, text, container=name, **hints)
            yield Complaint(signal, now)
    if told or status.get("phase") in {"Succeeded", "Failed"}:
        return
    for condition in status.get("conditions") or []:
        since = some_time(condition.get("lastTransitionTime"), "status.conditions") or created
        if condition.get("status") != "False" or since is None:
            continue
        text = str(condition.get("message") or condition.get("reason") or "")
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            yield Complaint(_make(_UNSCHEDULED, resource, since, now, text, **hints), since + grace)
        elif condition.get("type") == "Ready" and status.get("phase") == "Running":
            yield Complaint(_make(_NOT_READY, resource, since, now, text, **hints), since + grace)


def _container(
    container: JSON, created: datetime | None, now: datetime
) -> Iterator[tuple[Trouble, datetime | None, str]]:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    finished = some_time(ended.get("finishedAt"), "status.containerStatuses.finishedAt")
    exit_text = f"container {container.get('name')} ended with exit code {ended.get('exitCode')}"
    if ended.get("reason") == "OOMKilled" and finished is not None and now < finished + FRESH:
        restarts = container.get("restartCount", 0)
        yield _OOM, finished, f"{exit_text}: out of memory, {restarts} restarts"
    waiting = state.get("waiting") or {}
    trouble = _WAITING.get(str(waiting.get("reason") or ""))
    if trouble is not None:
        text = str(waiting.get("message") or "") or exit_text
        yield trouble, (finished if trouble is _CRASH else None) or created, text


def _node(node: JSON, cluster: str, now: datetime) -> Iterator[Signal]:
    metadata = node.get("metadata") or {}
    resource = ResourceRef(cluster=cluster, kind="Node", name=str(metadata.get("name") or ""))
    created = some_time(metadata.get("creationTimestamp"), "metadata.creationTimestamp")
    for condition in (node.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Ready" and condition.get("status") in {"False", "Unknown"}:
            since = some_time(condition.get("lastTransitionTime"), "status.conditions") or created
            yield _make(_NODE, resource, since, now, str(condition.get("message") or ""))


SOURCES.register("kubernetes", Kubernetes())
