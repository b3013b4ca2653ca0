"""Pods that the API server refuses to create: a webhook, a LimitRange, a missing account, a dying namespace."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    cite_condition,
    cite_event,
    cite_release,
    cite_replicas,
    events_of,
    support,
)
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, subjects
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.refusals import Refusal, Refuser, refusal
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.releases import changed, release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_EXPLAINS = (
    Category.BAD_ROLLOUT, Category.DEPENDENCY_DOWN, Category.READINESS_PROBE, Category.STUCK_POD,
    Category.SERVICE_MISROUTED, Category.SCHEDULING, Category.CRASH, Category.STATEFULSET_STUCK,
    Category.CRASH_SINCE_RELEASE, Category.INIT_CONTAINER_FAILED, Category.CONFIG_MISSING,
)  # fmt: skip
_CATEGORIES = {
    Refuser.LIMIT_RANGE: Category.LIMIT_RANGE,
    Refuser.WEBHOOK_DENIED: Category.ADMISSION_WEBHOOK,
    Refuser.WEBHOOK_UNREACHABLE: Category.ADMISSION_WEBHOOK,
    Refuser.NAMESPACE: Category.NAMESPACE_TERMINATING,
    Refuser.SERVICE_ACCOUNT: Category.SERVICE_ACCOUNT_MISSING,
    Refuser.POD_SECURITY: Category.ADMISSION_DENIED,
}
_SHOWN = 260  # characters of a message
_LATELY = timedelta(hours=24)
_CONFIGURATIONS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")


@analyzer("refused_pods")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found = [h for subject in subjects(scene) if (h := _of(scene, book, subject)) is not None]
    if scene.target.kind == "Namespace":
        found += _namespace(scene, book)
    return found


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    wanted, ready = pods.wanted_replicas(subject.obj), pods.ready_replicas(subject.obj)
    failure = meta.condition(subject.obj, "ReplicaFailure")
    # pods of before may serve while the new ones are refused
    served = ready >= wanted and failure.status != "True"
    if not subject.obj or (subject.ref.kind not in ("Job", "CronJob") and served):
        return None
    events = events_of(scene, subject, "FailedCreate", "FailedCreatePod")
    messages = ([failure.message] if failure.status == "True" else []) + [event.message for event in events]
    told = [(refusal(message), message) for message in messages]
    told = [item for item in told if item[0].by in _CATEGORIES]
    if not told:
        return None
    its, message = told[0]
    evidence = [cite_condition(book, subject.ref, failure)] if failure.status == "True" else []
    evidence += [cite_event(book, event) for event in events[:1]]
    if subject.ref.kind not in ("Job", "CronJob"):
        evidence.append(cite_replicas(book, subject, ready, wanted))
    resource, facts, precedes = _who(scene, book, subject, its, evidence)
    return Hypothesis(
        resource=resource,
        category=_CATEGORIES[its.by],
        summary=f"{_what(its, resource, message)}: pods of {subject.ref} are refused ({_told(message)})",
        # a webhook whose own pods are down is named, and what is wrong with those pods stands before it
        support=support(
            subject,
            0.75 if _unread(its, resource) else 0.9 if _is_down(scene, its) else 1.0,
            precedes=precedes,
            steps=0 if resource == subject.ref else 1,
        ),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts=facts,
    )


def _is_down(scene: Scene, its: Refusal) -> bool:
    """Whether the pods behind a webhook's Service are known, and none of them is ready."""
    if its.service is None:
        return False
    behind = [
        live
        for ref in scene.topology.out(scene.ref("Service", *its.service), Relation.SELECTS)
        if ref.kind != "Pod" and (live := scene.get(ref)) is not None
    ]
    return bool(behind) and not any(pods.ready_replicas(live) for live in behind)


def _unread(its: Refusal, resource: ResourceRef) -> bool:
    """Whether a webhook refused and its configuration, which bears another name than the webhook, was not had."""
    webhook = its.by in (Refuser.WEBHOOK_DENIED, Refuser.WEBHOOK_UNREACHABLE)
    return webhook and resource.kind not in _CONFIGURATIONS


def _told(message: str) -> str:
    """The end of a long chain of causes: that is where it says why."""
    return message if len(message) <= _SHOWN else f"{message[:60]} … {message[-(_SHOWN - 60) :]}"


def _what(its: Refusal, resource: ResourceRef, message: str) -> str:
    distrusted = "x509:" in message or "certificate" in message
    if _unread(its, resource):
        who = f"admission webhook {its.name}" + (f" of {resource}" if resource.kind == "Service" else "")
        does = "denies them" if its.by is Refuser.WEBHOOK_DENIED else "does not answer"
        return f"{who} {does}; its configuration was not found"
    return {
        Refuser.LIMIT_RANGE: (
            str(resource) if resource.kind == "LimitRange" else "a LimitRange of the namespace"
        )
        + " does not allow what the pods ask for",
        Refuser.WEBHOOK_DENIED: f"admission webhook {its.name} of {resource} denies them",
        Refuser.WEBHOOK_UNREACHABLE: f"admission webhook {its.name} of {resource} "
        + ("presents a certificate that is not accepted" if distrusted else "does not answer"),
        Refuser.NAMESPACE: f"{resource} is being removed (terminating)",
        Refuser.SERVICE_ACCOUNT: f"{resource} does not exist",
        Refuser.POD_SECURITY: f"Pod Security forbids what {resource} asks for",
    }[its.by]


def _who(
    scene: Scene, book: EvidenceBook, subject: Subject, its: Refusal, evidence: list[str]
) -> tuple[ResourceRef, dict[str, str], bool | None]:
    """The object at fault, facts about it, and whether it was changed before the trouble."""
    release = release_of(scene, subject)
    if its.by is Refuser.NAMESPACE:
        ref = scene.ref("Namespace", "", its.name)
        live = scene.get(ref) or {}
        for entry in objects(live, "status", "conditions"):
            if text(entry, "status") == "True":
                evidence.append(cite_condition(book, ref, meta.condition(live, text(entry, "type"))))
        return ref, {"namespace": its.name}, True if meta.deleting_since(live) else None
    if its.by is Refuser.SERVICE_ACCOUNT:
        return scene.ref("ServiceAccount", subject.ref.namespace, its.name), {"account": its.name}, None
    if its.by is Refuser.LIMIT_RANGE:
        if release is not None and release.precedes(scene.onset) and changed(release, "resources"):
            evidence.append(cite_release(book, subject, release))
            return subject.ref, release.facts(), True
        ranges = [ref for ref, _ in scene.of_kind("LimitRange") if ref.namespace == subject.ref.namespace]
        return _changed(scene, book, ranges[0] if ranges else subject.ref, evidence)
    if its.by is Refuser.POD_SECURITY:
        return subject.ref, release.facts() if release is not None else {}, None
    for kind in _CONFIGURATIONS:
        for ref, configuration in scene.of_kind(kind):
            if its.name in {text(hook, "name") for hook in objects(configuration, "webhooks")}:
                if its.service is not None:
                    _behind(scene, book, scene.ref("Service", *its.service), evidence)
                return _changed(scene, book, ref, evidence)
    # its configuration could not be read: what is blamed has to be an object that is there
    service = scene.ref("Service", *its.service) if its.service is not None else None
    if service is not None and scene.get(service) is not None:
        _behind(scene, book, service, evidence)
        return service, {"webhook": its.name}, None
    return subject.ref, {"webhook": its.name}, None


def _behind(scene: Scene, book: EvidenceBook, service: ResourceRef, evidence: list[str]) -> None:
    for ref in scene.topology.out(service, Relation.SELECTS):
        workload = scene.get(ref)
        if workload is not None and ref.kind != "Pod":
            behind = Subject(ref, workload, ())
            evidence.append(
                cite_replicas(book, behind, pods.ready_replicas(workload), pods.wanted_replicas(workload))
            )


def _changed(
    scene: Scene, book: EvidenceBook, ref: ResourceRef, evidence: list[str]
) -> tuple[ResourceRef, dict[str, str], bool | None]:
    write = meta.last_write(scene.get(ref) or {})
    if write is None or not scene.onset - _LATELY <= write.at <= scene.onset:
        return ref, {}, None
    evidence.append(
        book.cite(
            EvidenceKind.CHANGE,
            ref,
            f"{ref} was written last" + (f" by {write.manager}" if write.manager else ""),
            at=write.at,
            command=commands.history(ref),
        )
    )
    return ref, {}, True


def _namespace(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """A namespace, the alert's own target, that hangs in its removal."""
    live = scene.get(scene.target) or {}
    if meta.deleting_since(live) is None:
        return []
    ref = scene.target
    held = [c for c in objects(live, "status", "conditions") if text(c, "status") == "True"]
    evidence = [cite_condition(book, ref, meta.condition(live, text(c, "type"))) for c in held]
    why = "; ".join(text(c, "message") for c in held) or "its finalizers wait"
    evidence = evidence or [
        book.cite(EvidenceKind.STATUS, ref, f"{ref} is being removed", command=commands.show(ref))
    ]
    return [
        Hypothesis(
            resource=ref,
            category=Category.NAMESPACE_TERMINATING,
            summary=f"{ref} hangs in its removal (terminating): {why[:200]}",
            support=support(Subject(ref, live, ()), 1.0),
            evidence=tuple(evidence),
        )
    ]
