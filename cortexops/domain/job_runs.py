"""Jobs that were ended, and what events still tell of pods that went with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from cortexops.domain.findings import Subject
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import EventFact, Scene
from cortexops.domain.topology import Relation

DEADLINE = "DeadlineExceeded"
CREATED = re.compile(r"^Created pod:? (\S+)")
"""The message of a Job's event about a pod that it made."""
_SUFFIX = re.compile(r"(?:\d+-)?[a-z0-9]{5}")  # what a Job appends to its name for a pod, after its index
_EARLIEST = datetime.min.replace(tzinfo=UTC)


def failed_job(scene: Scene, subject: Subject) -> tuple[ResourceRef, JSON] | None:
    """The Job that failed: the alert's own, else the newest one of a CronJob when it failed."""
    if subject.ref.kind == "Job":
        jobs = [(subject.ref, subject.obj)]
    else:
        jobs = jobs_of(scene, subject.ref)
        named = [job for job in jobs if any(s.resource == job[0] for s in scene.signals)]
        newest = jobs[:1]
        if newest and meta.condition(newest[0][1], "Complete").status == "True":
            return None  # a later run did it
        jobs = named or newest
    for ref, job in jobs:
        if meta.condition(job, "Failed").status == "True":
            return ref, job
    return None


def jobs_of(scene: Scene, cron_job: ResourceRef) -> list[tuple[ResourceRef, JSON]]:
    """The Jobs of a CronJob, the newest first."""
    owned = scene.topology.out(cron_job, Relation.OWNS)
    jobs = [(ref, obj) for ref in owned if ref.kind == "Job" and (obj := scene.get(ref)) is not None]
    return sorted(jobs, key=lambda job: text(job[1], "metadata", "creationTimestamp"), reverse=True)


def active_job(scene: Scene, cron_job: ResourceRef, obj: JSON) -> tuple[ResourceRef, JSON] | None:
    """The oldest Job that the CronJob's status calls active and that has not ended."""
    named = {text(each, "name") for each in objects(obj, "status", "active")}
    running = [
        (ref, job)
        for ref, job in jobs_of(scene, cron_job)
        if ref.name in named and not any(ended(job, kind) for kind in ("Complete", "Failed"))
    ]
    return running[-1] if running else None


def ended(job: JSON, kind: str) -> bool:
    return meta.condition(job, kind).status == "True"


def by_deadline(scene: Scene, subject: Subject) -> tuple[ResourceRef, JSON] | None:
    """The subject's Job, when its deadline ended it."""
    if subject.ref.kind not in ("Job", "CronJob"):
        return None
    found = failed_job(scene, subject)
    return found if found is not None and meta.condition(found[1], "Failed").reason == DEADLINE else None


def removed_pods(scene: Scene, job: ResourceRef) -> set[ResourceRef]:
    """Pods of the Job that are gone and of which events still tell: a deadline removes those that run."""
    made = {
        m.group(1) for e in scene.events_about(job, "SuccessfulCreate") if (m := CREATED.match(e.message))
    }
    return {
        event.about
        for event in scene.events
        if event.about.kind == "Pod"
        and event.about.namespace == job.namespace
        and scene.get(event.about) is None
        and (event.about.name in made or _is_child(event.about.name, job.name))
    }


def _is_child(pod: str, job: str) -> bool:
    return pod.startswith(f"{job}-") and _SUFFIX.fullmatch(pod[len(job) + 1 :]) is not None


def unresolved(
    scene: Scene, gone: set[ResourceRef], reasons: Sequence[str], over: Sequence[str], words: str = ""
) -> list[EventFact]:
    """Events of those reasons about removed pods that nothing followed which shows that it was got over (`over`),
    the newest first. `words` is a part of their message."""
    found = []
    for event in scene.events:
        if event.about not in gone or event.reason not in reasons or words not in event.message:
            continue
        since = scene.events_about(event.about, *over) if over else []
        if not any(_at(later) >= _at(event) for later in since):
            found.append(event)
    return sorted(found, key=_at, reverse=True)


def _at(event: EventFact) -> datetime:
    return event.last or event.first or _EARLIEST


def failures(subject: Subject, job: ResourceRef, until: datetime | None) -> int:
    """How often containers of the Job's pods that are still there failed by themselves before `until`."""
    number = 0
    for _, pod in subject.pods:
        if meta.owner(pod) != ("Job", job.name):
            continue
        for state in pods.container_states(pod):
            final = state.final
            if final is None or final.code in (0, -1, pods.SIGTERM_EXIT):
                continue
            if final.code == pods.SIGKILL_EXIT and not final.out_of_memory:
                continue  # so ends what the deadline stopped
            if until is None or final.at is None or final.at < until:
                number += max(1, state.restarts)
    return number


def image_user(job: JSON, image: str) -> str:
    """The container of the Job's template that runs the image."""
    spec = mapping(job, "spec", "template", "spec")
    return next((text(c, "name") for c in pods.containers(spec) if text(c, "image") == image), "")
