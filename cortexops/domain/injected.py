"""Containers that a pod has and its template has not: an admission webhook added them."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from cortexops.domain.findings import Subject, template_spec
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import objects, text, texts, words
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_LATELY = timedelta(hours=24)


class Injector(NamedTuple):
    """Who adds the container: a webhook, or the ConfigMap, changed lately, that tells it what to add."""

    ref: ResourceRef
    write: meta.Write | None


def is_injected(template: JSON, pod: JSON, container: str) -> bool:
    """Whether the pod has a container of that name and the pod spec of its template has none."""
    known = {text(spec, "name") for spec in pods.containers(template)}
    return bool(known) and container not in known and bool(pods.spec_of(pod, container))


def adds_to_pods(configuration: JSON) -> bool:
    """Whether a MutatingWebhookConfiguration has a say when pods are created."""
    return any(
        {"pods", "*", "*/*"} & set(words(rule, "resources"))
        and {"CREATE", "*"} & set(words(rule, "operations"))
        for hook in objects(configuration, "webhooks")
        for rule in objects(hook, "rules")
    )


def tells_image(config: JSON, image: str) -> bool:
    """Whether a ConfigMap names the image, in one piece or as its registry path and its tag."""
    whole = "\n".join(texts(config, "data").values())
    repository, _, tag = image.rpartition(":")
    hub = repository.rpartition("/")[0]
    return image in whole or (bool(hub and tag) and hub in whole and tag in whole)


def injector_of(scene: Scene, subject: Subject, pod: JSON, container: str, image: str) -> Injector | None:
    """Whoever added the container to the pod, when that can be told."""
    if subject.ref.kind == "Pod" or not is_injected(template_spec(subject), pod, container):
        return None
    hooks = [ref for ref, live in scene.of_kind("MutatingWebhookConfiguration") if adds_to_pods(live)]
    places = {
        text(hook, "clientConfig", "service", "namespace")
        for ref in hooks
        for hook in objects(scene.get(ref) or {}, "webhooks")
    }
    for ref, live in scene.of_kind("ConfigMap"):
        write, born = meta.last_write(live), meta.created(live)
        if ref.namespace in places and tells_image(live, image) and write is not None:
            late = scene.onset - _LATELY <= write.at <= scene.onset
            if late and (born is None or write.at > born):
                return Injector(ref, write)
    return Injector(hooks[0], None) if len(hooks) == 1 else None
