"""Whose trouble it may be, and what a scene says at once: owners, backends, the moment of the alert."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from cortexops.domain.kubernetes import hosts, meta, pods
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import Signal, SignalType
from cortexops.domain.topology import Relation

_SERVES = frozenset(
    {"Service", "Ingress", "HTTPRoute", "Gateway", "Deployment", "StatefulSet", "DaemonSet", "Rollout"}
)
_ANSWERING = frozenset({"Service", "Ingress", "HTTPRoute", "Gateway"})  # none of them has replicas to miss
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_-]")
_BAD_ANSWERS = re.compile(
    r"(?i)\b(?:errors?|fail(?:ing|ures?|s|ed)?|5xx|http ?5\d\d|50[0-4]s?|burn(?:s|ing)?|slo|down|outage|unavailable"
    r"|unreachable|not (?:responding|reachable|answering)|time ?outs?|timed ?out|degraded|reject(?:s|ed|ing|ions?)?"
    r"|drop(?:s|ped|ping)|refus(?:ed|als?|ing)|(?:no|zero) (?:new )?(?:orders|payments|requests|sign ?ups|bookings"
    r"|logins|sales|traffic))\b"
)
_FLOWS = r"(?:messages?|records?|events?|jobs?|tasks?|orders|offsets?|data|samples|batches)"
_CONSUMERS = (
    r"(?:consumers?|workers?|listeners?|subscribers?|subscriptions?|processors?|pipelines?|partitions?)"
)
_TOO_LATE = re.compile(
    r"(?i)\b(?:lag(?:s|ging|ged)?|backlogs?|backlogged|slo(?:w|wness|wer)|delay(?:s|ed)?|latency|saturat(?:ed|ion|ing)"
    r"|stuck(?! (?:in )?(?:terminating|pending|creating|deleting|rol))|stall(?:s|ed|ing)|stale(?:ness)?|freshness"
    rf"|(?:queues?|topics?|outbox|mailbox) (?:is |are |not |too )?"
    r"(?:depth|length|size|grow\w{0,4}|full|age|long|drain\w{0,3}|overflow\w{0,3})"
    rf"|(?:queued|unprocessed|unacked|pending|overdue) {_FLOWS}|{_FLOWS} (?:are |is )?(?:behind|overdue|queued|unacked)"
    rf"|queues? (?:messages|jobs|tasks)|too many (?:ready )?{_FLOWS}"
    rf"|{_FLOWS} (?:ready )?in (?:the |a )?(?:queue|topic|stream)s?"
    rf"|(?:no|zero) (?:new )?{_FLOWS}|idle {_CONSUMERS}|{_CONSUMERS} (?:is |are |has been )?idle)\b"
)
"""Work that waits: what latency is to a caller, it is to those who wait for what a consumer does."""
_OBJECTIVE = re.compile(
    r"(?i)\b(?:slos?|error ?budgets?|burn ?rates?|service level|availability objective)\b"
)
_MEASURED = re.compile(
    r"(?i)(?:(?:\b(?:above|below|over|under|exceed(?:s|ed|ing)?|(?:more|less|fewer|higher|lower) than)|[<>]=?) ?\d"
    r"|\d ?(?:%|percent)? (?:above|below|over|under)\b|\d ?(?:%|percent) of\b)"
)
_OF_PODS = re.compile(
    r"(?i)\b(?:replicas?|pods?|containers?|restart(?:s|ed|ing)?|nodes?|endpoints?|cpu|memory)\b"
)
"""What an alert may measure that statuses do show."""
_OF_THE_PLATFORM = re.compile(
    r"(?i)(kube|node(?!js)|prometheus|alertmanager|etcd|core ?dns|target|cert|watchdog)"
)
"""Rules of the platform have names of their own for what is wrong; what they call failed is no answer."""


class Subject(NamedTuple):
    """A workload that may be the cause: the target's own, or one upstream that the target complains about.

    `weight` (0–1) is how sure it is that its trouble is the target's; `distance` counts topology steps.
    """

    ref: ResourceRef
    obj: JSON
    pods: tuple[tuple[ResourceRef, JSON], ...]
    distance: int = 0
    weight: float = 1.0

    @property
    def upstream(self) -> bool:
        return self.distance > 1


class Trouble(NamedTuple):
    """One container that does not do its work."""

    subject: Subject
    pod: ResourceRef
    obj: JSON
    state: pods.ContainerState


class Link(NamedTuple):
    """A call from a workload to a Service, and what speaks for its being the way the trouble came."""

    service: ResourceRef
    workloads: tuple[ResourceRef, ...]
    lines: tuple[str, ...]
    log: ResourceRef | None
    weight: float


def alerted_at(scene: Scene) -> datetime:
    """When the first signal fired; the investigation's moment when there was none. Never the wall clock."""
    if scene.clocks_apart and scene.newest_write is not None:
        return max(scene.told_at, scene.newest_write)
    return scene.told_at


def seen_until(scene: Scene) -> datetime:
    """The latest moment that anything in the scene speaks of: "now" as the cluster showed itself.

    Alerts are looked into long after, too; the wall clock then says nothing about how long a thing has hung.
    """
    times = [alerted_at(scene)]
    times += [event.last for event in scene.events if event.last is not None]
    for _, pod in scene.of_kind("Pod"):
        ready = meta.condition(pod, "Ready").since
        times += [ready] if ready is not None else []
        for state in pods.container_states(pod):
            marks = (state.running_since, state.final.at if state.final else None)
            times += [mark for mark in marks if mark is not None]
    return min(max(times), max(scene.now, alerted_at(scene)))


def signal_types(scene: Scene) -> set[SignalType]:
    """What the alerts are about. One that has no type of its own, is about something that serves or consumes, and
    speaks of failures (`CheckoutFailing`, `SiteDown`, "error budget burn") is about bad answers; one that speaks
    of work that waits (`ConsumerLag`, `QueueNotDrained`, `StaleFeed`) is about late ones."""
    found = {signal.type for signal in scene.signals}
    for signal in scene.signals:
        if signal.type is SignalType.OTHER and signal.resource.kind in _SERVES and not _of_platform(signal):
            told = _told(signal)
            if _BAD_ANSWERS.search(told):
                found.add(SignalType.ERROR_RATE)
            if _TOO_LATE.search(told):
                found.add(SignalType.LATENCY)
        unavailable = signal.type is SignalType.REPLICAS_MISSING and signal.resource.kind in _ANSWERING
        if unavailable and not _of_platform(signal):
            found.add(SignalType.ERROR_RATE)
    return found


def shown_by_no_status(scene: Scene) -> list[str]:
    """The names of the alerts about a symptom that no status of any object shows: lag, backlog, staleness,
    saturation, an objective that is missed, a rate of the team's own. That pods are ready says nothing of these."""
    asked = (SignalType.OTHER, SignalType.ERROR_RATE, SignalType.LATENCY)
    return [
        signal.name
        for signal in scene.signals
        if signal.type in asked
        and not _of_platform(signal)
        and (_TOO_LATE.search(_told(signal)) or _OBJECTIVE.search(_told(signal)) or _of_its_own(signal))
    ]


def speaks_of_delay(signal: Signal) -> bool:
    """Whether an alert of the team's own is about work that waits."""
    return not _of_platform(signal) and _TOO_LATE.search(_told(signal)) is not None


def _of_its_own(signal: Signal) -> bool:
    """Whether it reports a measure that has passed a bound, and that is none of pods."""
    told = _told(signal)
    return signal.type is SignalType.OTHER and bool(_MEASURED.search(told)) and not _OF_PODS.search(told)


def _told(signal: Signal) -> str:
    return f"{_CAMEL.sub(' ', signal.name)} {signal.summary}"


def _of_platform(signal: Signal) -> bool:
    return _OF_THE_PLATFORM.match(signal.name) is not None


def top_owner(scene: Scene, ref: ResourceRef) -> ResourceRef:
    """The highest known owner, the object itself when it has none."""
    seen = {ref}
    while True:
        above = [o for o in scene.topology.into(ref, Relation.OWNS) if o not in seen]
        if not above:
            return ref
        ref = above[0]
        seen.add(ref)


def backing(scene: Scene, service: ResourceRef) -> list[ResourceRef]:
    """The workloads whose pods a Service selects, by their pods or by their template."""
    selected = scene.topology.out(service, Relation.SELECTS)
    return list(dict.fromkeys(top_owner(scene, ref) for ref in selected))


def service_ready(scene: Scene, service: ResourceRef) -> int | None:
    """How many ready addresses a Service has; None when that is not known."""
    slices = [
        obj
        for ref, obj in scene.of_kind("EndpointSlice")
        if ref.namespace == service.namespace
        and meta.labels(obj).get("kubernetes.io/service-name") == service.name
    ]
    if slices:
        return sum(
            mapping(endpoint, "conditions").get("ready") is not False
            for obj in slices
            for endpoint in objects(obj, "endpoints")
        )
    endpoints = scene.get(scene.ref("Endpoints", service.namespace, service.name))
    if endpoints is not None:
        return sum(len(objects(part, "addresses")) for part in objects(endpoints, "subsets"))
    workloads = [scene.get(ref) for ref in backing(scene, service)]
    known = [workload for workload in workloads if workload is not None]
    return sum(pods.ready_replicas(workload) for workload in known) if known else None


def means_service(scene: Scene, host: str, service: ResourceRef, caller_namespace: str) -> bool:
    """Whether a host name or address in a line is that Service."""
    if hosts.service_address(host, caller_namespace) == (service.namespace, service.name):
        return True
    spec = mapping(scene.get(service) or {}, "spec")
    return host in (text(spec, "clusterIP"), text(spec, "externalName")) and host not in ("", "None")


def line_names(scene: Scene, line: str, service: ResourceRef, caller_namespace: str) -> bool:
    """Whether a host name or address in the line is that Service."""
    return any(means_service(scene, host, service, caller_namespace) for host in hosts.hosts_in_line(line))
