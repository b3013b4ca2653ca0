"""Network policies of Cilium and Calico that drop a connection which the target needs."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.diagnosis import Hypothesis
from cortexops.domain.dropped import Call, calls_of, dropped_by, peer_of, policies_on, written
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, is_troubled, serves_badly, subjects
from cortexops.domain.kubernetes import addon_policies, meta, network
from cortexops.domain.kubernetes.addon_policies import Says
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_CLOCKS = timedelta(minutes=1)


@analyzer("addon_policies")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    if not any(True for kind in addon_policies.KINDS for _ in scene.of_kind(kind)):
        return found
    for subject in subjects(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        for call in calls_of(scene, subject):
            found += _dropped(scene, book, subject, call)
    return list({h.resource: h for h in reversed(found)}.values())


def _dropped(scene: Scene, book: EvidenceBook, subject: Subject, call: Call) -> list[Hypothesis]:
    own = peer_of(scene, subject.ref)
    ways = [("Egress", subject.ref, own, call.peer)]
    if call.callee is not None:
        ways.append(("Ingress", call.callee, call.peer, own))
    found = []
    for direction, end, here, there in ways:
        culprit = _culprit(scene, direction, end, here, there, call.ports)
        if culprit is None:
            continue
        write = meta.last_write(culprit[1])
        if write is None or write.at <= scene.onset + _CLOCKS:
            found.append(dropped_by(scene, book, subject, *culprit, direction, call, 0.95))
    return found


def _culprit(
    scene: Scene, direction: str, end: ResourceRef, here: network.Peer, there: network.Peer,
    ports: tuple[int, ...],
) -> tuple[ResourceRef, JSON] | None:  # fmt: skip
    """Who drops it: the first that denies it before another allows it; else, of those that all keep silent, the
    newest. Nobody where any of them cannot be judged, or a policy of Kubernetes itself lets it through."""
    asked: list[tuple[ResourceRef, JSON, Says]] = []
    for ref in scene.topology.into(end, Relation.ACTS_ON):
        live = scene.get(ref)
        if ref.kind in addon_policies.KINDS and live is not None:
            said = addon_policies.says(ref.kind, live, direction, here, there, ports)
            if said is not Says.NOTHING:
                asked.append((ref, live, said))
    asked.sort(key=lambda each: (addon_policies.order(each[1]), each[0].name))
    denying = [each for each in asked if each[2] is Says.DENIES]
    for ref, live, said in asked:
        if said is Says.DENIES:
            return ref, live
        if said is Says.ALLOWS and denying and ref.kind == addon_policies.CILIUM:
            return denying[0][:2]  # with Cilium a denial wins whatever the order
        if said in (Says.ALLOWS, Says.UNSURE):
            return None
    plain = policies_on(scene, end, direction)
    if not asked or any(network.admits(live, direction, there, ports) for _, live in plain):
        return None
    ref, live, _ = max(asked, key=lambda each: (written(each[1]), each[0].name))
    return ref, live
