"""Pods that no node takes, and pods that a quota or an admission check refuses to let exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    cite_condition,
    cite_event,
    cite_release,
    cite_replicas,
    cite_write,
    events_of,
    support,
)
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, seen_until, subjects
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.placement import unselected
from cortexops.domain.kubernetes.refusals import Refuser, quota_of, refusal, undeclared
from cortexops.domain.kubernetes.values import dig, latest, mapping, moment, objects, text
from cortexops.domain.placement import raised_by, too_large
from cortexops.domain.preemption import taken
from cortexops.domain.releases import Release, changed, release_of, runs
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.words import counted

_EXPLAINS = (
    Category.BAD_ROLLOUT,
    Category.DEPENDENCY_DOWN,
    Category.READINESS_PROBE,
    Category.STUCK_POD,
    Category.SERVICE_MISROUTED,
    Category.JOB_FAILED,
    Category.JOB_DEADLINE_EXCEEDED,
)
_LATELY = timedelta(hours=24)
_PATIENCE = timedelta(minutes=3)
_DEFAULT = "default-scheduler"
_OF_KARPENTER = "Failed to schedule pod, "
_PLACEMENT = (
    "resources",
    "nodeSelector",
    "affinity",
    "tolerations",
    "topologySpread",
    "priorityClass",
    "volumes",
)


@analyzer("scheduling")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        found += _unscheduled(scene, book, subject)
        found += _refused(scene, book, subject)
    return found


def _unscheduled(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    pending = [
        (ref, pod, condition)
        for ref, pod in subject.pods
        if (condition := meta.condition(pod, "PodScheduled")).status == "False"
        and meta.deleting_since(pod) is None
    ]
    if not pending:
        return _unlooked_at(scene, book, subject)
    ref, pod, condition = pending[0]
    events = scene.events_about(ref, "FailedScheduling")
    message = condition.message or (events[0].message if events else "")
    evidence = [cite_condition(book, ref, condition)] + [cite_event(book, event) for event in events[:1]]
    facts = {"pod": ref.name, "message": message[:200]}
    resource, steps = subject.ref, 0
    if "persistentvolumeclaim" in message.lower() or "volume node affinity conflict" in message:
        return []  # the claim is at fault; see the analyzer of volumes
    category = Category.SCHEDULING
    cordoned = _cordoned(scene, pod) if "were unschedulable" in message else None
    if cordoned is not None:
        node, write = cordoned
        resource, steps, category = node, 1, Category.NODE_UNSCHEDULABLE
        facts["node"] = node.name
        evidence.append(
            book.cite(
                EvidenceKind.CHANGE if write else EvidenceKind.STATUS,
                node,
                f"{node} is cordoned" + (f" by {write.manager}" if write and write.manager else ""),
                at=write.at if write else None,
                command=commands.history(node),
            )
        )
    precedes = None
    release = release_of(scene, subject)
    moved = release is not None and release.precedes(scene.onset) and changed(release, *_PLACEMENT)
    tainted = _tainted(scene, message) if cordoned is None and not moved else None
    if tainted is not None:
        resource, taint, write = tainted
        steps, category, precedes = 1, Category.NODE_UNSCHEDULABLE, True
        facts |= {"node": resource.name, "taint": taint}
        says = f"{resource} carries the taint {taint}"
        evidence.append(cite_write(book, resource, says, write, unknown=EvidenceKind.STATUS))
    if release is not None and moved:
        precedes = True
        facts |= release.facts()
        evidence.append(cite_release(book, subject, release))
    why = message[:200].rstrip(". ") or "no node fits"
    if cordoned is None and tainted is None:
        large = _too_large(scene, subject, pod, message, release if moved else None, facts)
        taken_by, newcomer = (
            ("", None) if large else _preempted(scene, book, subject, message, evidence, facts)
        )
        why = large or taken_by or why
        if newcomer is not None and not moved:
            resource, steps, precedes = newcomer, 1, True  # room was enough until it came
    not_added = _not_added(scene, book, ref, evidence)
    return [
        Hypothesis(
            resource=resource,
            category=category,
            summary=f"{counted(len(pending), 'pod')} of {subject.ref} cannot be scheduled: {why}"
            + (f"; {resource}, which would fit, is cordoned (unschedulable)" if cordoned else "")
            + (f"; {resource} was tainted {facts['taint']} shortly before" if "taint" in facts else "")
            + not_added,
            support=support(subject, 1.0, precedes=precedes, steps=steps),
            evidence=tuple(evidence),
            explains=_EXPLAINS,
            facts=facts,
        )
    ]


def _unlooked_at(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    """Pods that ask for a scheduler of their own, which has said nothing of them: mostly there is none of that name."""
    for ref, pod in subject.pods:
        name = text(pod, "spec", "schedulerName")
        born = meta.created(pod)
        waits = text(pod, "status", "phase") == "Pending" and not pods.node_name(pod)
        if not waits or name in ("", _DEFAULT) or meta.condition(pod, "PodScheduled").status:
            continue
        young = born is None or (not scene.clocks_apart and seen_until(scene) - born < _PATIENCE)
        if young or meta.deleting_since(pod) is not None:
            continue
        says = f"{ref} asks for the scheduler {name}, which has not looked at it"
        evidence = [book.cite(EvidenceKind.STATUS, ref, says, at=born, command=commands.describe(ref))]
        release = release_of(scene, subject)
        moved = release is not None and release.precedes(scene.onset) and changed(release, "schedulerName")
        if release is not None and moved:
            evidence.append(cite_release(book, subject, release))
        return [
            Hypothesis(
                resource=subject.ref,
                category=Category.SCHEDULING,
                summary=f"pods of {subject.ref} wait for the scheduler {name} (schedulerName), which has not looked at"
                " them: it does not run, or there is none of that name",
                support=support(subject, 0.9, precedes=True if moved else None),
                evidence=tuple(evidence),
                explains=_EXPLAINS,
                facts={"pod": ref.name, "scheduler": name, **(release.facts() if release and moved else {})},
            )
        ]
    return []


def _not_added(scene: Scene, book: EvidenceBook, pod: ResourceRef, evidence: list[str]) -> str:
    """Why an autoscaler adds no node for the pod, in its words; empty where it has not spoken of it."""
    for event in scene.events_about(pod, "NotTriggerScaleUp", "FailedScheduling"):
        if event.reason == "NotTriggerScaleUp" or event.message.startswith(_OF_KARPENTER):
            evidence.append(cite_event(book, event))
            return f"; no node is added: {event.message[:200].rstrip('. ')}"
    return ""


def _too_large(
    scene: Scene, subject: Subject, pod: JSON, message: str, release: Release | None, facts: dict[str, str]
) -> str:
    """What the pod asks for that no node has, and the release that raised it; empty where it would fit on one."""
    found = too_large(scene, pod, message)
    if found is None:
        return ""
    facts |= {"resource": found.resource, "requested": found.asked, "largest": found.largest}
    raised = raised_by(release, found.resource) if release is not None and runs(release, pod) else ""
    said = f"; revision {release.revision} raised the request{raised}" if release and raised else ""
    return f"{found.words}{said} ({_briefly(message)})"


def _preempted(
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    message: str,
    evidence: list[str],
    facts: dict[str, str],
) -> tuple[str, ResourceRef | None]:
    """Who took the place that pods of the subject had; empty where it is not for lack of room, or not so. Beside it
    the workload that took it, where that was made or changed shortly before."""
    if "Insufficient" not in message and "Too many pods" not in message:
        return "", None
    lately = [
        event
        for event in events_of(scene, subject, "Preempted")
        if event.last is None or event.last >= scene.onset - _LATELY
    ]
    found = taken(scene, lately)
    if found is None:
        return "", None
    evidence.append(cite_event(book, found.event))
    newcomer = None
    who = "pods of a higher priority"
    if found.workload is not None and found.pod is not None:
        of_class = f"PriorityClass {found.priority_class}, " if found.priority_class else ""
        who = f"{found.workload} ({of_class}priority {found.priority})"
        facts |= {"preemptor": found.workload.name, "priority_class": found.priority_class}
        newcomer = found.workload if _came_lately(scene, found.workload) else None
        evidence.append(
            book.cite(
                EvidenceKind.CONFIG, found.pod, f"{found.pod} has {of_class}priority {found.priority}",
                command=commands.show(found.pod),
            )
        )  # fmt: skip
    says = f"pods of it were preempted by {who}, and no room is left for them ({_briefly(message)})"
    return says, newcomer


def _came_lately(scene: Scene, workload: ResourceRef) -> bool:
    """Whether the workload was made, or its pods were asked for anew, in the day before the trouble."""
    live = scene.get(workload) or {}
    write = meta.writes(live, "spec", "template")
    times = (meta.created(live), write.at if write is not None else None)
    return any(at is not None and scene.onset - _LATELY <= at <= scene.onset for at in times)


def _briefly(message: str) -> str:
    """Why no node fits, without what preemption would change about it."""
    return message.partition(" preemption:")[0][:160].rstrip(". ")


def _tainted(scene: Scene, message: str) -> tuple[ResourceRef, str, meta.Write | None] | None:
    """The node that somebody tainted shortly before, where the scheduler names that taint: the last one.

    Taints of Kubernetes' own follow conditions of the node, which are told of elsewhere.
    """
    found: list[tuple[datetime, ResourceRef, str, meta.Write | None]] = []
    for ref, node in scene.of_kind("Node"):
        write = meta.writes(node, "spec", "taints")
        for taint in objects(node, "spec", "taints"):
            key, value = text(taint, "key"), text(taint, "value")
            at = moment(taint, "timeAdded") or (write.at if write else None)
            named = f"untolerated taint {{{key}: {value}}}" in message
            own = "kubernetes.io/" in key
            if named and not own and at is not None and scene.onset - _LATELY <= at <= scene.onset:
                found.append((at, ref, f"{key}{'=' if value else ''}{value}:{text(taint, 'effect')}", write))
    if not found:
        return None
    last = max(found, key=lambda item: (item[0], item[1].name))
    return last[1:]


def _cordoned(scene: Scene, pod: JSON) -> tuple[ResourceRef, meta.Write | None] | None:
    """The cordoned node that the pod's node selector would choose, the one cordoned last."""
    found: list[tuple[datetime, ResourceRef, meta.Write | None]] = []
    for ref, node in scene.of_kind("Node"):
        if dig(node, "spec", "unschedulable") is True and not unselected(node, mapping(pod, "spec")):
            write = meta.writes(node, "spec", "unschedulable")
            added = [
                moment(taint, "timeAdded")
                for taint in objects(node, "spec", "taints")
                if text(taint, "key") == "node.kubernetes.io/unschedulable"
            ]
            at = (write.at if write else None) or latest(*added) or datetime.min.replace(tzinfo=UTC)
            found.append((at, ref, write))
    if not found:
        return None
    _, ref, write = max(found, key=lambda item: (item[0], item[1].name))
    return ref, write


def _new_quota(scene: Scene, quota: ResourceRef) -> bool | None:
    """True where the quota was made or changed before the trouble, and not long before."""
    live = scene.get(quota) or {}
    write = meta.writes(live, "spec", "hard")
    at = (write.at if write else None) or meta.created(live)
    return True if at is not None and scene.onset - _LATELY <= at <= scene.onset else None


def _refused(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    """The controller may not create the pods: quota, limit range, an admission webhook."""
    wanted, ready = pods.wanted_replicas(subject.obj), pods.ready_replicas(subject.obj)
    failure = meta.condition(subject.obj, "ReplicaFailure")
    events = events_of(scene, subject, "FailedCreate")
    if not subject.obj or (failure.status != "True" and (ready >= wanted or not events)):
        return []
    message = failure.message if failure.status == "True" else events[0].message
    evidence = [cite_condition(book, subject.ref, failure)] if failure.status == "True" else []
    evidence += [cite_event(book, event) for event in events[:1]]
    evidence.append(cite_replicas(book, subject, ready, wanted))
    refusing = quota_of(message)
    if not refusing and refusal(message).by is not Refuser.OTHER:
        return []  # who refuses is known, and not a matter of room
    if not refusing:
        return [
            Hypothesis(
                resource=subject.ref,
                category=Category.SCHEDULING,
                summary=f"pods of {subject.ref} are refused when they are created: {message[:200]}",
                support=support(subject, 0.9),
                evidence=tuple(evidence),
                explains=_EXPLAINS,
            )
        ]
    quota = scene.ref("ResourceQuota", subject.ref.namespace, refusing)
    demanded = undeclared(message)
    if demanded:
        evidence.append(
            book.cite(
                EvidenceKind.CONFIG, quota, f"{quota} demands that pods declare what it counts",
                command=commands.show(quota),
            )
        )  # fmt: skip
        return [
            Hypothesis(
                resource=quota,
                category=Category.QUOTA_EXCEEDED,
                summary=f"{quota} refuses pods that do not declare {demanded[:160]}: {subject.ref} has {ready} of"
                f" {wanted} pods",
                support=support(subject, 1.0, precedes=_new_quota(scene, quota), steps=1),
                evidence=tuple(evidence),
                explains=(*_EXPLAINS, Category.SCHEDULING),
                facts={"quota": quota.name, "undeclared": demanded[:160]},
            )
        ]
    evidence.append(
        book.cite(
            EvidenceKind.STATUS,
            quota,
            f"{quota} leaves no room",
            excerpt=str((scene.get(quota) or {}).get("status") or message),
            command=commands.describe(quota),
        )
    )
    return [
        Hypothesis(
            resource=quota,
            category=Category.QUOTA_EXCEEDED,
            summary=f"{quota} is exhausted: {subject.ref} has {ready} of {wanted} pods ({message[:160]})",
            support=support(subject, 1.0, steps=1),
            evidence=tuple(evidence),
            explains=(*_EXPLAINS, Category.SCHEDULING),
            facts={"quota": quota.name},
        )
    ]
