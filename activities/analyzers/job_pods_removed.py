"""Why the pods of a Job did not get on before its deadline removed them: their events outlast them."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, cite_event, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, own_subjects
from cortexops.domain.job_runs import by_deadline, image_user, removed_pods, unresolved
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.absences import absence
from cortexops.domain.kubernetes.values import number
from cortexops.domain.pulling import category_of, worded
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import EventFact, Scene

_EXPLAINS = (
    Category.JOB_DEADLINE_EXCEEDED, Category.JOB_FAILED, Category.STUCK_POD, Category.CRASH,
    Category.BAD_ROLLOUT,
)  # fmt: skip
_IMAGE = re.compile(r"(?:pull image|pulling image|inspect image|Container image) \"([^\"]+)\"")
_RAN = ("Started", "Created")
_AGAIN = 2  # times that a container was restarted before it counts as a crash loop
_MOUNTS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox")


@analyzer("job_pods_removed")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in own_subjects(scene):
        job = by_deadline(scene, subject)
        if job is None:
            continue
        gone = removed_pods(scene, job[0])
        for each in (_pulls, _places, _mounts, _crashes):
            hypothesis = each(scene, book, subject, job, gone)
            if hypothesis is not None:
                found.append(hypothesis)
                break  # in the order in which a pod goes through them: the first is where it stopped
    return found


def _pulls(
    scene: Scene, book: EvidenceBook, subject: Subject, job: tuple[ResourceRef, JSON], gone: set[ResourceRef]
) -> Hypothesis | None:
    events = [
        event
        for event in unresolved(
            scene, gone, ("Failed", "BackOff", "InspectFailed", "ErrImageNeverPull"), ("Pulled", *_RAN)
        )
        if _IMAGE.search(event.message)
    ]
    if not events:
        return None
    telling = sorted(events, key=lambda e: e.reason == "BackOff")  # the runtime's words before the wait
    match = _IMAGE.search(telling[0].message)
    image = match.group(1) if match else ""
    said = [event.message for event in events if image in event.message]
    category, sure = category_of(said)
    container = image_user(job[1], image)
    who = f"of container {container} of {job[0]}" if container else f"of {job[0]}"
    summary = f"image {image} {who} {worded(category, said)}{_so(job[1])}"
    return _hypothesis(book, subject, job, category, sure, summary, telling[:2], container, image=image)


def _places(
    scene: Scene, book: EvidenceBook, subject: Subject, job: tuple[ResourceRef, JSON], gone: set[ResourceRef]
) -> Hypothesis | None:
    events = [
        event
        for event in unresolved(scene, gone, ("FailedScheduling",), ("Scheduled", *_RAN))
        if "nodes are available" in event.message
    ]
    if not events:
        return None
    said = events[0].message[:200].rstrip(". ")
    summary = f"pods of {job[0]} could not be scheduled: {said}{_so(job[1])}"
    return _hypothesis(book, subject, job, Category.SCHEDULING, 1.0, summary, events[:1])


def _mounts(
    scene: Scene, book: EvidenceBook, subject: Subject, job: tuple[ResourceRef, JSON], gone: set[ResourceRef]
) -> Hypothesis | None:
    events = unresolved(scene, gone, _MOUNTS, _RAN)
    if not events or any(absence(event.message) for event in events):
        return None  # an object that is not there is told of elsewhere
    summary = f"pods of {job[0]} could not be set up: {events[0].message[:200].rstrip('. ')}{_so(job[1])}"
    return _hypothesis(book, subject, job, Category.STUCK_POD, 0.9, summary, events[:1])


def _crashes(
    scene: Scene, book: EvidenceBook, subject: Subject, job: tuple[ResourceRef, JSON], gone: set[ResourceRef]
) -> Hypothesis | None:
    events = [
        event
        for event in unresolved(scene, gone, ("BackOff",), (), "restarting failed container")
        if event.count >= _AGAIN
    ]
    if not events:
        return None
    summary = f"containers of {job[0]} crashed again and again ({events[0].message[:120]}){_so(job[1])}"
    return _hypothesis(book, subject, job, Category.JOB_FAILED, 0.85, summary, events[:1])


def _so(job: JSON) -> str:
    seconds = number(job, "spec", "activeDeadlineSeconds")
    return "; its deadline" + (f" of {seconds} s" if seconds else "") + " then ended it"


def _hypothesis(
    book: EvidenceBook,
    subject: Subject,
    job: tuple[ResourceRef, JSON],
    category: Category,
    direct: float,
    summary: str,
    events: list[EventFact],
    container: str = "",
    **facts: str,
) -> Hypothesis:
    evidence = [cite_event(book, event) for event in events]
    evidence.append(cite_condition(book, job[0], meta.condition(job[1], "Failed")))
    told = {"job": job[0].name, "pod": events[0].about.name, **facts}
    return Hypothesis(
        resource=subject.ref,
        category=category,
        summary=summary,
        support=support(subject, direct),
        evidence=tuple(evidence),
        explains=tuple(each for each in _EXPLAINS if each is not category),
        container=container,
        facts={key: value for key, value in told.items() if value},
    )
