"""Locks of a database that callers wait for, and the workload of the cluster that holds them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.callees import with_callees
from cortexops.domain.citing import cite_log, support
from cortexops.domain.databases import configs_of, database_hosts
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import (
    Subject,
    is_troubled,
    log_lines,
    means_service,
    serves_badly,
    template_spec,
)
from cortexops.domain.kubernetes import commands, last_words, locks, meta, pods
from cortexops.domain.kubernetes.values import moment, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import LogExcerpt, Scene
from cortexops.domain.seen import backing
from cortexops.domain.stores import seems_store
from cortexops.domain.topology import Relation

_WRITTEN = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,]\d+)?(?:Z| UTC)")
_SLACK = timedelta(minutes=2)
_KINDS = ("Job", "Deployment", "StatefulSet")
_INFERRED = 0.85
_EXPLAINS = (
    Category.CRASH, Category.DEPENDENCY_DOWN, Category.CONNECTION_SATURATION, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.BAD_ROLLOUT, Category.JOB_FAILED,
)  # fmt: skip


@analyzer("locks")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    for subject in _victims(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        for store, log in _stores_logs(scene, subject):
            own = _waits([line for _, _, _, told in log_lines(scene, subject) for line in told])
            for holder in locks.holders(log.lines):
                workloads = _who(scene, store, holder)
                inferred = not workloads
                workloads = workloads or _by_statement(scene, store, holder, log.lines)
                if len(workloads) != 1 or workloads[0] in (subject.ref, store):
                    continue  # nobody is known by that name, or several may be meant
                if _began_later(scene, workloads[0], holder.lines[0]):
                    continue  # a run before this one held it
                if own or subject.ref == store:
                    found.setdefault(
                        workloads[0],
                        _of(scene, book, subject, store, log, holder, workloads[0], own, inferred=inferred),
                    )
                break  # who held one before that has let go of it
    return list(found.values())


def _stores_logs(scene: Scene, subject: Subject) -> Iterator[tuple[ResourceRef, LogExcerpt]]:
    """(store, log) of the stores that the subject calls, and of itself where it is one."""
    owners = {subject.ref} | {
        ref for service in scene.topology.out(subject.ref, Relation.CALLS) for ref in backing(scene, service)
    }
    for ref in sorted(owners, key=str):
        services = [each for each in scene.topology.into(ref, Relation.SELECTS) if each.kind == "Service"]
        obj = scene.get(ref) or {}
        if not any(seems_store(scene.get(each) or {}, [obj]) for each in services):
            continue
        own = {pod for pod, _ in scene.pods_of(ref)}
        yield from ((ref, log) for log in scene.logs if log.pod in own and not log.previous)


def _victims(scene: Scene) -> list[Subject]:
    """The subjects, and those whom they complain about and who say themselves that statements take too long."""

    def waits(callee: Subject) -> bool:
        return any(_waits(lines) for _, _, _, lines in log_lines(scene, callee))

    return [each.subject for each in with_callees(scene, waits)]


def _waits(lines: Sequence[str]) -> list[str]:
    """Complaints that a lock was waited for, or a statement took too long."""
    return locks.waits_for_lock(lines) or locks.gave_up(lines)


def _who(scene: Scene, store: ResourceRef, holder: locks.Holder) -> list[ResourceRef]:
    """The workloads that run and go by one of the names, or whose pods have one as their address or name; where
    the database gives none, those that say themselves that they are one of its processes and take locks."""
    found: dict[ResourceRef, None] = {}
    for kind in _KINDS:
        for ref, obj in scene.of_kind(kind):
            if ref == store or _over(obj):
                continue
            above = meta.owner(obj)
            called = {ref.name, *([above[1]] if above is not None and above[0] == "CronJob" else [])}
            for pod, live in scene.pods_of(ref):
                called |= {pod.name, text(live, "status", "podIP")}
            by_process = not holder.names and any(
                locks.goes_by(holder.pids, log.lines)
                for pod, _ in scene.pods_of(ref)
                for log in scene.logs
                if log.pod == pod and not log.previous
            )
            if called & holder.names or by_process:
                found[ref] = None
    return list(found)


def _by_statement(
    scene: Scene, store: ResourceRef, holder: locks.Holder, lines: Sequence[str]
) -> list[ResourceRef]:
    """Where the database names nobody: the Jobs that run since before it told of the holder first, are configured
    for this very database, and write themselves that they lock tables. More than one may be meant, and is none."""
    if holder.names:
        return []
    first = next(
        each.lines[0] for line in lines for each in locks.holders([line]) if each.pids == holder.pids
    )
    services = [each for each in scene.topology.into(store, Relation.SELECTS) if each.kind == "Service"]
    found = []
    for ref, obj in scene.of_kind("Job"):
        job = Subject(ref, obj, tuple(scene.pods_of(ref)))
        told = [line for _, _, previous, lines in log_lines(scene, job) if not previous for line in lines]
        if _over(obj) or not locks.locks_tables(told) or _began_later(scene, ref, first):
            continue
        named = database_hosts(template_spec(job), configs_of(scene, job), caches=False)
        if any(means_service(scene, host, each, ref.namespace) for host in named for each in services):
            found.append(ref)
    return found


def _began_later(scene: Scene, ref: ResourceRef, line: str) -> bool:
    """Whether the Job started after the line was written, as far as both tell the time."""
    since = moment(scene.get(ref) or {}, "status", "startTime")
    written = _WRITTEN.match(line)
    if since is None or written is None or scene.clocks_apart:
        return False
    at = moment({"at": f"{written.group(1)}T{written.group(2)}Z"}, "at")
    return at is not None and since > at + _SLACK


def _over(obj: JSON) -> bool:
    return any(meta.condition(obj, kind).status == "True" for kind in ("Complete", "Failed"))


def _of(
    scene: Scene, book: EvidenceBook, subject: Subject, store: ResourceRef, log: LogExcerpt, holder: locks.Holder,
    ref: ResourceRef, own: list[str], *, inferred: bool,
) -> Hypothesis:  # fmt: skip
    evidence = [
        cite_log(book, log.pod, log.container, log.previous, holder.lines, f"names {ref} as holding the lock")
    ]
    for pod, container, previous, told in log_lines(scene, subject) if own else ():
        if waits := _waits(told):
            says = (
                "waits for a lock" if locks.waits_for_lock(told) else "gave up a statement that took too long"
            )
            evidence.append(cite_log(book, pod, container, previous, waits, f"tells that it {says}"))
            break
    obj = scene.get(ref) or {}
    since = moment(obj, "status", "startTime")
    if ref.kind == "Job":
        evidence.append(
            book.cite(
                EvidenceKind.STATUS, ref, f"{ref} is still running", at=since, command=commands.describe(ref)
            )
        )
    takes = ""
    holding = Subject(ref, obj, tuple(scene.pods_of(ref)))
    for pod, container, previous, told in log_lines(scene, holding):
        taken = locks.takes_locks(told)
        if taken and any(pods.is_ready(live) or ref.kind == "Job" for at, live in holding.pods if at == pod):
            evidence.append(cite_log(book, pod, container, previous, taken, "tells what it does"))
            takes = f", saying “{last_words.telling(taken)}”"
            break
    above = meta.owner(obj)
    made = f" (of {above[0]} {above[1]})" if above is not None and above[0] == "CronJob" else ""
    running = f", running since {since:%Y-%m-%d %H:%M} UTC," if since is not None else ""
    waiter = f"{subject.ref} waits" if own and subject.ref != store else "its clients wait"
    return Hypothesis(
        resource=ref,
        category=Category.LOCK_HELD,
        summary=f"{ref}{made}{running} holds a lock in {store} for which {waiter}{takes}"
        + (f"; {store} does not name it, and no other Job tells of locks there" if inferred else ""),
        support=support(
            subject,
            _INFERRED if inferred else 0.93 if takes else 0.82,
            precedes=True if since is not None and since <= scene.onset else None,
            steps=2,
        ),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"job": ref.name} if ref.kind == "Job" else {},
    )
