"""Which pods run with a value of a ConfigMap or Secret that they took when they started, and so hold it for good.

The kubelet updates the files of a volume in running pods; a variable, and a file mounted by `subPath`, never.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from cortexops.domain.change import Change
from cortexops.domain.kubernetes.meta import deleting_since, owner
from cortexops.domain.kubernetes.references import config_uses
from cortexops.domain.kubernetes.values import mapping, moment, number, objects, text
from cortexops.domain.resource import JSON, ResourceRef

_LATELY = timedelta(minutes=15)
_ENV = {"ConfigMap": ("configMapKeyRef", "configMapRef"), "Secret": ("secretKeyRef", "secretRef")}
_VOLUME = {"ConfigMap": ("configMap", "name"), "Secret": ("secret", "secretName")}
_LEFT_ALONE = ("Job", "Node")
"""Whose pods are not made anew for it: what a Job has done would be lost, a static pod is no controller's."""


def key_of(change: Change) -> str:
    """The key in `data` that the change edits; empty when it edits none."""
    paths = [field.path for field in change.edits if field.path.startswith("/data/")]
    return paths[0].removeprefix("/data/").replace("~1", "/").replace("~0", "~") if paths else ""


def crashed_with(pod: JSON, target: ResourceRef, key: str, now: datetime) -> bool:
    """Whether a container that reads the key crashed lately. Told by how it ended, which holds still between
    two crashes."""
    readers = {
        use.container
        for use in config_uses(mapping(pod, "spec"))
        if (use.kind, use.name) == (target.kind, target.name) and use.key in ("", key)
    }
    statuses = objects(pod, "status", "containerStatuses")
    return any(_failed(status, now) for status in statuses if text(status, "name") in readers)


def holds_value(pod: JSON, target: ResourceRef, key: str, since: datetime | None) -> bool:
    """Whether a pod that serves took the key at a start after the value was written. Where it is not known when
    that was (`since`), every start counts; a pod that started before it has the value of then."""
    controller = owner(pod)
    if controller is None or controller[0] in _LEFT_ALONE or deleting_since(pod) is not None:
        return False
    starts = starts_with(pod, target, key, ended=True)
    return any(since is None or began >= since for began in starts)


def holds_from_before(pod: JSON, target: ResourceRef, key: str, since: datetime) -> bool:
    """Whether a container runs with what it took at a start not after this moment."""
    return any(began <= since for began in starts_with(pod, target, key))


def starts_with(pod: JSON, target: ResourceRef, key: str, *, ended: bool = False) -> Iterator[datetime]:
    """When each container began that took the key at its start and runs with it. What an init container made of
    it stays as long as the pod, so its end does not matter.

    `ended`: the last start of those that are between two runs, too, so that the answer holds still meanwhile."""
    spec = mapping(pod, "spec")
    takers = {text(one, "name") for one in _every(spec) if _takes(one, spec, target, key)}
    for part in ("containerStatuses", "initContainerStatuses"):
        for status in objects(pod, "status", part):
            began = moment(status, "state", "running", "startedAt")
            if began is None and (ended or part == "initContainerStatuses"):
                began = moment(status, "state", "terminated", "startedAt")
            if began is None and ended:
                began = moment(status, "lastState", "terminated", "startedAt")
            if began is not None and text(status, "name") in takers:
                yield began


def _every(spec: JSON) -> list[JSON]:
    return objects(spec, "initContainers") + objects(spec, "containers")


def _takes(container: JSON, spec: JSON, target: ResourceRef, key: str) -> bool:
    """Whether it is given the key as a variable, or as a file by `subPath`."""
    single, whole = _ENV[target.kind]
    for entry in objects(container, "env"):
        ref = mapping(entry, "valueFrom", single)
        if (text(ref, "name"), text(ref, "key")) == (target.name, key):
            return True
    if any(text(entry, whole, "name") == target.name for entry in objects(container, "envFrom")):
        return True
    files = {text(one, "name"): set(_files(one, target, key)) for one in objects(spec, "volumes")}
    for mount in objects(container, "volumeMounts"):
        paths = files.get(text(mount, "name"), set())
        if paths and text(mount, "subPathExpr"):
            return True  # which file that is shows only in the container
        below = text(mount, "subPath").strip("/")
        if below and any(path == below or path.startswith(f"{below}/") for path in paths):
            return True
    return False


def _files(volume: JSON, target: ResourceRef, key: str) -> Iterator[str]:
    """The paths in the volume at which the key is."""
    field, named = _VOLUME[target.kind]
    sources = [(mapping(volume, field), named)]
    sources += [(mapping(one, field), "name") for one in objects(volume, "projected", "sources")]
    for source, name in sources:
        if text(source, name) != target.name:
            continue
        items = objects(source, "items")
        yield from (text(item, "path").strip("/") for item in items if text(item, "key") == key)
        if not items:
            yield key


def _failed(status: JSON, now: datetime) -> bool:
    """Whether the container's last end was a failure within the last quarter of an hour."""
    for state in ("state", "lastState"):
        end = mapping(status, state, "terminated")
        at = moment(end, "finishedAt")
        if at is not None and at >= now - _LATELY and number(end, "exitCode") != 0:
            return True
    return False
