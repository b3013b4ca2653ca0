"""Containers that cannot be made because a volume does not fit where it is to be mounted."""

from __future__ import annotations

import re
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_end, cite_release, cite_waiting, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, Trouble, subjects, template_spec, troubles
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.releases import changed, release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene

_REFUSED = re.compile(r'error mounting \\?"[^"]*?\\?" to rootfs at \\?"([^"\\]+)\\?"')
"""How runc tells it: which path on the node, and where in the container. What follows ends with the reason."""
_NOISE = re.compile(r"(?:: unknown)?\s*$")
_EXPLAINS = (
    Category.BAD_ENTRYPOINT, Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.STUCK_POD,
    Category.READINESS_PROBE, Category.CONFIGMAP_CHANGED, Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED,
)  # fmt: skip


class _Mount(NamedTuple):
    """A volume of the template where a container mounts it. `source` is the ConfigMap or Secret, if it is one."""

    volume: str
    key: str  # subPath
    source: ResourceRef | None
    keys: frozenset[str]


@analyzer("mounts")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[tuple[str, str], Hypothesis] = {}
    for subject in subjects(scene):
        for trouble in troubles(scene, subject):
            end = trouble.state.final
            for message in (trouble.state.waiting_message, end.message if end is not None else ""):
                match = _REFUSED.search(message)
                if match is not None:
                    why = _NOISE.sub("", message).rpartition(": ")[2]
                    made = _hypothesis(scene, book, subject, trouble, match.group(1), why)
                    found.setdefault((subject.ref.key, trouble.state.name), made)
    return list(found.values())


def _hypothesis(
    scene: Scene, book: EvidenceBook, subject: Subject, trouble: Trouble, path: str, why: str
) -> Hypothesis:
    mount = _mount(scene, subject, trouble.state.name, path)
    evidence = [cite_waiting(book, trouble)] if trouble.state.waiting in pods.BAD_WAITING else []
    if trouble.state.final is not None:
        evidence.append(cite_end(book, trouble, trouble.state.final))
    resource, category, precedes = subject.ref, Category.BAD_ENTRYPOINT, None
    facts = {"container": trouble.state.name, "pod": trouble.pod.name}
    release = release_of(scene, subject)
    if (
        release is not None
        and release.precedes(scene.onset)
        and changed(release, "volume", "configMap", "secret")
    ):
        evidence.append(cite_release(book, subject, release))
        facts |= release.facts()
        precedes = True
    what = f"{path} cannot be mounted in container {trouble.state.name} of {subject.ref} ({why[:80]})"
    if mount is not None and mount.source is not None and mount.key and mount.key not in mount.keys:
        category = Category.CONFIG_MISSING
        resource = mount.source if precedes is None else subject.ref
        has = f"it has {', '.join(sorted(mount.keys)[:4])}" if mount.keys else "it has none"
        what = f"subPath {mount.key} of volume {mount.volume} is no key of {mount.source} ({has}): {what}"
        evidence.append(
            book.cite(
                EvidenceKind.CONFIG,
                mount.source,
                f"{mount.source}: {has}",
                command=commands.show(mount.source),
            )
        )
        live = scene.get(mount.source) or {}
        write = meta.last_write(live)
        if precedes is None and write is not None and write.at > (meta.created(live) or write.at):
            evidence.append(cite_write(book, mount.source, f"{mount.source} was changed", write))
            precedes = True if write.at <= scene.onset else None
    elif mount is not None:
        what = f"volume {mount.volume} does not fit: {what}"
    return Hypothesis(
        resource=resource,
        category=category,
        summary=what,
        support=support(subject, 1.0, precedes=precedes, steps=0 if resource == subject.ref else 1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        container=trouble.state.name,
        facts=facts,
    )


def _mount(scene: Scene, subject: Subject, container: str, path: str) -> _Mount | None:
    spec = template_spec(subject)
    wanted = next((each for each in pods.containers(spec) if text(each, "name") == container), {})
    for mount in objects(wanted, "volumeMounts"):
        if text(mount, "mountPath").rstrip("/") != path.rstrip("/"):
            continue
        name = text(mount, "name")
        volume = next((each for each in objects(spec, "volumes") if text(each, "name") == name), {})
        for kind, field, key in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
            place = mapping(volume, field)
            if text(place, key):
                ref = scene.ref(kind, subject.ref.namespace, text(place, key))
                live = scene.get(ref) or {}
                chosen = {text(item, "path") for item in objects(place, "items")}
                keys = chosen or {*mapping(live, "data"), *mapping(live, "binaryData")}
                return _Mount(name, text(mount, "subPath"), ref if live else None, frozenset(keys))
        return _Mount(name, text(mount, "subPath"), None, frozenset())
    return None
