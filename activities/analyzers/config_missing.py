"""Containers that cannot be created because a ConfigMap, a Secret or a key of one is not there."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_event, cite_release, cite_waiting, cite_write, events_of, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, subjects, template_spec, troubles
from cortexops.domain.job_runs import by_deadline, removed_pods, unresolved
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.absences import absence
from cortexops.domain.kubernetes.references import config_uses
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.releases import release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene

_MOUNTED_KEY = re.compile(
    r"(?i)volume \"([^\"]+)\" ?: .*?references non-existent (config|secret) key: (\S+)", re.DOTALL
)
_EXPLAINS = (
    Category.CRASH,
    Category.CRASH_SINCE_RELEASE,
    Category.BAD_ROLLOUT,
    Category.READINESS_PROBE,
    Category.STUCK_POD,
    Category.DEPENDENCY_DOWN,
    Category.SERVICE_MISROUTED,
    Category.JOB_DEADLINE_EXCEEDED,
    Category.JOB_FAILED,
)
_RAN = ("Created", "Started")


@analyzer("config_missing")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        said: dict[tuple[str, str, str], list[str]] = {}
        holder: dict[tuple[str, str, str], tuple[str, str]] = {}
        for trouble in troubles(scene, subject):
            missing = absence(trouble.state.waiting_message)
            if trouble.state.waiting in pods.CONFIG_REASONS and missing is not None:
                said.setdefault(missing, []).append(cite_waiting(book, trouble))
                holder.setdefault(missing, (trouble.pod.name, trouble.state.name))
        stuck = {ref for ref, pod in subject.pods if pods.phase(pod) == "Pending" or pods.is_unready(pod)}
        stuck |= _stopped(scene, subject)
        for event in events_of(scene, subject, "FailedMount", "Failed"):
            missing = absence(event.message) or _missing_in_volume(subject, event.message)
            if missing is not None and event.about in stuck:
                said.setdefault(missing, []).append(cite_event(book, event))
                holder.setdefault(missing, (event.about.name, ""))
        for (kind, name, key), evidence in said.items():
            pod, container = holder[kind, name, key]
            found.append(_hypothesis(scene, book, subject, kind, name, key, pod, container, evidence))
    return found


def _stopped(scene: Scene, subject: Subject) -> set[ResourceRef]:
    """Pods that a Job's deadline removed before a container of theirs was created."""
    job = by_deadline(scene, subject)
    gone = removed_pods(scene, job[0]) if job is not None else set()
    return {event.about for event in unresolved(scene, gone, ("FailedMount", "Failed"), _RAN)}


def _missing_in_volume(subject: Subject, message: str) -> tuple[str, str, str] | None:
    """The kubelet names the volume and the key; which object it is, the pod's spec tells."""
    match = _MOUNTED_KEY.search(message)
    if match is None:
        return None
    volume, kind, key = match.group(1), match.group(2).lower(), match.group(3).rstrip(".,")
    for each in objects(template_spec(subject), "volumes"):
        if text(each, "name") != volume:
            continue
        for source in (each, *objects(each, "projected", "sources")):
            place = mapping(source, "configMap" if kind == "config" else "secret")
            name = text(place, "secretName") or text(place, "name")
            keys = {text(item, "key") for item in objects(place, "items")}
            if name and (key in keys or source is each):
                return ("ConfigMap" if kind == "config" else "Secret"), name, key
    return None


def _hypothesis(
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    kind: str,
    name: str,
    key: str,
    pod: str,
    container: str,
    evidence: list[str],
) -> Hypothesis:
    ref = scene.ref(kind, subject.ref.namespace, name)
    obj = scene.get(ref)
    facts = {kind.lower(): name, "key": key, "pod": pod, "container": container}
    evidence = list(dict.fromkeys(evidence))[:3]
    precedes = None
    release = release_of(scene, subject)
    if release is not None:
        used_before = {(use.kind, use.name, use.key) for use in config_uses(mapping(release.before, "spec"))}
        new = (kind, name, key) not in used_before and (kind, name, "") not in used_before
        if new and release.precedes(scene.onset):
            evidence.append(cite_release(book, subject, release))
            facts |= release.facts()
            precedes = True
    write = meta.last_write(obj) if obj is not None else None
    if key and write is not None and write.at > (meta.created(obj or {}) or write.at):
        evidence.append(cite_write(book, ref, f"{ref} was changed", write))
        precedes = True if write.at <= scene.onset else precedes
    what = f"key {key} is missing in {ref}" if key else f"{ref} does not exist"
    since = f"; revision {facts['revision']} began to use it" if "revision" in facts else ""
    return Hypothesis(
        resource=ref,
        category=Category.CONFIG_MISSING,
        summary=f"{what}: pods of {subject.ref} cannot start{since}",
        support=support(subject, 1.0, precedes=precedes, steps=1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        container=container,
        facts={name: value for name, value in facts.items() if value},
    )
