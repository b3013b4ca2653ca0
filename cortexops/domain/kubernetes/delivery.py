"""Who brings a workload into the cluster, what a deliverer brings, and whether that failed."""

from __future__ import annotations

import re
from typing import NamedTuple

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.meta import Condition
from cortexops.domain.kubernetes.values import mapping, moment, objects, text
from cortexops.domain.resource import JSON

KINDS = ("Application", "HelmRelease", "Kustomization")
_PARTS = 4
_TRACKING = "argocd.argoproj.io/tracking-id"
_ARGO = "argocd"
_WAITED = re.compile(
    r"(?i)(timed? ?out|deadline|health ?check|progressing|not ready|unhealthy|waiting for|degraded)"
)
"""It delivered, and waited in vain for what it delivered to be well: that is a symptom."""
_ASKED = re.compile(r"[?&]timeout=\w+")
"""How long a webhook may take, in its address: it says nothing of whether it took that long."""


class Deliverer(NamedTuple):
    kind: str
    namespace: str
    name: str


def deliverers(workload: JSON) -> list[Deliverer]:
    """Who delivers the workload, as its labels and annotations say."""
    found = []
    tracked = meta.annotations_of(workload).get(_TRACKING, "").partition(":")[0]
    if tracked:
        space, _, name = tracked.rpartition("_")
        found.append(Deliverer("Application", space or _ARGO, name))
    labels = meta.labels(workload)
    for kind, prefix in (("HelmRelease", "helm"), ("Kustomization", "kustomize")):
        name = labels.get(f"{prefix}.toolkit.fluxcd.io/name", "")
        space = labels.get(f"{prefix}.toolkit.fluxcd.io/namespace", "")
        if name and space:
            found.append(Deliverer(kind, space, name))
    return found


def delivered(kind: str, obj: JSON) -> list[tuple[str, str, str]]:
    """(kind, namespace, name) of what it says that it has delivered; a HelmRelease does not say."""
    if kind == "Application":
        listed = objects(obj, "status", "resources")
        return [(text(each, "kind"), text(each, "namespace"), text(each, "name")) for each in listed]
    found = []
    for entry in objects(obj, "status", "inventory", "entries"):
        parts = text(entry, "id").split("_")  # namespace_name_group_kind; no part may hold the mark itself
        if len(parts) == _PARTS:
            found.append((parts[3], parts[0], parts[1]))
    return found


def places(kind: str, obj: JSON) -> list[str]:
    """The namespaces that it delivers to, the likeliest first."""
    told = (text(obj, "spec", "targetNamespace"), text(obj, "spec", "destination", "namespace"))
    spaces = [*told, *(space for _, space, _ in delivered(kind, obj)), meta.namespace(obj)]
    return [space for space in dict.fromkeys(spaces) if space]


def failure(kind: str, obj: JSON) -> Condition | None:
    """What says that the delivery itself failed, if it did."""
    if kind == "Application":
        found = _of_application(obj)
    else:
        ready = meta.condition(obj, "Ready")
        found = ready if ready.status == "False" else None
    said = "" if found is None else _ASKED.sub("", f"{found.reason} {found.message}")
    return None if _WAITED.search(said) else found


def _of_application(obj: JSON) -> Condition | None:
    done = mapping(obj, "status", "operationState")
    if text(done, "phase") in ("Failed", "Error"):
        return Condition(
            "Synced", "False", text(done, "phase"), text(done, "message"), moment(done, "finishedAt")
        )
    for each in objects(obj, "status", "conditions"):
        if text(each, "type").endswith("Error"):
            since = moment(each, "lastTransitionTime")
            return Condition("Synced", "False", text(each, "type"), text(each, "message"), since)
    return None
