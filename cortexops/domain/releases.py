"""Releases: when the present pod template came, what it changed, and which pods run it."""

from __future__ import annotations

import copy
import re
from datetime import datetime, timedelta
from typing import NamedTuple

from cortexops.domain.change import DiffLine, diff
from cortexops.domain.findings import Subject
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import dig, mapping, number, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_NOISE = ("pod-template-hash", "kubectl.kubernetes.io/restartedAt", "controller-revision-hash", "$patch")
_MARKER = re.compile(r"(?i)(checksum|config-?hash|secret-?hash|restarted-?at|rollme|last-reloaded-from)")
"""Annotations that only make pods start anew when configuration changed; the program is the same."""
_RELOADED = "STAKATER_"  # variables by which Reloader does the same
_BLAMED_FOR = timedelta(hours=24)
"""A release older than this before the onset is not what suddenly broke a workload that ran well since."""
_SLACK = timedelta(seconds=60)  # clocks, and alerts that name the minute


class Release(NamedTuple):
    """The present revision against the one before it. `lines` is what changed in the pod template."""

    revision: str
    previous: str
    at: datetime | None
    ref: ResourceRef
    hash: str
    lines: tuple[DiffLine, ...]
    before: JSON
    after: JSON

    def precedes(self, onset: datetime) -> bool:
        """Whether it came before the trouble, and not so long before that it cannot have brought it."""
        return self.at is not None and onset - _BLAMED_FOR <= self.at <= onset + _SLACK

    @property
    def summary(self) -> str:
        """`revision 12 (was 11): image a → b, …`."""
        shown = [
            f"{line.path} {line.before or '(absent)'} → {line.after or '(removed)'}" for line in self.lines
        ]
        more = f", and {len(shown) - 4} more" if len(shown) > 4 else ""
        return f"revision {self.revision} (was {self.previous}): " + ", ".join(shown[:4]) + more

    def container_before(self, name: str) -> JSON:
        return pods.spec_of(self.before, name)

    def container_after(self, name: str) -> JSON:
        return pods.spec_of(self.after, name)

    def facts(self) -> dict[str, str]:
        return {"revision": self.revision, "previous_revision": self.previous}


def _plain(template: JSON) -> JSON:
    """The template without what controllers and restarts add."""
    plain = copy.deepcopy(template)
    plain.pop("$patch", None)
    for part in ("labels", "annotations"):
        there = mapping(plain, "metadata", part)
        for key in [key for key in there if key in _NOISE or _MARKER.search(key)]:
            there.pop(key)
        if isinstance(plain.get("metadata"), dict) and not there:
            plain["metadata"].pop(part, None)
    if isinstance(plain.get("metadata"), dict):
        plain["metadata"].pop("creationTimestamp", None)
    for container in pods.containers(mapping(plain, "spec")):
        if isinstance(container.get("env"), list):
            container["env"] = [
                entry for entry in container["env"] if not text(entry, "name").startswith(_RELOADED)
            ]
    return plain


def _compare(before: JSON, after: JSON) -> tuple[DiffLine, ...]:
    return tuple(diff(_plain(before), _plain(after)))


def release_of(scene: Scene, subject: Subject) -> Release | None:
    """The newest change of the pod template; None when there is no earlier revision that differs."""
    if subject.ref.kind in ("Deployment", "Rollout"):
        return _of_deployment(scene, subject)
    if subject.ref.kind in ("StatefulSet", "DaemonSet"):
        return _of_revisions(scene, subject)
    return None


def _of_deployment(scene: Scene, subject: Subject) -> Release | None:
    revisions = scene.revisions(subject.ref)
    if not revisions:
        return None
    revision, ref, newest = revisions[0]
    after = mapping(newest, "spec", "template")
    for earlier, _, replica_set in revisions[1:]:
        before = mapping(replica_set, "spec", "template")
        lines = _compare(before, after)
        if lines and before:
            label = pods.template_hash(meta.labels(newest))
            at = _rolled_out(scene, subject, newest)
            return Release(str(revision), str(earlier), at, ref, label, lines, before, after)
    return None


def _rolled_out(scene: Scene, subject: Subject, replica_set: JSON) -> datetime | None:
    """When the revision came into force: an older ReplicaSet may have been taken into use again."""
    if "deployment.kubernetes.io/revision-history" not in meta.annotations_of(replica_set):
        return meta.created(replica_set)
    write = meta.writes(subject.obj, "spec", "template")
    scaled = [
        event.first
        for event in scene.events_about(subject.ref, "ScalingReplicaSet")
        if f"up replica set {meta.name(replica_set)} " in event.message and event.first is not None
    ]
    return write.at if write else min(scaled, default=meta.created(replica_set))


def _of_revisions(scene: Scene, subject: Subject) -> Release | None:
    found: list[tuple[int, ResourceRef, JSON]] = []
    for ref in scene.topology.out(subject.ref, Relation.OWNS):
        obj = scene.get(ref)
        if ref.kind == "ControllerRevision" and obj is not None:
            found.append((number(obj, "revision"), ref, obj))
    found.sort(key=lambda item: (-item[0], item[1].name))
    if len(found) < 2:
        return None
    revision, ref, newest = found[0]
    earlier, _, older = found[1]
    before, after = (mapping(obj, "data", "spec", "template") for obj in (older, newest))
    lines = _compare(before, after)
    if not lines or not before:
        return None
    at = meta.created(newest)
    return Release(str(revision), str(earlier), at, ref, ref.name, lines, before, after)


def runs(release: Release, pod: JSON) -> bool:
    """Whether the pod is of the present revision."""
    labels = meta.labels(pod)
    known = pods.template_hash(labels) or labels.get("controller-revision-hash")
    owner = meta.owner(pod)
    return known == release.hash or (owner is not None and owner[1] == release.ref.name)


class Split(NamedTuple):
    """How the pods of the present and of earlier revisions fare."""

    new_ready: int
    new_failing: int
    old_ready: int
    old_failing: int


def split(release: Release, subject: Subject, failing: set[ResourceRef]) -> Split:
    """Counted over the subject's pods; `failing` are those that an analyzer found in trouble."""
    counts = [0, 0, 0, 0]
    for ref, pod in subject.pods:
        old = not runs(release, pod)
        if ref in failing:
            counts[3 if old else 1] += 1
        elif pods.is_ready(pod):
            counts[2 if old else 0] += 1
    return Split(*counts)


def image_facts(release: Release | None, container: str, image: str) -> dict[str, str]:
    """`image`, and `previous_image` where the release changed it."""
    facts = {"image": image}
    if release is not None:
        before = text(release.container_before(container), "image")
        if before and before != image:
            facts["previous_image"] = before
    return facts


def changed(release: Release, *parts: str) -> list[DiffLine]:
    """The changed lines whose path holds one of the words."""
    return [line for line in release.lines if any(part in line.path for part in parts)]


def field(template: JSON, container: str, *path: str) -> str:
    """A field of a container in a template, as text."""
    return text(dig(pods.spec_of(template, container), *path))
