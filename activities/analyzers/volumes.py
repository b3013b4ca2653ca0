"""Volume claims: never bound, in another zone, still attached elsewhere, or full."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    cite_condition,
    cite_event,
    cite_log,
    cite_replicas,
    events_of,
    support,
)
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.growth import growth
from cortexops.domain.kubernetes import commands, complaints, meta, pods, selectors
from cortexops.domain.kubernetes.references import claims
from cortexops.domain.kubernetes.storage import provides, provisioner_of
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.stores import called_store

_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN, Category.STUCK_POD, Category.SCHEDULING,
    Category.SERVICE_MISROUTED, Category.STATEFULSET_STUCK,
)  # fmt: skip
_FILLING = (
    "fillingup",
    "filling_up",
    "volumefull",
    "pvcfull",
    "diskfull",
    "volumeusage",
    "pvcusage",
    "outofdisk",
)
_CLAIM_EVENTS = ("ProvisioningFailed", "FailedBinding", "ExternalProvisioning", "WaitForFirstConsumer")
_FULL = 0.9  # of its capacity
_ONE_POD = "ReadWriteOncePod"
_MULTI = re.compile(r"Multi-Attach error for volume \"([^\"]+)\"")


@analyzer("volumes")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        for each in (_unbound, _other_zone, _for_one_pod, _attached_elsewhere, _full):
            hypothesis = each(scene, book, subject)
            if hypothesis is not None:
                found.append(hypothesis)
    if scene.target.kind == "PersistentVolumeClaim":
        found += _alerted(scene, book)
    return found


def _pending(subject: Subject, words: str) -> list[tuple[ResourceRef, JSON]]:
    return [
        (ref, pod)
        for ref, pod in subject.pods
        if meta.condition(pod, "PodScheduled").status == "False"
        and words in meta.condition(pod, "PodScheduled").message.lower()
    ]


def _of_claim(
    scene: Scene, subject: Subject, pod: JSON, *, bound: bool | None = None
) -> tuple[ResourceRef, JSON | None] | None:
    """The first claim of the pod in that state (any, when None)."""
    for name in claims(mapping(pod, "spec")):
        ref = scene.ref("PersistentVolumeClaim", subject.ref.namespace, name)
        claim = scene.get(ref)
        if bound is None or (text(claim or {}, "status", "phase") == "Bound") is bound:
            return ref, claim
    return None


def _unbound(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    for ref, pod in [*_pending(subject, "persistentvolumeclaim"), *_pending(subject, "bind")]:
        found = _of_claim(scene, subject, pod, bound=False)
        if found is None:
            continue
        condition = meta.condition(pod, "PodScheduled")
        return _claim_hypothesis(scene, book, subject, found[0], [cite_condition(book, ref, condition)])
    return None


def _claim_hypothesis(
    scene: Scene, book: EvidenceBook, subject: Subject, claim: ResourceRef, evidence: list[str]
) -> Hypothesis:
    live = scene.get(claim)
    state = text(live or {}, "status", "phase") or "missing"
    evidence.append(
        book.cite(EvidenceKind.STATUS, claim, f"{claim} is {state}", command=commands.describe(claim))
    )
    events = scene.events_about(claim, *_CLAIM_EVENTS)
    evidence += [cite_event(book, event) for event in events[:1]]
    provisioner = _down(scene, live or {})
    if provisioner is not None:
        return _not_provisioned(scene, book, subject, claim, provisioner, evidence)
    why = f": {events[0].message[:160]}" if events else ""
    wanted = text(live or {}, "spec", "storageClassName")
    known = {ref.name for ref, _ in scene.of_kind("StorageClass")}
    facts = {"claim": claim.name}
    if wanted and known and wanted not in known:
        there = scene.ref("StorageClass", "", wanted)
        evidence.append(
            book.cite(
                EvidenceKind.TOPOLOGY, there, f"{there}, which {claim} asks for, does not exist",
                command="kubectl get storageclass",
            )
        )  # fmt: skip
        why = f": its storage class {wanted} does not exist"
        facts["storage_class"] = wanted
    return Hypothesis(
        resource=claim,
        category=Category.VOLUME_UNBOUND,
        summary=f"{claim} is {state.lower()}, not bound{why}; pods of {subject.ref} wait for it",
        support=support(subject, 1.0, steps=1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts=facts,
    )


def _down(scene: Scene, claim: JSON) -> Subject | None:
    """The workload that makes volumes for the claim, where none of its pods is ready."""
    driver = provisioner_of(claim)
    for kind in ("Deployment", "StatefulSet") if driver else ():
        for ref, live in scene.of_kind(kind):
            if provides(live, driver) and not pods.ready_replicas(live):
                return Subject(ref, live, tuple(scene.pods_of(ref)))
    return None


def _not_provisioned(
    scene: Scene, book: EvidenceBook, subject: Subject, claim: ResourceRef, provisioner: Subject,
    evidence: list[str],
) -> Hypothesis:  # fmt: skip
    wanted = pods.wanted_replicas(provisioner.obj)
    evidence.append(cite_replicas(book, provisioner, 0, wanted))
    said = ""
    for pod, container, previous, lines in log_lines(scene, provisioner):
        wrong = complaints.complaining(lines) or list(lines[-1:])
        evidence.append(cite_log(book, pod, container, previous, wrong, "says"))
        said = f", saying “{wrong[-1][:160]}”"
        break
    why = "is scaled to 0" if not wanted else f"has no ready pod{said}"
    return Hypothesis(
        resource=provisioner.ref,
        category=Category.DEPENDENCY_DOWN if wanted else Category.SCALED_TO_ZERO,
        summary=f"{provisioner.ref}, which makes the volumes of {claim}, {why}: pods of {subject.ref} wait for"
        " the volume",
        support=support(subject, 1.0, steps=2),
        evidence=tuple(evidence),
        explains=(*_EXPLAINS, Category.VOLUME_UNBOUND),
        facts={"claim": claim.name},
    )


def _other_zone(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    for ref, pod in _pending(subject, "volume node affinity conflict"):
        found = _of_claim(scene, subject, pod, bound=True)
        if found is None:
            continue
        claim, live = found
        evidence = [cite_condition(book, ref, meta.condition(pod, "PodScheduled"))]
        volume = scene.ref("PersistentVolume", "", text(live or {}, "spec", "volumeName"))
        lost = _lost_home(scene, volume)
        if lost is not None:
            return _bound_to(book, subject, claim, volume, lost, evidence)
        required = mapping(scene.get(volume) or {}, "spec", "nodeAffinity", "required")
        there = [
            at
            for at, node in scene.of_kind("Node")
            if _takes_pods(node) and selectors.on_node(required, node)
        ]
        if there and _ONE_POD in meta.condition(pod, "PodScheduled").message:
            continue  # see _for_one_pod
        where = str(required)[:300]
        which = "whose node affinity (zone) no schedulable node has"
        if there:
            why = meta.condition(pod, "PodScheduled").message.partition(" preemption:")[0]
            which = (
                f"which only {', '.join(map(str, there[:2]))} can use, and that takes no more: {why[:200]}"
            )
        evidence.append(
            book.cite(
                EvidenceKind.CONFIG, volume, f"{volume} can be used on certain nodes only", excerpt=where,
                command=commands.show(volume),
            )
        )  # fmt: skip
        return Hypothesis(
            resource=claim,
            category=Category.VOLUME_ZONE,
            summary=f"{claim} is bound to {volume}, {which}: pods of {subject.ref} cannot be scheduled",
            support=support(subject, 1.0, steps=1),
            evidence=tuple(evidence),
            explains=_EXPLAINS,
            facts={"claim": claim.name, "volume": volume.name},
        )
    return None


def _for_one_pod(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """A pod waits for a claim that one pod alone may use, and another has it: mostly that which it is to replace."""
    for ref, pod in _pending(subject, _ONE_POD.lower()):
        wanted = set(claims(mapping(pod, "spec")))
        users = [
            (other, name)
            for other, its in subject.pods
            if other != ref and pods.node_name(its) and meta.deleting_since(its) is None
            for name in claims(mapping(its, "spec"))
            if name in wanted
        ]
        by = f"{users[0][0]} of it still uses {users[0][1]}" if users else "another pod uses it"
        return Hypothesis(
            resource=subject.ref,
            category=Category.SCHEDULING,
            summary=f"{ref} cannot be scheduled: its claim may be used by one pod only (ReadWriteOncePod), and {by}",
            support=support(subject, 1.0),
            evidence=(cite_condition(book, ref, meta.condition(pod, "PodScheduled")),),
            explains=_EXPLAINS,
            facts={"pod": ref.name, "claims": ", ".join(sorted(wanted))},
        )
    return None


def _lost_home(scene: Scene, volume: ResourceRef) -> tuple[ResourceRef, meta.Condition] | None:
    """A node that the volume can be used on and that takes no pods, where every such node is like it."""
    required = mapping(scene.get(volume) or {}, "spec", "nodeAffinity", "required")
    if not required:
        return None
    fitting = [(ref, node) for ref, node in scene.of_kind("Node") if selectors.on_node(required, node)]
    if not fitting or any(_takes_pods(node) for _, node in fitting):
        return None
    return min(((ref, meta.condition(node, "Ready")) for ref, node in fitting), key=lambda item: item[0].name)


def _takes_pods(node: JSON) -> bool:
    return (
        meta.condition(node, "Ready").status == "True"
        and mapping(node, "spec").get("unschedulable") is not True
    )


def _bound_to(
    book: EvidenceBook, subject: Subject, claim: ResourceRef, volume: ResourceRef,
    lost: tuple[ResourceRef, meta.Condition], evidence: list[str],
) -> Hypothesis:  # fmt: skip
    node, ready = lost
    evidence.append(cite_condition(book, node, ready))
    cordoned = ready.status == "True"
    what = "is cordoned (unschedulable)" if cordoned else f"is not ready ({ready.reason or ready.status})"
    return Hypothesis(
        resource=node,
        category=Category.NODE_UNSCHEDULABLE if cordoned else Category.NODE_NOT_READY,
        summary=f"{node} {what}, and {volume} of {claim} can be used"
        f" nowhere else: pods of {subject.ref} cannot be scheduled",
        support=support(subject, 1.0, steps=1),
        evidence=tuple(evidence),
        explains=(*_EXPLAINS, Category.VOLUME_ZONE),
        facts={"node": node.name, "claim": claim.name, "volume": volume.name},
    )


def _attached_elsewhere(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    by_ref = dict(subject.pods)
    for event in events_of(scene, subject, "FailedAttachVolume"):
        match = _MULTI.search(event.message)
        pod = by_ref.get(event.about)
        if match is None or pod is None or not pods.is_unready(pod):
            continue
        for name in claims(mapping(pod, "spec")):
            claim = scene.ref("PersistentVolumeClaim", subject.ref.namespace, name)
            live = scene.get(claim)
            if live is not None and text(live, "spec", "volumeName") not in ("", match.group(1)):
                continue
            lost = _lost_holder(scene, subject, event.about, name)
            if lost is not None:
                holder, node, ready = lost
                return Hypothesis(
                    resource=node,
                    category=Category.NODE_NOT_READY,
                    summary=f"{node} is not ready ({ready.reason or 'lost'}) and still holds {claim}, which {holder}"
                    f" on it mounts: {event.about} cannot start elsewhere (Multi-Attach error)",
                    support=support(subject, 1.0, steps=2),
                    evidence=(cite_event(book, event), cite_condition(book, node, ready)),
                    explains=(*_EXPLAINS, Category.VOLUME_MULTI_ATTACH),
                    facts={"node": node.name, "claim": name},
                )
            return Hypothesis(
                resource=claim,
                category=Category.VOLUME_MULTI_ATTACH,
                summary=f"{claim} is still attached to another node (Multi-Attach error), so that"
                f" {event.about} cannot start: {event.message[:160]}",
                support=support(subject, 1.0, steps=1),
                evidence=(cite_event(book, event),),
                explains=_EXPLAINS,
                facts={"claim": name, "pod": event.about.name},
            )
    return None


def _lost_holder(
    scene: Scene, subject: Subject, waiting: ResourceRef, claim: str
) -> tuple[ResourceRef, ResourceRef, meta.Condition] | None:
    """(pod, node, its Ready condition): another pod with the claim, on a node that nothing is heard of."""
    for ref, pod in subject.pods:
        if ref == waiting or claim not in claims(mapping(pod, "spec")):
            continue
        node = scene.ref("Node", "", pods.node_name(pod) or "-")
        ready = meta.condition(scene.get(node) or {}, "Ready")
        if ready.status in ("Unknown", "False"):
            return ref, node, ready
    return None


def _full(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    if (
        not is_troubled(scene, subject)
        and not serves_badly(scene)
        and scene.target.kind != "PersistentVolumeClaim"
    ):
        return None
    for pod, container, previous, lines in log_lines(scene, subject):
        said = complaints.disk_full(lines)
        repeated = set(complaints.store_disk_full(lines))
        if repeated and called_store(scene, subject, list(repeated)) is not None:
            said = [line for line in said if line not in repeated]  # it tells what a store told it
        if not said:
            continue
        live = scene.get(pod) or {}
        cited = cite_log(book, pod, container, previous, said, "says that a disk is full")
        mounts = claims(mapping(live, "spec"))
        if not mounts:
            return Hypothesis(
                resource=subject.ref,
                category=Category.DISK_EXHAUSTED,
                summary=f"container {container} of {subject.ref} has no space left on its device",
                support=support(subject, 0.85),
                evidence=(cited,),
                explains=_EXPLAINS,
                container=container,
            )
        claim = scene.ref("PersistentVolumeClaim", subject.ref.namespace, _mounted(live, mounts, said))
        size = text(scene.get(claim) or {}, "status", "capacity", "storage")
        evidence = [cited]
        grows = growth(scene, book, claim, evidence)
        return Hypothesis(
            resource=claim,
            category=Category.VOLUME_FULL,
            summary=f"{claim}{f' ({size})' if size else ''} is full: container {container} of {subject.ref}"
            f" has no space left on its device{grows}",
            support=support(subject, 0.97, steps=1),
            evidence=tuple(evidence),
            explains=_EXPLAINS,
            container=container,
            facts={"claim": claim.name, "size": size} if size else {"claim": claim.name},
        )
    return None


def _mounted(pod: JSON, mounts: list[str], lines: list[str]) -> str:
    """The claim whose mount path the lines name; the only or first one otherwise."""
    volumes = {
        text(volume, "name"): text(volume, "persistentVolumeClaim", "claimName")
        for volume in objects(pod, "spec", "volumes")
    }
    for container in pods.containers(mapping(pod, "spec")):
        for mount in objects(container, "volumeMounts"):
            name, path = volumes.get(text(mount, "name"), ""), text(mount, "mountPath")
            if name and path and any(path in line for line in lines):
                return name
    return mounts[0]


def _alerted(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """A claim that is itself the alert's target: unbound, or said to fill up."""
    claim, live = scene.target, scene.get(scene.target)
    if live is None:
        return []
    subject = Subject(claim, live, ())
    if text(live, "status", "phase") not in ("Bound", ""):
        return [_claim_hypothesis(scene, book, subject, claim, [])]
    measured = [
        m for m in scene.measured if m.what == "volume_used_share" and m.about == claim and m.value > _FULL
    ]
    for measure in measured[:1]:
        shown = [book.cite(EvidenceKind.METRIC, claim, measure.says, at=measure.at)]
        grows = growth(scene, book, claim, shown)
        return [
            Hypothesis(
                resource=claim,
                category=Category.VOLUME_FULL,
                summary=f"{claim} is nearly full: {measure.says}{grows}",
                support=support(subject, 1.0),
                evidence=tuple(shown),
                facts={"claim": claim.name},
            )
        ]
    said = [s for s in scene.signals if any(word in s.name.lower().replace("-", "") for word in _FILLING)]
    if not said:
        return []
    size = text(live, "status", "capacity", "storage")
    evidence = book.cite(
        EvidenceKind.METRIC,
        claim,
        f"the alert {said[0].name} measured it: {said[0].summary[:200]}",
        at=said[0].started_at,
        command=commands.describe(claim),
    )
    cited = [evidence]
    grows = growth(scene, book, claim, cited)
    return [
        Hypothesis(
            resource=claim,
            category=Category.VOLUME_FULL,
            summary=f"{claim}{f' ({size})' if size else ''} is (nearly) full, as the alert's own measurement says"
            f"{grows}",
            support=support(subject, 0.9),
            evidence=tuple(cited),
            facts={"claim": claim.name, "size": size} if size else {"claim": claim.name},
        )
    ]
