"""Images that cannot be pulled: not there, not allowed, or the registry does not answer."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    by_whom,
    cite_event,
    cite_release,
    cite_waiting,
    cite_write,
    events_of,
    support,
)
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind, GapReason
from cortexops.domain.findings import Subject, Trouble, subjects, troubles
from cortexops.domain.injected import injector_of
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.values import text
from cortexops.domain.pulling import category_of, worded
from cortexops.domain.releases import image_facts, release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation
from cortexops.domain.words import counted

_EXPLAINS = (
    Category.BAD_ROLLOUT,
    Category.READINESS_PROBE,
    Category.DEPENDENCY_DOWN,
    Category.CRASH,
    Category.STUCK_POD,
    Category.SERVICE_MISROUTED,
    Category.HPA_NO_METRICS,
    Category.JOB_FAILED,
    Category.JOB_DEADLINE_EXCEEDED,
)
_SAME = timedelta(seconds=1)  # written with its creation
_LATELY = timedelta(hours=24)
_SHORT_LIVED = re.compile(r"\.dkr\.ecr[.-]")
_TOKEN_LIVES = timedelta(hours=12)
_NEVER = "ErrImageNeverPull"
_NO_ROOM = ("ImageGCFailed", "FreeDiskSpaceFailed", "EvictionThresholdMet")


@analyzer("image_pull")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        by_image: dict[tuple[str, str], list[Trouble]] = {}
        for trouble in troubles(scene, subject):
            if trouble.state.waiting in pods.PULL_REASONS:
                by_image.setdefault((trouble.state.name, trouble.state.image), []).append(trouble)
        for (container, image), cases in by_image.items():
            found.append(_of_image(scene, book, subject, container, image, cases))
    return found


def _of_image(
    scene: Scene, book: EvidenceBook, subject: Subject, container: str, image: str, cases: list[Trouble]
) -> Hypothesis:
    events = [
        event
        for event in events_of(scene, subject, "Failed", "InspectFailed", "ErrImageNeverPull")
        if image in event.message and "pull" in event.message.lower()
    ]
    said = [event.message for event in events] + [case.state.waiting_message for case in cases]
    said += [case.state.waiting for case in cases]
    category, sure = category_of(said)
    evidence = [cite_waiting(book, cases[0])] + [cite_event(book, event) for event in events[:1]]
    evidence += [
        cite_event(book, event) for event in events_of(scene, subject, "FailedToRetrieveImagePullSecret")[:1]
    ]
    facts = {"container": container, "image": image, "pod": cases[0].pod.name}
    release = release_of(scene, subject)
    precedes = None
    if release is not None:
        facts |= image_facts(release, container, image)
        if "previous_image" in facts:
            facts |= release.facts()
            evidence.append(cite_release(book, subject, release))
            precedes = True if release.precedes(scene.onset) else None
            if category is Category.IMAGE_PULL_DENIED and _repository(image) != _repository(
                facts["previous_image"]
            ):
                sure -= 0.05  # registries deny what does not exist, too: the new repository may be a typo
    what = worded(category, said)
    if category is Category.IMAGE_NOT_FOUND and any(case.state.waiting == _NEVER for case in cases):
        what = "is not on the node, and its pull policy is Never"
    if category is Category.WRONG_ARCHITECTURE:
        what += _node(scene, book, cases[0], evidence)
    since = f"; revision {facts['revision']} brought it" if "revision" in facts else ""
    resource = subject.ref
    full = scene.ref("Node", "", pods.node_name(cases[0].obj) or "-")
    if category is Category.NODE_PRESSURE and full.name != "-":
        resource, precedes, since = full, None, ""  # any image would want room there
        facts["node"] = full.name
        what += f" of {full}"
        evidence += [cite_event(book, event) for event in scene.events_about(full, *_NO_ROOM)[:1]]
    if category is Category.IMAGE_PULL_DENIED and "previous_image" not in facts:
        credential = _credential(scene, book, subject, image, evidence)
        if credential is not None:
            resource, why, precedes = credential
            what += f" ({why})"
            facts["secret"] = resource.name
    injector = (
        injector_of(scene, subject, cases[0].obj, container, image) if resource == subject.ref else None
    )
    if injector is not None:
        resource, precedes = injector.ref, True if injector.write is not None else None
        late = f" (changed{by_whom(injector.write)})" if injector.write else ""
        what += f"; its template has no such container: {injector.ref}{late} adds it to new pods"
        evidence.append(
            cite_write(
                book, injector.ref, f"{injector.ref} adds container {container}", injector.write,
                unknown=EvidenceKind.TOPOLOGY,
            )
        )  # fmt: skip
    return Hypothesis(
        resource=resource,
        category=category,
        summary=f"image {image} of container {container} of {subject.ref} {what}{since}",
        support=support(subject, sure, precedes=precedes, steps=0 if resource == subject.ref else 1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        container=container,
        facts=facts,
    )


def _node(scene: Scene, book: EvidenceBook, case: Trouble, evidence: list[str]) -> str:
    """` worker-1 (arm64)`: the pod's node and its architecture, cited; nothing where it is not known."""
    where = scene.ref("Node", "", pods.node_name(case.obj))
    architecture = text(scene.get(where) or {}, "status", "nodeInfo", "architecture")
    if not architecture:
        return ""
    evidence.append(
        book.cite(
            EvidenceKind.STATUS, where, f"{where} is of architecture {architecture}",
            command=commands.describe(where),
        )
    )  # fmt: skip
    return f" {where.name} ({architecture})"


def _credential(
    scene: Scene, book: EvidenceBook, subject: Subject, image: str, evidence: list[str]
) -> tuple[ResourceRef, str, bool | None] | None:
    """The pull Secret that is missing, or that was changed before the trouble."""
    for secret in scene.topology.out(subject.ref, Relation.PULLS_WITH):
        live = scene.get(secret)
        if live is None:
            missing = f"get secrets/{secret.name} in namespace {secret.namespace}"
            if any(gap.reason is GapReason.NO_DATA and gap.what == missing for gap in scene.gaps):
                evidence.append(
                    book.cite(
                        EvidenceKind.TOPOLOGY,
                        secret,
                        f"{secret} does not exist",
                        command=commands.show(secret),
                    )
                )
                return secret, f"{secret} does not exist", None
            continue
        write, born = meta.last_write(live), meta.created(live)
        if write is not None and write.at <= scene.onset and born is not None and write.at > born + _SAME:
            age = scene.onset - write.at
            lately = age <= _LATELY
            says = f"{secret} was changed{by_whom(write)}"
            if not lately:
                says = f"{secret} was written last{by_whom(write)} {counted(age.days, 'day')} before"
            if _SHORT_LIVED.search(image) and age > _TOKEN_LIVES:
                says += "; a token of ECR lasts 12 hours"
            evidence.append(cite_write(book, secret, says.partition("; ")[0], write))
            return secret, says, True if lately else None
    return None


def _repository(image: str) -> str:
    head, _, last = image.partition("@")[0].rpartition("/")
    return f"{head}/{last.partition(':')[0]}"
