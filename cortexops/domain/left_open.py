"""What forbids to call a target healthy although its own pods are well: the trouble may be where no status shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from cortexops.domain.calls import DNS, ill_lately, keeps_failing
from cortexops.domain.kubernetes import complaints, hosts, meta, pods
from cortexops.domain.kubernetes.hpa import condition
from cortexops.domain.kubernetes.schedules import overdue
from cortexops.domain.kubernetes.values import number
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import alerted_at, backing, seen_until, shown_by_no_status, signal_types
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import RECENT, log_lines, serves_badly, subject_of
from cortexops.domain.words import counted

NOT_SHOWN = "what the alert is about, no status of an object shows"
_CONTROLLERS = ("kube-controller-manager", "")
_DEEPEST = 4  # calls
_MOST = 6  # sentences
_HOUR = timedelta(hours=1)


def left_open(scene: Scene, roots: Sequence[ResourceRef]) -> tuple[str, ...]:
    """Sentences, of names and numbers alone, on what may trouble the target; empty when nothing speaks against
    its being well."""
    found = []
    if shown_by_no_status(scene):
        found.append(NOT_SHOWN)
    for ref in roots:
        late = overdue(scene.get(ref) or {}, seen_until(scene)) if ref.kind == "CronJob" else None
        if late is not None:
            found.append(f"{ref} has begun no run for {counted(late // _HOUR, 'hour')}, and was due")
    callees = _callees(scene, roots)
    for ref in callees:
        if ill_lately(scene, ref):
            live = scene.get(ref) or {}
            found.append(
                f"{ref}, which it calls, is not well: {pods.ready_replicas(live)} of"
                f" {max(pods.wanted_replicas(live), 1)} pods are ready"
            )
    for ref in (*roots, *callees):
        if keeps_failing(scene, ref):
            found.append(f"{ref} logs failures again and again")
        logs = log_lines(scene, subject_of(scene, ref)) if serves_badly(scene) else []
        if any(complaints.evicting(lines) for _, _, _, lines in logs):
            found.append(f"{ref} throws away what it holds, for want of memory")
        found += _fought_over(scene, ref)
        found += [
            f"{scaler} is at its maximum and wants more for {ref}"
            for scaler in scene.topology.into(ref, Relation.SCALES)
            if _is_limited(scene, scaler)
        ]
    return tuple(dict.fromkeys(found))[:_MOST]


def _fought_over(scene: Scene, ref: ResourceRef) -> list[str]:
    """That an autoscaler wants other replicas than there are, where somebody else has written them since."""
    found = []
    write = meta.writes(scene.get(ref) or {}, "spec", "replicas")
    for scaler in scene.topology.into(ref, Relation.SCALES):
        live = scene.get(scaler) or {}
        wants, has = number(live, "status", "desiredReplicas"), number(live, "status", "currentReplicas")
        if scene.target not in (scaler, ref) or not wants or wants == has:
            continue
        who = write.manager if write is not None and write.manager not in _CONTROLLERS else ""
        found.append(
            f"{scaler} wants {wants} replicas of {ref}, which has {has}"
            + (f": {who} wrote its replicas last" if who else "")
        )
    return found


def _callees(scene: Scene, roots: Sequence[ResourceRef]) -> list[ResourceRef]:
    """The workloads that the roots call, and those call, as far as they were read; not those reported to."""
    found: dict[ResourceRef, None] = {}
    frontier = list(roots)
    for _ in range(_DEEPEST):
        further: list[ResourceRef] = []
        for caller in frontier:
            for service in scene.topology.out(caller, Relation.CALLS):
                if (service.namespace, service.name) == DNS or hosts.takes_telemetry(service.name):
                    continue
                for ref in backing(scene, service):
                    if ref not in found and ref not in roots and scene.get(ref) is not None:
                        found[ref] = None
                        further.append(ref)
        frontier = further
    return list(found)


def _is_limited(scene: Scene, scaler: ResourceRef) -> bool:
    """Whether an autoscaler wants more than it may have; of an alert that is not about load, only since lately."""
    limited = condition(scene.get(scaler) or {}, "ScalingLimited")
    if limited.status != "True" or limited.reason != "TooManyReplicas":
        return False
    if serves_badly(scene) or SignalType.CPU_HIGH in signal_types(scene):
        return True
    return limited.since is not None and limited.since >= alerted_at(scene) - RECENT
