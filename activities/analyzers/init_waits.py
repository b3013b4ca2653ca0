"""Init containers that run and do not end: they wait for a lock, a migration, or for somebody who never comes."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_complaint, cite_condition, cite_log, cite_release, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, blamed_links, log_lines, seen_until, subjects
from cortexops.domain.kubernetes import commands, complaints, last_words, meta, pods
from cortexops.domain.kubernetes.values import text, words
from cortexops.domain.releases import release_of, runs
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.words import counted

_LAST = 5  # lines
_PATIENCE = timedelta(minutes=5)
_EXPLAINS = (
    Category.BAD_ROLLOUT, Category.READINESS_PROBE, Category.STUCK_POD, Category.DEPENDENCY_DOWN,
    Category.STATEFULSET_STUCK,
)  # fmt: skip
_SIDECAR = "Always"  # the restart policy of an init container that is meant to go on running


@analyzer("init_waits")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found = []
    for subject in subjects(scene):
        awaited = _awaited(scene, book, subject)
        if awaited is not None:
            found.append(awaited)
        waiting = _waiting(scene, subject)
        if waiting is not None and not blamed_links(scene, subject):
            found.append(_of(scene, book, subject, *waiting))
    return found


def _awaited(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """A Job that failed for good, and that an init container which has not ended names."""
    failed = [
        (ref, job)
        for ref, job in scene.of_kind("Job")
        if ref.namespace == subject.ref.namespace and meta.condition(job, "Failed").status == "True"
    ]
    for pod, obj in subject.pods if failed else ():
        if not pods.is_unready(obj) or meta.deleting_since(obj) is not None:
            continue
        for state in pods.container_states(obj):
            if not state.init or state.ready:
                continue
            spec = pods.spec_of(obj, state.name)
            told = " ".join([*words(spec, "command"), *words(spec, "args")])
            for ref, job in failed:
                logged = [
                    (container, previous, named)
                    for its_pod, container, previous, lines in log_lines(scene, subject)
                    if its_pod == pod and container == state.name
                    if (named := [line for line in lines[-_LAST:] if complaints.names(line, ref.name)])
                ]
                if logged or complaints.names(told, ref.name):
                    return _of_job(scene, book, subject, pod, state, ref, job, logged)
    return None


def _of_job(
    scene: Scene, book: EvidenceBook, subject: Subject, pod: ResourceRef, state: pods.ContainerState,
    ref: ResourceRef, job: JSON, logged: list[tuple[str, bool, list[str]]],
) -> Hypothesis:  # fmt: skip
    condition = meta.condition(job, "Failed")
    evidence = [cite_condition(book, ref, condition)]
    if logged:
        evidence.append(cite_log(book, pod, *logged[0], f"tells that it waits for {ref.name}"))
    else:
        evidence.append(
            book.cite(
                EvidenceKind.CONFIG, pod, f"init container {state.name} of {pod} waits for {ref}",
                command=commands.describe(pod),
            )
        )  # fmt: skip
    cited, said = cite_complaint(book, scene, Subject(ref, job, tuple(scene.pods_of(ref))))
    evidence += cited
    release = release_of(scene, subject)
    if release is not None and release.precedes(scene.onset):
        evidence.append(cite_release(book, subject, release))
    return Hypothesis(
        resource=ref,
        category=Category.JOB_FAILED,
        summary=f"{ref}, for which init container {state.name} of {subject.ref} waits, failed and is not tried again"
        f" ({condition.reason or 'failed'}){said}: the containers behind it do not start",
        support=support(subject, 0.95 if said else 0.9, steps=1),
        evidence=tuple(evidence),
        explains=(*_EXPLAINS, Category.INIT_CONTAINER_FAILED, Category.CRASH, Category.CRASH_SINCE_RELEASE),
        facts={"job": ref.name},
    )


def _waiting(scene: Scene, subject: Subject) -> tuple[ResourceRef, pods.ContainerState, timedelta] | None:
    """The pod, its init container, and how long that has been running."""
    now = seen_until(scene)
    for ref, pod in subject.pods:
        if not pods.is_unready(pod) or meta.deleting_since(pod) is not None:
            continue
        for state in pods.container_states(pod):
            since = state.running_since
            meant = text(pods.spec_of(pod, state.name), "restartPolicy") == _SIDECAR
            if state.init and not meant and since is not None and now - since >= _PATIENCE:
                return ref, state, now - since
    return None


def _of(
    scene: Scene, book: EvidenceBook, subject: Subject, pod: ResourceRef, state: pods.ContainerState,
    ran: timedelta,
) -> Hypothesis:  # fmt: skip
    minutes = counted(int(ran.total_seconds() // 60), "minute")
    evidence = [
        book.cite(
            EvidenceKind.STATUS, pod, f"init container {state.name} of {pod} has run for {minutes}",
            at=state.running_since, command=commands.describe(pod),
        )
    ]  # fmt: skip
    last = ""
    for its_pod, container, previous, lines in log_lines(scene, subject):
        if its_pod == pod and container == state.name and not previous:
            said = complaints.waiting_for(lines) or complaints.complaining(lines) or list(lines[-1:])
            if said:
                evidence.append(cite_log(book, pod, container, previous, said, "tells what it waits for"))
                last = last_words.telling(said)
    release = release_of(scene, subject)
    precedes, since, facts = None, "", {"container": state.name, "pod": pod.name}
    if release is not None and runs(release, scene.get(pod) or {}) and release.precedes(scene.onset):
        evidence.append(cite_release(book, subject, release))
        precedes, facts = True, facts | release.facts()
        since = f" since revision {release.revision}"
    words = f", and says “{last}”" if last else ""
    return Hypothesis(
        resource=subject.ref,
        category=Category.INIT_CONTAINER_FAILED,
        summary=f"init container {state.name} of {subject.ref} has run for {minutes} and does not end{since}{words}:"
        " the containers after it do not start",
        support=support(subject, 0.85 if last else 0.7, precedes=precedes),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        container=state.name,
        facts=facts,
    )
