"""Chaos experiments: what they do, to which pods, since when, and whether they still do it.

Those of Chaos Mesh, its Schedules, and engines of LitmusChaos.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from cortexops.domain.kubernetes import meta, selectors
from cortexops.domain.kubernetes.spans import span
from cortexops.domain.kubernetes.values import (
    dig,
    earliest,
    latest,
    mapping,
    moment,
    objects,
    text,
    texts,
    words,
)
from cortexops.domain.resource import JSON, ResourceRef

EXPERIMENTS = ("PodChaos", "NetworkChaos", "StressChaos", "HTTPChaos", "IOChaos", "DNSChaos", "TimeChaos")
ENGINE, SCHEDULE = "ChaosEngine", "Schedule"
KINDS = (*EXPERIMENTS, SCHEDULE, ENGINE)
PAUSE = "experiment.chaos-mesh.org/pause"
"""The annotation that pauses an experiment or a Schedule."""
_OVER = frozenset({"completed", "stopped"})
_UNDER_WAY = frozenset({"running", "awaited", "waiting for job creation"})
_SPARE = timedelta(minutes=1)


class Effect(StrEnum):
    """What an experiment does to a pod, whoever's experiment it is."""

    KILL = "kill"  # once; the pod comes back by itself
    FAILURE = "failure"  # it does not run for as long as the experiment does
    NETWORK = "network"
    CPU = "cpu"
    MEMORY = "memory"
    HTTP = "http"
    IO = "io"
    DNS = "dns"
    TIME = "time"


_OF_KIND = {
    "NetworkChaos": Effect.NETWORK, "HTTPChaos": Effect.HTTP, "IOChaos": Effect.IO, "DNSChaos": Effect.DNS,
    "TimeChaos": Effect.TIME,
}  # fmt: skip
_OF_LITMUS = (  # beginnings of names of experiments
    ("pod-delete", Effect.KILL), ("container-kill", Effect.KILL), ("docker-service-kill", Effect.KILL),
    ("pod-network", Effect.NETWORK), ("pod-http", Effect.HTTP), ("pod-cpu", Effect.CPU),
    ("pod-memory", Effect.MEMORY), ("pod-io", Effect.IO), ("disk-fill", Effect.IO), ("pod-dns", Effect.DNS),
    ("time-chaos", Effect.TIME),
)  # fmt: skip


def inner(kind: str, obj: JSON) -> tuple[str, JSON]:
    """(kind, spec) of the experiment itself; of a Schedule, of those that it starts."""
    if kind != SCHEDULE:
        return kind, mapping(obj, "spec")
    its = text(obj, "spec", "type")
    key = next((key for key in mapping(obj, "spec") if key.lower() == its.lower()), "")
    return its, mapping(obj, "spec", key)


def action(kind: str, obj: JSON) -> str:
    """What it does, in the words of the tool: `pod-kill`, `delay`, `cpu and memory stress`."""
    its, spec = inner(kind, obj)
    if its == ENGINE:
        return ", ".join(text(each, "name") for each in objects(spec, "experiments")) or "experiments"
    if its == "StressChaos":
        return " and ".join(sorted(mapping(spec, "stressors"))) + " stress"
    if its == "HTTPChaos":
        found = [word for word in ("abort", "delay", "replace", "patch") if dig(spec, word)]
        return " and ".join(found) or "http"
    if its == "TimeChaos":
        return f"a clock off by {text(spec, 'timeOffset') or 'some time'}"
    return text(spec, "action") or its


def effects(kind: str, obj: JSON) -> frozenset[Effect]:
    """What it does to the pods that it selects; nothing where that is not known."""
    its, spec = inner(kind, obj)
    if its == "PodChaos":
        return frozenset({Effect.FAILURE if text(spec, "action") == "pod-failure" else Effect.KILL})
    if its == "StressChaos":
        named = {"cpu": Effect.CPU, "memory": Effect.MEMORY}
        return frozenset(named[word] for word in mapping(spec, "stressors") if word in named)
    if its == ENGINE:
        names = [text(each, "name") for each in objects(spec, "experiments")]
        return frozenset(e for name in names for start, e in _OF_LITMUS if name.startswith(start))
    return frozenset({_OF_KIND[its]}) if its in _OF_KIND else frozenset()


def _records(obj: JSON) -> list[JSON]:
    return objects(obj, "status", "experiment", "containerRecords")


def _applied(obj: JSON) -> list[datetime]:
    """When faults were injected with success."""
    found = [
        moment(event, "timestamp")
        for record in _records(obj)
        for event in objects(record, "events")
        if text(event, "operation") == "Apply" and text(event, "type") in ("Succeeded", "")
    ]
    return [time for time in found if time is not None]


def began(kind: str, obj: JSON) -> datetime | None:
    """When it began to do something; of a Schedule, when it last started an experiment."""
    if kind == SCHEDULE:
        return moment(obj, "status", "time") or moment(obj, "status", "lastScheduleTime")
    if kind == ENGINE:
        return meta.created(obj)
    return earliest(*_applied(obj)) or meta.created(obj)


def last_struck(kind: str, obj: JSON) -> datetime | None:
    """When it did it last: one that kills does so at moments."""
    return latest(*_applied(obj)) or began(kind, obj)


def is_paused(obj: JSON) -> bool:
    paused = meta.annotations_of(obj).get(PAUSE, "").lower() == "true"
    return paused or meta.condition(obj, "Paused").status == "True"


def is_running(kind: str, obj: JSON, at: datetime) -> bool:
    """Whether it does something to pods at that moment: neither finished nor paused, and injected."""
    if is_paused(obj):
        return False
    if kind == SCHEDULE:
        return began(kind, obj) is not None
    if kind == ENGINE:
        if text(obj, "spec", "engineState") == "stop" or text(obj, "status", "engineStatus") in _OVER:
            return False
        return any(
            text(each, "status").lower() in _UNDER_WAY for each in objects(obj, "status", "experiments")
        )
    if meta.condition(obj, "AllRecovered").status == "True":
        return False
    phase = text(obj, "status", "experiment", "desiredPhase")
    lasts, since = span(text(obj, "spec", "duration")), began(kind, obj)
    if phase == "Stop" or (not phase and lasts and since and since + lasts < at - _SPARE):
        return False
    injected = any(text(record, "phase") == "Injected" for record in _records(obj))
    return injected or (not _records(obj) and meta.condition(obj, "AllInjected").status == "True")


def _is_pod_of(workload: ResourceRef, pod: str) -> bool:
    """Whether a pod of that name, which may be gone, is one that the workload makes."""
    if workload.kind == "Pod":
        return pod == workload.name
    rest = pod.removeprefix(f"{workload.name}-")
    parts = rest.split("-")
    return rest != pod and len(parts) <= 2 and all(part.isalnum() and len(part) <= 10 for part in parts)


def selects(kind: str, obj: JSON, workload: ResourceRef, labels: Mapping[str, str]) -> bool:
    """Whether it is aimed at pods of the workload, whose template has the labels. When unsure: no.

    Where the status tells which pods were selected, that counts, else the selector."""
    records = _records(obj)
    if records:
        places = [text(record, "id").split("/") for record in records if text(record, "phase") == "Injected"]
        return any(
            len(place) >= 2 and place[0] == workload.namespace and _is_pod_of(workload, place[1])
            for place in places
        )
    its, spec = inner(kind, obj)
    if its == ENGINE:
        return _engine_selects(obj, spec, workload, labels)
    return picks(mapping(spec, "selector"), meta.namespace(obj), workload, labels)


def _engine_selects(obj: JSON, spec: JSON, workload: ResourceRef, labels: Mapping[str, str]) -> bool:
    info = mapping(spec, "appinfo")
    named = [
        name.strip()
        for experiment in objects(spec, "experiments")
        for entry in objects(experiment, "spec", "components", "env")
        if text(entry, "name") == "TARGET_PODS"
        for name in text(entry, "value").split(",")
        if name.strip()
    ]
    if named and not any(_is_pod_of(workload, name) for name in named):
        return False
    query = text(info, "applabel")
    kind = text(info, "appkind").lower()
    if (text(info, "appns") or meta.namespace(obj)) != workload.namespace or not query:
        return False
    return (not kind or kind == workload.kind.lower()) and selectors.query_matches(query, labels)


def picks(selector: JSON, own: str, workload: ResourceRef, labels: Mapping[str, str]) -> bool:
    """Whether a selector of Chaos Mesh picks pods of the workload; by nodes, fields or phases it cannot be told."""
    by_name = mapping(selector, "pods")
    if by_name:
        names = words(by_name, workload.namespace)
        return any(_is_pod_of(workload, name) for name in names)
    untold = ("nodes", "nodeSelectors", "fieldSelectors", "annotationSelectors")
    if not selector or any(dig(selector, word) for word in untold):
        return False
    if workload.namespace not in (words(selector, "namespaces") or [own]):
        return False
    fixed, more = texts(selector, "labelSelectors"), objects(selector, "expressionSelectors")
    if not fixed and not more:
        return True
    return selectors.matches({"matchLabels": fixed, "matchExpressions": more}, labels)


def pair(kind: str, obj: JSON) -> JSON | None:
    """The selector of the other end, where only the network between two ends is acted on."""
    its, spec = inner(kind, obj)
    found = dig(spec, "target", "selector") if its == "NetworkChaos" else None
    return found if isinstance(found, dict) else None


def outside(kind: str, obj: JSON) -> list[str]:
    """Hosts and addresses outside, where only the network to them is acted on."""
    its, spec = inner(kind, obj)
    return [host.lower() for host in words(spec, "externalTargets")] if its == "NetworkChaos" else []


def patterns(kind: str, obj: JSON) -> list[str]:
    """Names that a DNSChaos answers wrongly; none means all."""
    its, spec = inner(kind, obj)
    return words(spec, "patterns") if its == "DNSChaos" else []
