"""Workloads that run into locks of their database, or wait for it for long, and the one Job that works on it at the
same time."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
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
    subjects,
    template_spec,
)
from cortexops.domain.job_runs import ended
from cortexops.domain.kubernetes import commands, last_words, locks, meta
from cortexops.domain.kubernetes.values import moment
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of

_LATELY = timedelta(hours=2)
_SLACK = timedelta(minutes=2)
_WRITES = re.compile(
    r"(?i)(\bupdat(?:e|ing)\b|\bdelet(?:e|ing)\b|\binsert(?:ing)?\b|\bmerg(?:e|ing)\b|\bupsert|\brows?\b"
    r"|\bselect\b.{1,200}\bfrom\b|\bfull scan\b)"
)
_TOLD, _BESIDE = 0.66, 0.56
_EXPLAINS = (Category.CRASH, Category.DEPENDENCY_DOWN, Category.CONNECTION_SATURATION)


@analyzer("batch_beside")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    for subject in subjects(scene):
        if subject.ref.kind in ("Job", "CronJob") or not (is_troubled(scene, subject) or serves_badly(scene)):
            continue
        for pod, container, previous, lines in log_lines(scene, subject):
            said = locks.contended(lines)
            late = [] if said or _locked(scene) else [*locks.gave_up(lines), *locks.slow_statements(lines)]
            said = said or late
            job = _beside(scene, subject) if said and not previous else None
            if job is not None:
                tells = "tells that statements take too long" if late else "tells that it runs into locks"
                cited = cite_log(book, pod, container, previous, said, tells)
                found.setdefault(job.ref, _of(scene, book, subject, job, said, cited, late=bool(late)))
                break
    return list(found.values())


def _locked(scene: Scene) -> bool:
    """Whether anybody tells of locks: then they are what makes statements wait."""
    return any(locks.contended(log.lines) for log in scene.logs)


def _beside(scene: Scene, subject: Subject) -> Subject | None:
    """The only Job of its namespace that runs, began before the trouble and not long ago, and whose configuration
    names the same database; two that could be meant are none."""
    services = scene.topology.out(subject.ref, Relation.CALLS)
    found = []
    for ref, obj in scene.of_kind("Job"):
        since = moment(obj, "status", "startTime")
        if ref.namespace != subject.ref.namespace or since is None or scene.clocks_apart:
            continue
        if any(ended(obj, kind) for kind in ("Complete", "Failed")):
            continue
        if not scene.onset - _LATELY <= since <= scene.onset + _SLACK:
            continue
        job = subject_of(scene, ref, subject.distance + 1, subject.weight)
        named = database_hosts(template_spec(job), configs_of(scene, job), caches=False)
        own = database_hosts(template_spec(subject), configs_of(scene, subject), caches=False)
        if any(
            means_service(scene, host, service, ref.namespace)
            for host in named
            for service in services
            if any(means_service(scene, mine, service, subject.ref.namespace) for mine in own)
        ):
            found.append(job)
    return found[0] if len(found) == 1 else None


def _of(
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    job: Subject,
    said: list[str],
    cited: str,
    *,
    late: bool,
) -> Hypothesis:
    since = moment(job.obj, "status", "startTime")
    evidence = [
        cited,
        book.cite(
            EvidenceKind.STATUS,
            job.ref,
            f"{job.ref}, which works on the same database, is still running",
            at=since,
            command=commands.describe(job.ref),
        ),
    ]
    direct, does = _BESIDE, ""
    for pod, container, previous, lines in log_lines(scene, job):
        writes = [line for line in lines if _WRITES.search(line)]
        if writes and not previous:
            evidence.append(cite_log(book, pod, container, previous, writes, "tells what it does"))
            direct, does = _TOLD, f", saying “{last_words.telling(writes)}”"
            break
    above = meta.owner(job.obj)
    made = f" (of {above[0]} {above[1]})" if above is not None and above[0] == "CronJob" else ""
    began = f"{since:%Y-%m-%d %H:%M} UTC" if since is not None else "then"
    return Hypothesis(
        resource=job.ref,
        category=Category.STORE_LOADED if late else Category.LOCK_HELD,
        summary=f"{job.ref}{made} works on the database of {subject.ref} since {began}{does}; {subject.ref}"
        f" {'waits for its statements' if late else 'runs into locks'}: “{last_words.telling(said)}”. No other Job"
        f" does; that it {'slows them down' if late else 'holds them'} is not told",
        support=support(subject, direct, precedes=True, steps=2),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"job": job.ref.name},
    )
