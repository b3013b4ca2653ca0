"""StatefulSets that wait for one pod before they make or change the next."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    cite_complaint,
    cite_release,
    cite_replicas,
    cite_waiting,
    support,
)
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, subjects, template_spec, troubles
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.values import number, text
from cortexops.domain.releases import release_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_REVISION = "controller-revision-hash"
_OF_THE_OLD_TEMPLATE = (
    Category.IMAGE_NOT_FOUND, Category.IMAGE_PULL_DENIED, Category.REGISTRY_UNREACHABLE, Category.BAD_ENTRYPOINT,
    Category.WRONG_ARCHITECTURE, Category.CONFIG_MISSING, Category.CRASH, Category.CRASH_SINCE_RELEASE,
)  # fmt: skip


@analyzer("ordinals")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    return [found for subject in subjects(scene) if (found := _of(scene, book, subject)) is not None]


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    if subject.ref.kind != "StatefulSet" or text(subject.obj, "spec", "podManagementPolicy") == "Parallel":
        return None
    wanted, ready = pods.wanted_replicas(subject.obj), pods.ready_replicas(subject.obj)
    stuck = sorted(
        ((ref, pod) for ref, pod in subject.pods if pods.is_unready(pod)), key=lambda item: item[0].name
    )
    behind = (
        wanted > len(subject.pods)
        or number(subject.obj, "status", "updatedReplicas", default=wanted) < wanted
    )
    if ready >= wanted or not stuck or not behind:
        return None
    ref, pod = stuck[0]
    left = _left_behind(scene, book, subject, ref, pod)
    if left is not None:
        return left
    since = meta.condition(pod, "Ready").since
    evidence = [
        book.cite(
            EvidenceKind.STATUS, ref, f"{ref} is not ready, and the StatefulSet makes its pods in order",
            at=since, command=commands.describe(ref),
        ),
        cite_replicas(book, subject, ready, wanted),
    ]  # fmt: skip
    evidence += [cite_waiting(book, t) for t in troubles(scene, subject) if t.pod == ref and t.state.waiting]
    cited, said = cite_complaint(book, scene, subject, (ref,))
    evidence += cited
    release = release_of(scene, subject)
    precedes, facts, when = None, {"pod": ref.name}, ""
    if release is not None and release.precedes(scene.onset):
        evidence.append(cite_release(book, subject, release))
        precedes, when = True, f" since revision {release.revision}"
        facts |= release.facts()
    direct = 0.8 if precedes or said else 0.6
    return Hypothesis(
        resource=subject.ref,
        category=Category.STATEFULSET_STUCK,
        summary=f"{subject.ref} is stuck on {ref}{when}, which does not become ready{said}",
        support=support(subject, direct, precedes=precedes),
        evidence=tuple(evidence),
        explains=(Category.BAD_ROLLOUT, Category.READINESS_PROBE),
        facts=facts,
    )


def _left_behind(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, pod: JSON
) -> Hypothesis | None:
    """The template has been changed since, and the broken pod still has what it was before.

    A StatefulSet that makes its pods in order does not replace one that never became ready (Kubernetes' docs on
    StatefulSets, "Forced rollback"): whoever put the template right must delete the pod.
    """
    its, wanted = meta.labels(pod).get(_REVISION, ""), text(subject.obj, "status", "updateRevision")
    failing = [t for t in troubles(scene, subject) if t.pod == ref and t.state.waiting in pods.BAD_WAITING]
    if not its or not wanted or its == wanted or not failing:
        return None
    by_template = failing[0].state.waiting != pods.CRASH_LOOP
    template = {text(c, "name"): text(c, "image") for c in pods.containers(template_spec(subject))}
    state = failing[0].state
    now = template.get(state.name, "")
    other = f" with image {state.image}, the template names {now}" if now and now != state.image else ""
    evidence = (
        book.cite(
            EvidenceKind.STATUS, ref, f"{ref} is of revision {its}; the StatefulSet's is {wanted}",
            at=meta.created(pod), command=commands.show(ref),
        ),
        *(cite_waiting(book, trouble) for trouble in failing[:1]),
    )  # fmt: skip
    return Hypothesis(
        resource=ref,
        category=Category.STUCK_POD,
        summary=f"{ref} still has revision {its}{other}: {subject.ref} waits for it, and does not replace a pod"
        " that was never ready when the template is changed; it must be deleted",
        support=support(
            subject, 1.0 if by_template else 0.6, precedes=True if by_template else None, steps=1
        ),
        evidence=evidence,
        explains=(*_OF_THE_OLD_TEMPLATE, Category.BAD_ROLLOUT, Category.READINESS_PROBE),
        facts={"pod": ref.name},
    )
