"""Which workload an object belongs to: from owner references, or guessed from labels and names.

A guess is made only from shapes that Kubernetes itself generates, so that it gives the same workload as the
owner references would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from cortexops.domain.resource import JSON, ResourceRef, reference

_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # the alphabet of generated suffixes: no vowels, so hardly ever a word
_deployment_pod = re.compile(rf"(?P<name>.+)-(?P<hash>[{_SAFE}]{{6,10}})-[{_SAFE}]{{5}}")
_replica_set = re.compile(rf"(?P<name>.+)-(?P<hash>[{_SAFE}]{{6,10}})")
_generated = re.compile(rf"(?P<name>.+)-[{_SAFE}]{{5}}")
_ordinal = re.compile(r"(?P<name>.+)-\d{1,5}")
_cron_job = re.compile(r"(?P<name>.+)-\d{8,10}")

CLIMBS = frozenset({"Pod", "ReplicaSet", "Job"})
"""Kinds that may belong to something above them."""
_NO_LABELS: Mapping[str, str] = {}
_OWNERS = frozenset(
    {"ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController"}
)


class Owner(NamedTuple):
    kind: str
    name: str


def controller_of(item: JSON) -> Owner | None:
    """The controlling owner, if it is of a kind that we know; a custom controller's object stands alone."""
    for owner in (item.get("metadata") or {}).get("ownerReferences") or []:
        if owner.get("controller") and owner.get("kind") in _OWNERS:
            return Owner(str(owner["kind"]), str(owner.get("name") or ""))
    return None


def _from_labels(labels: Mapping[str, str]) -> Owner | None:
    for label, kind in (
        ("deployment", "Deployment"),
        ("statefulset", "StatefulSet"),
        ("daemonset", "DaemonSet"),
        ("cronjob", "CronJob"),
    ):
        if labels.get(label):
            return Owner(kind, labels[label])
    created_by = labels.get("created_by_kind", "")
    if created_by in _OWNERS and labels.get("created_by_name"):
        return Owner(created_by, labels["created_by_name"])
    job = labels.get("batch.kubernetes.io/job-name") or labels.get("job-name") or labels.get("job_name")
    return Owner("Job", job) if job else None


def guess_owner(kind: str, name: str, labels: Mapping[str, str]) -> Owner | None:
    """The next owner above a Pod, ReplicaSet or Job when the cluster cannot be asked; None when unclear."""
    if kind == "ReplicaSet":
        match = _replica_set.fullmatch(name)
        return Owner("Deployment", match["name"]) if match else None
    if kind == "Job":
        match = _cron_job.fullmatch(name)
        return Owner("CronJob", match["name"]) if match else None
    if kind != "Pod":
        return None
    if (told := _from_labels(labels)) is not None:
        return told
    template = labels.get("pod-template-hash", "")
    if template and f"-{template}-" in name:
        return Owner("Deployment", name.rpartition(f"-{template}-")[0])
    if match := _deployment_pod.fullmatch(name):
        return Owner("Deployment", match["name"])
    if match := _ordinal.fullmatch(name):
        return Owner("StatefulSet", match["name"])
    if match := _generated.fullmatch(name):
        cron = _cron_job.fullmatch(match["name"])
        return Owner("CronJob", cron["name"]) if cron else Owner("DaemonSet", match["name"])
    return None


def guess_workload(resource: ResourceRef, labels: Mapping[str, str]) -> ResourceRef:
    """The topmost workload by guesses alone; the object itself when nothing can be told."""
    kind, name = resource.kind, resource.name
    for _ in range(3):
        owner = guess_owner(kind, name, labels)
        if owner is None:
            break
        kind, name = owner
        labels = _NO_LABELS  # they are the first object's
    return reference(resource.cluster, kind, resource.namespace, name)


def revision_of(pod: str) -> str:
    """The ReplicaSet whose pods have names of this form, all with one owner; empty for other forms."""
    match = _deployment_pod.fullmatch(pod)
    return f"{match['name']}-{match['hash']}" if match else ""
