"""From hypotheses to the diagnosis: verdict, onset, who is affected, what was examined."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cortexops.domain.correlation import severity_of
from cortexops.domain.diagnosis import Diagnosis, Hypothesis, Verdict, rank, verdict_of
from cortexops.domain.evidence import Evidence, GapReason
from cortexops.domain.findings import (
    Subject,
    alerted_at,
    failed_before,
    is_troubled,
    log_lines,
    own_subjects,
    roots,
    seen_until,
    signal_types,
    troubles,
)
from cortexops.domain.kubernetes import complaints, levels, meta, pods
from cortexops.domain.kubernetes.control_plane import is_unobserved
from cortexops.domain.kubernetes.nodes import problems
from cortexops.domain.kubernetes.quotas import used_up
from cortexops.domain.kubernetes.schedules import overdue
from cortexops.domain.kubernetes.values import text
from cortexops.domain.left_nodes import shows_in_status, taken_away
from cortexops.domain.left_open import NOT_SHOWN, left_open
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import Severity, SignalType
from cortexops.domain.topology import Relation

MOST_EVIDENCE = 60
_MOST_HYPOTHESES = 8
_MOST_REFS = 100
_LEAST_CONFIDENCE = 0.15
_EARLIEST = timedelta(days=7)  # before the alert; an older sign belongs to other trouble
_LAST_LINES = 20
_SEVERAL = 3  # of those
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")


def onset_of(scene: Scene) -> datetime:
    """The earliest sign of the trouble: the alert, or what statuses and events show before it."""
    alerted = alerted_at(scene)
    if scene.clocks_apart:
        return alerted
    times = [alerted]
    for subject in own_subjects(scene):
        sign = failed_before(scene, subject)
        if sign is not None:
            times.append(sign)
    if scene.target.kind == "Node":
        ready = meta.condition(scene.get(scene.target) or {}, "Ready")
        if ready.status != "True" and ready.since is not None:
            times.append(ready.since)
    return min(time for time in times if time >= alerted - _EARLIEST)


def is_healthy(scene: Scene) -> bool:
    """Everything that the target needs was seen, and is well. What was not seen is not called healthy."""
    if scene.target.kind == "Node":
        node = scene.get(scene.target) or {}
        if taken_away(scene, scene.target):
            return True
        if not shows_in_status(scene):
            return False
        return meta.condition(node, "Ready").status == "True" and not (
            problems(node) or any(meta.condition(node, kind).status == "True" for kind in _PRESSURES)
        )
    own = own_subjects(scene)
    unseen = any(
        gap.reason is not GapReason.NO_DATA
        and gap.what.startswith(("list pods ", "get pods/"))
        and not gap.what.startswith("get pods/log")
        for gap in scene.gaps
    )
    if unseen or any(not s.obj or is_troubled(scene, s) or is_unobserved(s.obj) for s in own):
        return False
    if any(s.ref.kind == "CronJob" and overdue(s.obj, seen_until(scene)) is not None for s in own):
        return False
    if scene.target.kind == "PersistentVolumeClaim" and not own:
        return text(scene.get(scene.target) or {}, "status", "phase") == "Bound"
    if scene.target.kind == "Namespace":
        return False  # only some of its workloads were looked at
    if scene.target.kind == "ResourceQuota":
        return not used_up(scene.get(scene.target) or {})
    if scene.target.kind == "Certificate":
        return meta.condition(scene.get(scene.target) or {}, "Ready").status == "True"
    return bool(own) and not _complains(scene, own) and not left_open(scene, roots(scene))


def _complains(scene: Scene, own: Sequence[Subject]) -> bool:
    """Whether ready pods may answer badly all the same: they say so, or their logs may not be read.

    Asked only where an alert speaks of bad answers; of other alerts the statuses are the measure.
    """
    late = SignalType.LATENCY in signal_types(scene)
    asked = signal_types(scene) & {SignalType.ERROR_RATE, SignalType.LATENCY}
    vague = signal_types(scene) & {SignalType.OTHER}
    if not asked and not vague:
        return False
    if asked and any(gap.reason is not GapReason.NO_DATA and "pods/log" in gap.what for gap in scene.gaps):
        return True
    if late or (asked and not any(log_lines(scene, subject) for subject in own)):
        return True  # how long answers take, no status shows
    for subject in own:
        for _, _, previous, lines in log_lines(scene, subject):
            tail = lines[-_LAST_LINES:]
            wrong = {
                *complaints.own_fault(tail), *complaints.unreachable(tail), *complaints.about_credentials(tail),
                *complaints.of_a_peer(tail),
            }  # fmt: skip
            if asked and not previous and complaints.answers_with_errors(tail):
                return True
            if not previous and (len(wrong) * 2 > len(tail) or (asked and wrong)):
                return True
            marked = [line for line in levels.errors(tail) if not complaints.of_its_clients([line])]
            if asked and not previous and len(marked) >= _SEVERAL:
                return True
    return False


def conclude(
    scene: Scene, hypotheses: list[Hypothesis], evidence: Sequence[Evidence], similar: Sequence[str] = ()
) -> Diagnosis:
    """Rank the hypotheses and say how sure the leading one is. Evidence that nothing cites is left out."""
    ranked = [h for h in rank(hypotheses) if h.confidence >= _LEAST_CONFIDENCE][:_MOST_HYPOTHESES]
    verdict = verdict_of(ranked, healthy=is_healthy(scene))
    cited = {id for h in ranked for id in (*h.evidence, *h.against)}
    lead = set(ranked[0].evidence + ranked[0].against) if ranked else set()
    kept = sorted((e for e in evidence if e.id in cited), key=lambda e: (e.id not in lead, int(e.id[1:])))
    return Diagnosis(
        target=scene.target,
        verdict=verdict,
        hypotheses=tuple(ranked),
        evidence=tuple(kept[:MOST_EVIDENCE]),
        gaps=scene.gaps,
        affected=tuple(_affected(scene, verdict)),
        examined=tuple(_examined(scene)),
        onset=scene.onset,
        severity=severity_of(list(scene.signals)) if scene.signals else Severity.MEDIUM,
        similar=tuple(similar),
        known=_known(scene, verdict),
    )


def _known(scene: Scene, verdict: Verdict) -> tuple[str, ...]:
    """What is to be told where there is no cause: what is open, or why what is missing is not missed."""
    if verdict is Verdict.UNKNOWN:
        unshown = scene.target.kind == "Node" and not shows_in_status(scene)
        return ((NOT_SHOWN,) if unshown else ()) + left_open(scene, roots(scene))
    gone = taken_away(scene, scene.target) if verdict is Verdict.HEALTHY else ""
    return (gone,) if gone else ()


def _affected(scene: Scene, verdict: Verdict) -> list[ResourceRef]:
    """The workloads in trouble, their failing pods, and who depends on them."""
    if verdict is Verdict.HEALTHY:
        return []
    found: dict[ResourceRef, None] = dict.fromkeys(roots(scene) or [scene.target])
    for subject in own_subjects(scene):
        found.update(dict.fromkeys(trouble.pod for trouble in troubles(scene, subject)))
        found.update(dict.fromkeys(ref for ref, pod in subject.pods if pods.is_unready(pod)))
        found.update(dict.fromkeys(scene.topology.dependents(subject.ref)))
    if scene.target.kind == "Node":
        found = {scene.target: None}
        for ref in scene.topology.into(scene.target, Relation.RUNS_ON):
            if pods.is_unready(scene.get(ref) or {}):
                found.setdefault(ref)
    return list(found)[:_MOST_REFS]


def _examined(scene: Scene) -> list[ResourceRef]:
    """Every object that was read, the nearest to the target first."""
    distances = scene.topology.distances(scene.target)
    refs = []
    for key in scene.objects:
        cluster, namespace, kind, name = key.split(":", 3)
        refs.append(ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name))
    return sorted(refs, key=lambda ref: (distances.get(ref, 99), str(ref)))[:_MOST_REFS]
