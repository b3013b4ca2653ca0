"""Chaos experiments in progress whose effect is what is complained about: on the workload, or on whom it calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_event, cite_log, events_of, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import (
    Subject,
    alerted_at,
    backing,
    blamed_links,
    complaints_about,
    is_troubled,
    log_lines,
    serves_badly,
    signal_types,
    subjects,
    troubles,
    unnamed_complaints,
)
from cortexops.domain.kubernetes import chaos, commands, complaints, hosts, meta, pods
from cortexops.domain.kubernetes.chaos import Effect
from cortexops.domain.own_release import broke_itself
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation

_CLOCKS = timedelta(minutes=1)
_SOON = timedelta(hours=2)  # what an experiment does shows at once, or when somebody next needs it
_AFTER_A_KILL = timedelta(minutes=15)  # pods have come back by then
_SYMPTOMS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN, Category.EXTERNAL_DEPENDENCY, Category.SERVICE_MISROUTED,
    Category.INIT_CONTAINER_FAILED, Category.STATEFULSET_STUCK, Category.JOB_FAILED,
    Category.CONNECTION_SATURATION, Category.PDB_BLOCKS_EVICTION,
)  # fmt: skip
_BESIDES: dict[Effect, tuple[Category, ...]] = {
    Effect.NETWORK: (Category.DNS_FAILURE, Category.NETWORK_POLICY),
    Effect.DNS: (Category.DNS_FAILURE, Category.NETWORK_POLICY),
    Effect.CPU: (Category.CPU_THROTTLING, Category.HPA_MAXED_OUT),
    Effect.MEMORY: (Category.OOM_LIMIT_TOO_LOW, Category.OOM_AFTER_RELEASE, Category.MEMORY_LEAK),
    Effect.IO: (Category.DISK_EXHAUSTED, Category.VOLUME_FULL),
    Effect.TIME: (Category.CERTIFICATE_EXPIRED, Category.SECRET_CHANGED),
    Effect.FAILURE: (Category.BAD_ENTRYPOINT, Category.IMAGE_NOT_FOUND, Category.REGISTRY_UNREACHABLE),
}
_OF_DISKS = re.compile(
    r"(?i)(input/output error|\beio\b|i/o error|read-only file system|no space left|errno)"
)
_OF_CLOCKS = re.compile(
    r"(?i)(expired|not yet valid|clock|skew|in the future|timestamp|token|jwt|certificate)"
)
_OTHER_STARTS = pods.PULL_REASONS | pods.CONFIG_REASONS | pods.START_REASONS


class _Proof(NamedTuple):
    """How directly the trouble shows what the experiment does, and what of it is cited."""

    direct: float
    evidence: tuple[str, ...]
    how: str


@analyzer("chaos_experiments")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    running = [
        (ref, obj)
        for kind in chaos.KINDS
        for ref, obj in scene.of_kind(kind)
        if chaos.is_running(kind, obj, alerted_at(scene)) and _in_time(scene, kind, obj)
    ]
    found: dict[ResourceRef, Hypothesis] = {}
    for subject in subjects(scene) if running else ():
        if broke_itself(scene, subject):
            continue
        for ref, obj in running:
            proof = _on_itself(scene, book, subject, ref, obj) or _on_a_call(scene, book, subject, ref, obj)
            if proof is not None and ref not in found:
                found[ref] = _hypothesis(scene, book, subject, ref, obj, proof)
    children = {obj_owner for ref, obj in running if ref in found if (obj_owner := meta.owner(obj))}
    return [h for ref, h in found.items() if (ref.kind, ref.name) not in children]


def _in_time(scene: Scene, kind: str, obj: JSON) -> bool:
    """Whether it began before the trouble did; what strikes once, shortly before."""
    since = chaos.began(kind, obj)
    if since is None or since > scene.onset + _CLOCKS:
        return False
    if Effect.KILL not in chaos.effects(kind, obj):
        return True
    struck = chaos.last_struck(kind, obj) or since
    return scene.onset - max(since, min(struck, scene.onset)) <= _AFTER_A_KILL


def _on_itself(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, obj: JSON
) -> _Proof | None:
    """It acts on the subject's own pods, and they suffer as from this."""
    if subject.ref not in scene.topology.out(ref, Relation.ACTS_ON) or chaos.pair(ref.kind, obj) is not None:
        return None
    how = f"acts on pods of {subject.ref}"
    effects = chaos.effects(ref.kind, obj)
    hit = set(scene.topology.out(ref, Relation.ACTS_ON))
    others = {
        line for link in blamed_links(scene, subject) if not hit & {*link.workloads} for line in link.lines
    }
    for pod, container, previous, lines in log_lines(scene, subject):
        said = _telling(ref.kind, obj, [line for line in lines if line not in others])
        if said:
            return _Proof(1.0, (cite_log(book, pod, container, previous, said, "tells of it"),), how)
    another = (
        bool(others) and Effect.FAILURE not in effects
    )  # it suffers from somebody who is down by himself
    if another or chaos.outside(ref.kind, obj) or not _suffers(scene, subject, effects):
        return None
    return _Proof(0.95, _seen(scene, book, subject), how)


def _telling(kind: str, obj: JSON, lines: Sequence[str]) -> list[str]:
    """The lines in which a program says what such an experiment does to it."""
    effects, found = chaos.effects(kind, obj), []
    if Effect.NETWORK in effects:
        far = chaos.outside(kind, obj)
        found += [line for line in _dropped(lines) if not far or any(host in line.lower() for host in far)]
    if Effect.DNS in effects:
        lost = dict.fromkeys([*complaints.resolving(lines), *complaints.no_such_name(lines)])
        found += [line for line in lost if _fits_patterns(chaos.patterns(kind, obj), line)]
    wrong = complaints.complaining(lines)
    found += [line for line in wrong if Effect.IO in effects and _OF_DISKS.search(line)]
    return found + [line for line in wrong if Effect.TIME in effects and _OF_CLOCKS.search(line)]


def _dropped(lines: Sequence[str]) -> list[str]:
    """Complaints as of packets that are late, lost or spoilt; who refuses a connection was reached."""
    return [line for line in complaints.unreachable(lines) if "refused" not in line.lower()]


def _fits_patterns(patterns: list[str], line: str) -> bool:
    named = hosts.hosts_in_line(line)
    return not patterns or any(fnmatchcase(host, p.rstrip(".")) for p in patterns for host in named)


def _on_a_call(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, obj: JSON
) -> _Proof | None:
    """It acts on whom the subject calls, or on what passes between the two, and the subject complains of them."""
    hit = set(scene.topology.out(ref, Relation.ACTS_ON))
    other = set(scene.topology.out(ref, Relation.OTHER_END))
    effects = chaos.effects(ref.kind, obj) - {Effect.DNS}
    paired = chaos.pair(ref.kind, obj) is not None
    if not effects or chaos.outside(ref.kind, obj):
        return None
    for service in scene.topology.out(subject.ref, Relation.CALLS):
        behind = set(backing(scene, service)) - {subject.ref}
        there = behind & hit and (not paired or subject.ref in other)
        back = paired and behind & other and subject.ref in hit
        if not (there or back) or not all(_like_it(scene, each, effects) for each in behind & hit):
            continue
        how = f"acts on {service}, which {subject.ref} calls"
        if paired:
            how = f"acts on what passes between {subject.ref} and {service}"
        for pod, container, previous, lines in log_lines(scene, subject):
            said = complaints_about(scene, subject, service, lines)
            said = _dropped(said) if effects == {Effect.NETWORK} else said
            if said:
                cited = cite_log(book, pod, container, previous, said, f"complains about {service}")
                return _Proof(1.0, (cited,), how)
        unsaid = serves_badly(scene) and not is_troubled(scene, subject)
        if unsaid and unnamed_complaints(scene, subject) is not None:
            return _Proof(0.8, (), how)
    return None


def _like_it(scene: Scene, ref: ResourceRef, effects: frozenset[Effect]) -> bool:
    """Whether whom it acts on is well as far as can be seen, or is not for another reason."""
    its = Subject(ref, scene.get(ref) or {}, tuple(scene.pods_of(ref)))
    return not is_troubled(scene, its) or _suffers(scene, its, effects)


def _suffers(scene: Scene, subject: Subject, effects: frozenset[Effect]) -> bool:
    """Whether the state of the pods is what such an experiment brings about, and nothing else."""
    bad = list(troubles(scene, subject))
    ends = [end for case in bad for end in (case.state.ended, case.state.last) if end is not None]
    own = _own_fault(scene, subject)
    if Effect.FAILURE in effects:
        return not own and (bool(bad) or is_troubled(scene, subject) or serves_badly(scene))
    if any(case.state.waiting in _OTHER_STARTS for case in bad):
        return False
    if any(end.out_of_memory for end in ends):
        return Effect.MEMORY in effects
    killed = all(end.code in (pods.SIGKILL_EXIT, pods.SIGTERM_EXIT, 0, -1) for end in ends)
    if Effect.KILL in effects:
        return killed and not own and (is_troubled(scene, subject) or serves_badly(scene) or bool(ends))
    if effects <= {Effect.DNS, Effect.TIME, Effect.IO} and SignalType.LATENCY not in signal_types(scene):
        return False  # who suffers from these says so
    if not killed or own or Effect.DNS in effects:
        return False
    return is_troubled(scene, subject) or serves_badly(scene)


def _own_fault(scene: Scene, subject: Subject) -> bool:
    """Whether the program tells of a fault of its own."""
    return any(complaints.own_fault(lines) for *_, lines in log_lines(scene, subject))


def _seen(scene: Scene, book: EvidenceBook, subject: Subject) -> tuple[str, ...]:
    return tuple(cite_event(book, event) for event in events_of(scene, subject, "Unhealthy", "Killing")[:2])


def _hypothesis(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, obj: JSON, proof: _Proof
) -> Hypothesis:
    since = chaos.began(ref.kind, obj)
    soon = since is not None and scene.onset - since <= _SOON
    what = chaos.action(ref.kind, obj)
    cited = book.cite(
        EvidenceKind.CHANGE,
        ref,
        f"{ref} ({what}) is in progress and {proof.how}",
        at=since,
        excerpt=str({"spec": obj.get("spec"), "status": obj.get("status")}),
        command=commands.show(ref),
    )
    effects = chaos.effects(ref.kind, obj)
    owner = meta.owner(obj)
    schedule = owner[1] if owner is not None and owner[0] == chaos.SCHEDULE else ""
    return Hypothesis(
        resource=ref,
        category=Category.CHAOS_EXPERIMENT,
        summary=f"{ref}, an experiment in progress ({what}), {proof.how}"
        + (f"; Schedule {schedule} started it and will start more" if schedule else ""),
        support=support(subject, proof.direct if soon else 0.65 * proof.direct, precedes=True, steps=1),
        evidence=(cited, *proof.evidence),
        explains=(*_SYMPTOMS, *(each for effect in sorted(effects) for each in _BESIDES.get(effect, ()))),
        facts={"experiment": what} | ({"schedule": schedule} if schedule else {}),
    )
