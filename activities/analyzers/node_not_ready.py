"""Nodes that are lost or under pressure, and the pods that suffer with them."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, cite_event, cite_log, support
from cortexops.domain.complained_of import complained_of
from cortexops.domain.diagnosis import Category, Hypothesis, Support
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, log_lines, serves_badly, subjects, troubles
from cortexops.domain.kubernetes import clocks, commands, meta, pods
from cortexops.domain.kubernetes.nodes import problems
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.left_nodes import lately
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation
from cortexops.domain.words import counted

_NO_NETWORK = "NetworkUnavailable"
_LATELY = timedelta(hours=24)
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
_EXPLAINS = (
    Category.CRASH,
    Category.CRASH_SINCE_RELEASE,
    Category.BAD_ROLLOUT,
    Category.READINESS_PROBE,
    Category.LIVENESS_PROBE,
    Category.DEPENDENCY_DOWN,
    Category.EXTERNAL_DEPENDENCY,
    Category.SCHEDULING,
    Category.STUCK_POD,
    Category.SERVICE_MISROUTED,
)
_AGAIN, _OFTEN = 2, 3  # a planned reboot is one, with its pair of events


@analyzer("node_not_ready")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if scene.target.kind == "Node":
        node = scene.get(scene.target)
        sure = Support(direct=1.0)
        if node is None:
            return []
        return _of_node(scene, book, scene.target, node, sure, [], 0) or _restless(scene, book, scene.target)
    found: dict[ResourceRef, Hypothesis] = {}
    for subject in subjects(scene):
        failing = {trouble.pod for trouble in troubles(scene, subject)}
        ill = {ref for ref, pod in subject.pods if pods.is_unready(pod) or _evicted(pod)} | failing
        unheard = _cut_off(scene, subject) if not ill else set()
        by_node: dict[ResourceRef, list[ResourceRef]] = {}
        for ref, pod in subject.pods:
            if ref in ill | unheard or meta.deleting_since(pod) is not None:
                for node_ref in scene.topology.out(ref, Relation.RUNS_ON):
                    by_node.setdefault(node_ref, []).append(ref)
        for node_ref, victims in by_node.items():
            node = scene.get(node_ref)
            elsewhere = [ref for ref in ill if ref not in victims and pods.node_name(scene.get(ref) or {})]
            direct = 0.9 if unheard else 1.0 if not elsewhere else 0.6
            if node is not None and node_ref not in found:
                sure = support(subject, direct, steps=2)
                for hypothesis in _of_node(scene, book, node_ref, node, sure, victims, len(elsewhere)):
                    found[node_ref] = hypothesis
    found |= {h.resource: h for h in _clocks(scene, book) if h.resource not in found}
    return list(found.values())


def _clocks(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """Nodes whose clock is wrong, and pods on them, of whoever is complained of, too, that stumble over it."""
    wrong = {
        ref: told
        for ref, node in scene.of_kind("Node")
        if (told := [c for c in problems(node) if clocks.is_of_clock(c) and _lately(scene, c)])
    }
    if not wrong:
        return []
    asked = {subject.ref: subject for subject in subjects(scene)}
    asked |= {
        heard.callee.ref: heard.callee for heard in complained_of(scene) if heard.callee.ref not in asked
    }
    found: dict[ResourceRef, Hypothesis] = {}
    for subject in asked.values():
        said = [
            (pod, container, previous, lines)
            for pod, container, previous, told in log_lines(scene, subject)
            if (lines := clocks.about_time(told)) and not _hands_on(scene, subject, lines)
        ]
        where = {each[0]: scene.topology.out(each[0], Relation.RUNS_ON) for each in said}
        for pod, container, previous, lines in said:
            for ref in where[pod]:
                if ref in wrong and ref not in found:
                    elsewhere = [other for other, nodes in where.items() if not set(nodes) & set(wrong)]
                    evidence = [
                        *(cite_condition(book, ref, condition) for condition in wrong[ref][:2]),
                        cite_log(book, pod, container, previous, lines, "complains about the time"),
                    ]
                    found[ref] = _of_clock(scene, subject, ref, wrong[ref][0], evidence, bool(elsewhere))
    return list(found.values())


def _hands_on(scene: Scene, subject: Subject, lines: list[str]) -> bool:
    """Whether all of it are words of a callee that complains of the time itself."""
    said = {
        line
        for heard in complained_of(scene)
        if heard.caller.ref == subject.ref
        and any(clocks.about_time(told) for _, _, _, told in log_lines(scene, heard.callee))
        for line in heard.lines
    }
    return all(line in said for line in lines)


def _of_clock(
    scene: Scene,
    subject: Subject,
    ref: ResourceRef,
    condition: meta.Condition,
    evidence: list[str],
    elsewhere: bool,
) -> Hypothesis:
    told = f"{condition.type}={condition.status}{': ' + condition.message[:160] if condition.message else ''}"
    return Hypothesis(
        resource=ref,
        category=Category.NODE_NOT_READY,
        summary=f"the clock of {ref} is wrong ({told}); what pods of {subject.ref} on it are given seems to be of"
        " another time",
        support=support(
            subject,
            0.4 if elsewhere else 0.95,
            precedes=True if condition.since is not None and condition.since <= scene.onset else None,
            steps=2,
        ),
        evidence=tuple(evidence),
        explains=(*_EXPLAINS, Category.SECRET_CHANGED, Category.CERTIFICATE_EXPIRED),
        facts={"node": ref.name},
    )


def _cut_off(scene: Scene, subject: Subject) -> set[ResourceRef]:
    """Pods, ready as the kubelet sees them, of a target that answers badly, on nodes without a network."""
    if not serves_badly(scene):
        return set()
    return {
        ref
        for ref, _ in subject.pods
        for node in scene.topology.out(ref, Relation.RUNS_ON)
        if meta.condition(scene.get(node) or {}, _NO_NETWORK).status == "True"
    }


def _evicted(pod: JSON) -> bool:
    return pods.phase(pod) == "Failed" and text(pod, "status", "reason") in (
        "Evicted",
        "NodeLost",
        "Terminated",
    )


def _lately(scene: Scene, condition: meta.Condition) -> bool:
    """Whether a detector's condition is new enough to have to do with the trouble."""
    return condition.since is None or condition.since >= scene.onset - _LATELY


def _runs_elsewhere(scene: Scene, victims: list[ResourceRef], node: ResourceRef) -> bool:
    """Whether pods of the same workload are ready on other nodes."""
    return any(
        pods.is_ready(pod) and pods.node_name(pod) not in ("", node.name)
        for subject in subjects(scene)
        if any(ref in victims for ref, _ in subject.pods)
        for _, pod in subject.pods
    )


def _restless(scene: Scene, book: EvidenceBook, ref: ResourceRef) -> list[Hypothesis]:
    """A node that is ready at the moment, and has come and gone again and again."""
    reboots, booted = lately(scene, ref, "Rebooted")
    gone, left = lately(scene, ref, "NodeNotReady")
    if reboots < _AGAIN and gone < _OFTEN:
        return []
    often = reboots >= _OFTEN or gone >= _OFTEN
    says = f"was rebooted {reboots} times" if reboots >= _AGAIN else f"has stopped being ready {gone} times"
    return [
        Hypothesis(
            resource=ref,
            category=Category.NODE_NOT_READY,
            summary=f"{ref} {says} within two hours, and is ready at the moment",
            support=Support(direct=0.95 if often else 0.7),
            evidence=tuple(cite_event(book, event) for event in [*booted[:2], *left[:1]]),
            explains=_EXPLAINS,
            facts={"node": ref.name, "reboots": str(reboots)},
        )
    ]


def _of_node(
    scene: Scene,
    book: EvidenceBook,
    ref: ResourceRef,
    node: JSON,
    sure: Support,
    victims: list[ResourceRef],
    elsewhere: int,
) -> list[Hypothesis]:
    ready = meta.condition(node, "Ready")
    taints = {text(taint, "key") for taint in objects(node, "spec", "taints")}
    network = meta.condition(node, _NO_NETWORK)
    cut_off = network.status == "True"
    lost = ready.status in ("False", "Unknown") or bool(
        taints & {"node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"}
    )
    pressures = [meta.condition(node, kind) for kind in _PRESSURES]
    pressed = [condition for condition in pressures if condition.status == "True"]
    troubled = lost or pressed or cut_off
    faults = [] if troubled else [c for c in problems(node) if _lately(scene, c)]
    if ref != scene.target:
        faults = [c for c in faults if not clocks.is_of_clock(c)]  # that takes nobody down; see `_clocks`
    if not troubled and not faults:
        return []
    evidence = [cite_condition(book, ref, ready)] if lost and ready.status else []
    evidence += [cite_condition(book, ref, network)] if cut_off else []
    evidence += [cite_condition(book, ref, condition) for condition in [*pressed, *faults[:2]]]
    if taints and lost:
        evidence.append(
            book.cite(
                EvidenceKind.STATUS,
                ref,
                f"{ref} carries the taints {', '.join(sorted(taints))}",
                command=commands.describe(ref),
            )
        )
    events = scene.events_about(
        ref, "NodeNotReady", "SystemOOM", "EvictionThresholdMet", "NodeHasDiskPressure"
    )
    evidence += [cite_event(book, event) for event in events[:2]]
    if victims:
        evidence.append(
            book.cite(
                EvidenceKind.TOPOLOGY,
                ref,
                f"{counted(len(victims), 'pod')} in trouble on {ref}: {', '.join(v.name for v in victims[:4])}",
                command=f"kubectl get pods -A --field-selector spec.nodeName={ref.name}",
            )
        )
    against: tuple[str, ...] = ()
    if elsewhere:
        against = (
            book.cite(
                EvidenceKind.TOPOLOGY,
                ref,
                f"{counted(elsewhere, 'pod')} in the same trouble on other nodes than {ref.name}",
                command="kubectl get pods -A -o wide",
            ),
        )
    category = Category.NODE_PRESSURE if pressed and not (lost or cut_off) else Category.NODE_NOT_READY
    what = (
        f"is not ready ({ready.reason or 'tainted'}{': ' + ready.message[:120] if ready.message else ''})"
        if lost
        else f"has no network ({network.reason}{': ' + network.message[:120] if network.message else ''})"
        if cut_off
        else f"is under {', '.join(condition.type for condition in pressed)}"
        if pressed
        else f"has a fault of its own ({faults[0].type}={faults[0].status}"
        f"{': ' + faults[0].message[:120] if faults[0].message else ''})"
    )
    since, onset = ready.since if lost else network.since, scene.onset
    if faults and ref != scene.target and not _runs_elsewhere(scene, victims, ref):
        sure = sure.model_copy(update={"direct": 0.8 * sure.direct})  # no pod elsewhere shows the difference
    precedes = (
        None if since is None or not (lost or cut_off) or ref == scene.target else (since <= onset or None)
    )
    return [
        Hypothesis(
            resource=ref,
            category=category,
            summary=f"{ref} {what}"
            + (
                f"; {counted(len(victims), 'pod')} on it suffer{'s' if len(victims) == 1 else ''}"
                if victims
                else ""
            ),
            support=sure.model_copy(update={"precedes_onset": precedes}),
            evidence=tuple(evidence),
            against=against,
            explains=_EXPLAINS,
            facts={"node": ref.name},
        )
    ]
