"""The requests that go wrong, as analyzers of a service mesh look at them: who sends them, to which Service."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from cortexops.domain.citing import cite_log
from cortexops.domain.diagnosis import Category
from cortexops.domain.evidence import EvidenceBook, GapReason
from cortexops.domain.findings import (
    Subject,
    backing,
    complaints_about,
    is_troubled,
    log_lines,
    serves_badly,
    subjects,
    template_labels,
    template_spec,
    unnamed_complaints,
)
from cortexops.domain.kubernetes import complaints, mesh, meta
from cortexops.domain.kubernetes.meta import Write
from cortexops.domain.kubernetes.values import text
from cortexops.domain.own_release import broke_itself
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import line_names
from cortexops.domain.topology import Relation

EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN, Category.EXTERNAL_DEPENDENCY, Category.SERVICE_MISROUTED,
    Category.INIT_CONTAINER_FAILED, Category.NETWORK_POLICY, Category.CONNECTION_SATURATION,
    Category.JOB_FAILED, Category.RBAC_DENIED,
)  # fmt: skip
"""What requests that fail make of workloads."""
LATELY = timedelta(hours=24)
_CLOCKS = timedelta(minutes=1)
_FROM_OUTSIDE = 0.92  # it answers badly, and has nothing to complain of
_UNSAID = 0.85  # it answers badly, and does not say whose fault it is
_ANOTHER_FAULT = 0.6  # it tells of something else


class Call(NamedTuple):
    """Requests of `subject` to a Service; of callers that are not known where `inbound`.

    `lines` tell of their failure and stand in the log of `where`; `sure` (0-1) is how surely they fail."""

    subject: Subject
    service: ResourceRef
    inbound: bool
    lines: tuple[str, ...]
    where: tuple[ResourceRef, str, bool] | None
    sure: float

    @property
    def place(self) -> tuple[str, str]:
        return self.service.namespace, self.service.name

    def cite(self, book: EvidenceBook) -> tuple[str, ...]:
        if self.where is None:
            return ()
        pod, container, previous = self.where
        return (cite_log(book, pod, container, previous, self.lines, f"complains about {self.service}"),)


def calls(scene: Scene) -> list[Call]:
    """The failing requests, those that are complained about first."""
    found: list[Call] = []
    for subject in subjects(scene):
        if broke_itself(scene, subject):
            continue
        for service in scene.topology.out(subject.ref, Relation.CALLS):
            heard = _heard(scene, subject, service)
            if heard is not None:
                found.append(Call(subject, service, False, tuple(heard[0]), heard[1], 1.0))
            elif _perhaps(scene, subject):
                found.append(Call(subject, service, False, (), None, _UNSAID))
        if subject.distance == 0 and serves_badly(scene) and not is_troubled(scene, subject):
            fronts = [*scene.topology.into(subject.ref, Relation.SELECTS)]
            for service in dict.fromkeys(ref for ref in fronts if ref.kind == "Service"):
                said, where = _own_proxy(scene, subject)
                sure = _FROM_OUTSIDE if said or _is_quiet(scene, subject) else _ANOTHER_FAULT
                found.append(Call(subject, service, True, said, where, sure))
    if scene.target.kind == "Service" and serves_badly(scene) and not any(c.inbound for c in found):
        nobody = Subject(scene.target, scene.get(scene.target) or {}, ())
        if not any(is_troubled(scene, subject) for subject in subjects(scene)):
            found.append(Call(nobody, scene.target, True, (), None, _FROM_OUTSIDE))
    return sorted(found, key=lambda call: (not call.lines, call.subject.distance))


def _heard(
    scene: Scene, subject: Subject, service: ResourceRef
) -> tuple[list[str], tuple[ResourceRef, str, bool]] | None:
    """The lines in which the subject, or its proxy, tells that requests to the Service fail."""
    for pod, container, previous, lines in log_lines(scene, subject):
        whole = complaints.spoken_of(lines)
        named = [
            line
            for line in [*mesh.refused(lines), *mesh.without_upstream(lines), *mesh.overflown(lines)]
            if complaints.names(line, service.name)
            or line_names(scene, whole.get(line, line), service, subject.ref.namespace)
        ]
        said = [
            *complaints_about(scene, subject, service, lines),
            *named,
            *mesh.lines_of_proxy(lines, (service.namespace, service.name)),
        ]
        if said:
            return list(dict.fromkeys(said)), (pod, container, previous)
    return None


def _perhaps(scene: Scene, subject: Subject) -> bool:
    """Whether it answers badly, and its logs do not say whose fault that is."""
    if not serves_badly(scene) or is_troubled(scene, subject):
        return False
    return unnamed_complaints(scene, subject) is not None


def _is_quiet(scene: Scene, subject: Subject) -> bool:
    return not any(complaints.complaining(lines) for *_, lines in log_lines(scene, subject))


def _own_proxy(
    scene: Scene, subject: Subject
) -> tuple[tuple[str, ...], tuple[ResourceRef, str, bool] | None]:
    """What the proxy beside the subject says that it refused."""
    for pod, container, previous, lines in log_lines(scene, subject):
        said = [line for line in mesh.refused(lines) if "rbac_access_denied" in line.lower()]
        if said:
            return tuple(said), (pod, container, previous)
    return (), None


def caller_of(scene: Scene, subject: Subject) -> mesh.Caller:
    """The subject as policies see it. Whose pods were not seen is taken for a member of the mesh."""
    account = text(template_spec(subject), "serviceAccountName") or "default"
    member = not subject.pods or any(mesh.in_mesh(pod) for _, pod in subject.pods)
    return mesh.Caller(subject.ref.namespace, account, template_labels(scene, subject.ref), member)


def servers(scene: Scene, service: ResourceRef) -> list[ResourceRef]:
    """The workloads that answer for the Service."""
    return backing(scene, service)


def is_ill(scene: Scene, service: ResourceRef) -> bool:
    """Whether who answers for the Service is plainly not well: then no rule has to be at fault."""
    return any(
        is_troubled(scene, Subject(ref, scene.get(ref) or {}, tuple(scene.pods_of(ref))))
        for ref in servers(scene, service)
    )


def outside_mesh(scene: Scene, workloads: list[ResourceRef]) -> bool | None:
    """Whether no pod of the workloads has a proxy; None where no pod was seen."""
    seen = [pod for ref in workloads for _, pod in scene.pods_of(ref)]
    return not any(mesh.in_mesh(pod) for pod in seen) if seen else None


def acting_on(scene: Scene, kind: str, ref: ResourceRef) -> list[tuple[ResourceRef, JSON]]:
    """The objects of the kind that act on it, without those that were written after the trouble began."""
    found = []
    for source in scene.topology.into(ref, Relation.ACTS_ON):
        live = scene.get(source)
        if source.kind == kind and live is not None and came_before(scene, live):
            found.append((source, live))
    return found


def came_before(scene: Scene, live: JSON) -> bool:
    """Whether it was as it is when the trouble began; what does not tell is taken for old."""
    write = meta.last_write(live)
    return write is None or write.at <= scene.onset + _CLOCKS


def lately(scene: Scene, live: JSON) -> Write | None:
    """Its last write, if that was within a day before the trouble began."""
    write = meta.last_write(live)
    return write if write is not None and scene.onset - LATELY <= write.at <= scene.onset + _CLOCKS else None


def is_absent(scene: Scene, plural: str, namespace: str, name: str) -> bool:
    """Whether the object was asked for and is not there; `plural` is how gaps call its kind."""
    what = f"get {plural}/{name}" + (f" in namespace {namespace}" if namespace else "")
    return any(gap.reason is GapReason.NO_DATA and gap.what == what for gap in scene.gaps)


def was_listed(scene: Scene, plural: str) -> bool:
    """Whether lists of the kind came, as far as they were asked for."""
    return not any(
        gap.reason is not GapReason.NO_DATA and gap.what.startswith(f"list {plural}") for gap in scene.gaps
    )
