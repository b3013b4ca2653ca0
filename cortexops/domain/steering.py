"""Attempts at steering the investigation, found in what it read: reported, and without any influence.

They are looked for after the diagnosis is complete and are kept apart from its evidence, so that neither a
cause nor a rank, an action, a prompt or a memory can come of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from cortexops.domain.evidence import EvidenceKind
from cortexops.domain.injection_signs import InjectionKind, injections
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import mapping, objects, texts
from cortexops.domain.resource import JSON, Frozen, ResourceRef
from cortexops.domain.scene import Scene

_MOST = 20
_LONGEST = 65_536  # characters of one text
_MOST_READ = 1 << 20  # characters of all texts of one investigation
_SPECS = (("spec",), ("spec", "template", "spec"), ("spec", "jobTemplate", "spec", "template", "spec"))
_OURS = ("kubectl.kubernetes.io/last-applied-configuration",)


class Attempt(Frozen):
    """Something in the text of an object that tries to steer its reader. `where` names the place in words."""

    kind: InjectionKind
    evidence: EvidenceKind
    resource: ResourceRef
    where: str
    excerpt: str

    @property
    def caveat(self) -> str:
        """One sentence for people."""
        return (
            f"{self.where} of {self.resource} holds text that tries to steer its reader ({self.kind}); "
            "it was read as data and had no influence on this result"
        )


def report_facts(found: Iterable[Attempt]) -> list[dict[str, Any]]:
    """The attempts as entries of a report's evidence, `i1`, `i2` …; nothing cites them."""
    return [
        {
            "id": f"i{number}",
            "kind": each.evidence.value,
            "resource": each.resource.model_dump(mode="json"),
            "at": None,
            "summary": each.caveat,
            "excerpt": each.excerpt,
            "command": "",
        }
        for number, each in enumerate(found, start=1)
    ]


def report_caveat_field(found: Iterable[Attempt]) -> dict[str, list[str]]:
    """The report's field of that name; no field at all where there is nothing to say."""
    caveats = report_caveats(found)
    return {"caveats": caveats} if caveats else {}


def report_caveats(found: Iterable[Attempt]) -> list[str]:
    """What a reader of the report must know before anything else in it, each sentence once."""
    return list(dict.fromkeys(each.caveat for each in found))


class _Text(NamedTuple):
    kind: EvidenceKind
    resource: ResourceRef
    where: str
    text: str


def attempts(scene: Scene) -> tuple[Attempt, ...]:
    """One for each place and kind, at most 20; of the texts at most a mebibyte is looked through.

    A sign that a place shares with all of its kind is still one: a text that many pods log is named once.
    """
    found: dict[tuple[InjectionKind, str], Attempt] = {}
    read: set[str] = set()
    left = _MOST_READ
    for each in _texts(scene):
        text = each.text[-_LONGEST:] if each.kind is EvidenceKind.LOG else each.text[:_LONGEST]
        if text in read:
            continue
        read.add(text)
        left -= len(text)
        if left < 0:
            break
        for mark in injections(text):
            key = (mark.kind, mark.excerpt)
            if key not in found:
                found[key] = Attempt(
                    kind=mark.kind, evidence=each.kind, resource=each.resource, where=each.where, excerpt=mark.excerpt
                )  # fmt: skip
    return tuple(found.values())[:_MOST]


def _texts(scene: Scene) -> Iterator[_Text]:
    """Everything that somebody else wrote, what is likeliest to be read by people first."""
    for signal in scene.signals:
        yield _Text(EvidenceKind.STATUS, signal.resource, "the summary of an alert", signal.summary)
        for name, value in signal.labels.items():
            yield _Text(EvidenceKind.STATUS, signal.resource, f"the label {name[:80]} of an alert", value)
    for event in scene.events:
        yield _Text(EvidenceKind.EVENT, event.about, f"an event ({event.reason[:60]})", event.message)
    for ref, obj in _objects(scene):
        yield from _in_object(ref, obj)
    for log in scene.logs:
        yield _Text(EvidenceKind.LOG, log.pod, f"the log of container {log.container}", "\n".join(log.lines))


def _objects(scene: Scene) -> Iterator[tuple[ResourceRef, JSON]]:
    for key in sorted(scene.objects):
        cluster, namespace, kind, name = key.split(":", 3)
        yield ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name), scene.objects[key]


def _in_object(ref: ResourceRef, obj: JSON) -> Iterator[_Text]:
    for name, value in meta.annotations_of(obj).items():
        if name not in _OURS:
            yield _Text(EvidenceKind.CONFIG, ref, f"the annotation {name[:100]}", value)
    for name, value in meta.labels(obj).items():
        yield _Text(EvidenceKind.CONFIG, ref, f"the label {name[:100]}", value)
    if ref.kind == "ConfigMap":
        for name, value in texts(obj, "data").items():
            yield _Text(EvidenceKind.CONFIG, ref, f"the key {name[:100]}", value)
    for path in _SPECS:
        for container in (
            *objects(mapping(obj, *path), "initContainers"),
            *objects(mapping(obj, *path), "containers"),
        ):
            yield from _in_container(ref, container)
    if ref.kind == "Pod":
        for state in pods.container_states(obj):
            for ended in (state.ended, state.last):
                if ended is not None and ended.message:
                    yield _Text(
                        EvidenceKind.STATUS, ref, f"the last words of container {state.name}", ended.message
                    )
    for condition in objects(mapping(obj, "status"), "conditions"):
        message = condition.get("message")
        if isinstance(message, str):
            yield _Text(EvidenceKind.STATUS, ref, f"the condition {str(condition.get('type'))[:60]}", message)


def _in_container(ref: ResourceRef, container: JSON) -> Iterator[_Text]:
    name = str(container.get("name", ""))[:63]
    for field in ("command", "args"):
        parts = container.get(field)
        if isinstance(parts, list) and parts:
            text = " ".join(str(part) for part in parts)
            yield _Text(EvidenceKind.CONFIG, ref, f"the {field} of container {name}", text)
    image = container.get("image")
    if isinstance(image, str):
        yield _Text(EvidenceKind.CONFIG, ref, f"the image of container {name}", image)
    for variable in objects(container, "env"):
        value = variable.get("value")
        if isinstance(value, str):
            key = str(variable.get("name"))[:80]
            yield _Text(EvidenceKind.CONFIG, ref, f"the variable {key} of container {name}", value)
