"""From labels, tags and details to the object that an alert is about, and to the signal.

Metrics about a workload carry the labels of the exporter as well (kube-state-metrics' own pod, service and
scrape job). So the order below goes from what can only mean the object to what may mean the exporter, and a
label that the scrape renamed (`exported_…`) beats the plain one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import KINDS, ResourceRef
from cortexops.domain.signal import (
    Severity,
    Signal,
    SignalStatus,
    SignalType,
    invalid_input,
    seal,
    sealed_signal,
    severity_from_word,
    signal_type,
)
from cortexops.domain.targets import ADDRESS
from ingest.instances import address_of, instead_of
from ingest.source import (
    EARLIEST,
    LONGEST_LABEL,
    MOST_LABELS,
    SKEW,
    SKEW_LABEL,
    TARGET_LABEL,
    NoTarget,
    clean_labels,
    cluster_name,
    one_line,
    reference,
    some_time,
    summary_text,
    table,
    text_of,
)

_ORDER = (
    ("deployment", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("replicaset", "ReplicaSet"),
    ("cronjob", "CronJob"),
    ("job_name", "Job"),
    ("persistentvolumeclaim", "PersistentVolumeClaim"),
    ("horizontalpodautoscaler", "HorizontalPodAutoscaler"),
    ("hpa", "HorizontalPodAutoscaler"),
    ("poddisruptionbudget", "PodDisruptionBudget"),
    ("resourcequota", "ResourceQuota"),
    ("pod", "Pod"),
    ("pod_name", "Pod"),
    ("kubernetes_pod_name", "Pod"),
    ("node", "Node"),
    ("kubernetes_node", "Node"),
    ("ingress", "Ingress"),
    ("service", "Service"),
    ("httproute", "HTTPRoute"),
    ("gateway", "Gateway"),  # other things are called so, too: only where nothing else is named
)
# Label → (rank, kind, label); of the labels that an alert has, the lowest rank names the object.
_RANKED = {
    f"{prefix}{label}": (2 * place + late, kind, f"{prefix}{label}")
    for place, (label, kind) in enumerate(_ORDER)
    for late, prefix in enumerate(("exported_", ""))
}
_KIND_LABELS = ("customresource_kind", "exported_kind", "resource_kind", "kind")
"""With `name`: as Flux and kube-state-metrics tell of objects of any kind."""
_ABOUT_APPLICATIONS = ("dest_namespace", "dest_server")  # with `name`: as Argo CD tells of its Applications
_ABOUT_CERTIFICATES = ("certmanager", "cert-manager", "cert_manager")
_WORKLOAD_TYPES = {
    kind.lower(): kind for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
}
_ACCEPTED = "deployment, statefulset, daemonset, cronjob, job_name, pod, node, service"

_SHORT_KINDS = {
    "po": "Pod",
    "deploy": "Deployment",
    "sts": "StatefulSet",
    "ds": "DaemonSet",
    "rs": "ReplicaSet",
    "cj": "CronJob",
    "svc": "Service",
    "no": "Node",
    "ns": "Namespace",
    "pvc": "PersistentVolumeClaim",
    "hpa": "HorizontalPodAutoscaler",
    "pdb": "PodDisruptionBudget",
    "ing": "Ingress",
    "cm": "ConfigMap",
}
_KIND_WORDS = {
    **{kind.kind.lower(): kind.kind for kind in KINDS.values()},
    **{kind.plural: kind.kind for kind in KINDS.values()},
    **_SHORT_KINDS,
}
_LONGEST_FINGERPRINT = 64
_series_key = re.compile(r"[A-Za-z0-9._/-]+")
_RESOURCE_FORM = "must be kind/name or kind/namespace/name, for example deployment/shop/api"


def _label(labels: Mapping[str, str], name: str) -> str:
    return labels.get(f"exported_{name}") or labels.get(name) or ""


def _object(labels: Mapping[str, str], name: str, kind: SignalType) -> tuple[str, str, str] | None:
    """(kind, name, label it came from)."""
    if kind is SignalType.NODE_NOT_READY or name.startswith(("KubeNode", "Node")):
        for label in ("node", "kubernetes_node"):
            if found := _label(labels, label):
                return "Node", found, label
    if name.lower().startswith(_ABOUT_CERTIFICATES) and (found := _label(labels, "name")):
        return "Certificate", found, "name"
    if "workload_type" in labels or "exported_workload_type" in labels:
        workload = _WORKLOAD_TYPES.get(_label(labels, "workload_type").lower())
        if workload and (found := _label(labels, "workload")):
            return workload, found, "workload"
    if (named := _label(labels, "name")) and (told := _told_kind(labels)):
        return told, named, "name"
    known = [_RANKED[label] for label, text in labels.items() if label in _RANKED and text]
    if known:
        _, object_kind, label = min(known)
        return object_kind, labels[label], label.removeprefix("exported_")
    if "namespace" in name.lower() and (found := _label(labels, "namespace")):
        return "Namespace", found, "namespace"
    # `job` is the scrape job on nearly every metric; only an alert about jobs means a Job by it.
    if "Job" in name and (found := _label(labels, "job")):
        return "Job", found, "job"
    return None


def _told_kind(labels: Mapping[str, str]) -> str:
    """The kind of the object that the label `name` names, where other labels tell it; "" where none does."""
    words = (labels[label].lower() for label in _KIND_LABELS if label in labels)
    kind = next((_KIND_WORDS[word] for word in words if word in _KIND_WORDS), "")
    return kind or ("Application" if any(label in labels for label in _ABOUT_APPLICATIONS) else "")


def resource_of(
    labels: Mapping[str, str], name: str, kind: SignalType, *, cluster: str, field: str = "labels"
) -> ResourceRef:
    """The object behind the labels of the alert `name`; `cluster` unless a label names one. Where they give
    no more than the address that was scraped, its kind is `ADDRESS`: the cluster knows whose it is.

    Raises `NoTarget` naming the missing label, `InvalidInput` for one that cannot be a name.
    """
    where = cluster_name(labels.get("cluster") or cluster, f"{field}.cluster")
    found = _object(labels, name, kind)
    if found is None:
        address = address_of(labels, name, field=field, accepted=_ACCEPTED)
        return reference(where, ADDRESS, "", address.name, f"{field}.instance")
    object_kind, object_name, label = found
    if (scraped := instead_of(labels, name, label, object_name)) is not None:
        return reference(where, ADDRESS, "", scraped.name, f"{field}.instance")
    namespace = ""
    if KINDS[object_kind].namespaced:
        namespace = _label(labels, "namespace") or labels.get("kubernetes_namespace", "")
        if not namespace:
            raise NoTarget(f"{field}.namespace", f"is missing; a {object_kind} (label {label}) needs one")
    return reference(where, object_kind, namespace, object_name, field)


def named_by(labels: Mapping[str, str], name: str) -> str:
    """The label by which the object of the alert `name` is known, for people who ask; empty for none."""
    found = _object(labels, name, signal_type(name))
    return found[2] if found is not None else ""


# -- objects in one word ------------------------------------------------------------------------------


def split_resource(text: str, field: str) -> tuple[str, str, str]:
    """(kind, namespace or "", name) of `deployment/api` or `Deployment/shop/api`; any spelling of the kind
    that kubectl knows. Raises `InvalidInput`."""
    parts = text.strip().split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise InvalidInput(field, _RESOURCE_FORM)
    word = parts[0].strip()
    kind = _KIND_WORDS.get(word.lower().partition(".")[0])
    if kind is None:
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]{0,62}", word):
            raise InvalidInput(field, _RESOURCE_FORM)
        kind = word  # a kind of somebody's own, written as in YAML
    return kind, parts[1].strip() if len(parts) == 3 else "", parts[-1].strip()


def is_resource(text: str) -> bool:
    """Whether it reads like `deployment/shop/api`, with a kind that the product knows."""
    try:
        return split_resource(text, "resource")[0] in KINDS
    except InvalidInput:
        return False


def target_of(
    details: Mapping[str, str],
    name: str,
    *,
    cluster: str,
    field: str,
    default_namespace: str = "",
) -> ResourceRef:
    """The object that details name: by `resource` (see `split_resource`), else by labels.

    `field` is where the details stood, for messages. Raises `NoTarget` and `InvalidInput`.
    """
    text = details.get("resource", "")
    if "/" not in text:
        labels = details
        if default_namespace and not _label(details, "namespace"):
            labels = {**details, "namespace": default_namespace}
        return resource_of(labels, name, signal_type(name), cluster=cluster, field=field)
    kind, namespace, object_name = split_resource(text, f"{field}.resource")
    where = cluster_name(details.get("cluster") or cluster, f"{field}.cluster")
    known = KINDS.get(kind)
    if known is None or known.namespaced:
        namespace = namespace or details.get("namespace") or default_namespace
    return reference(where, kind, namespace, object_name, f"{field}.resource")


def first_text(*values: Any, most: int = 253) -> str:
    """The first of these that is text with something in it, on one line."""
    for value in values:
        if text := one_line(value, most):
            return text
    return ""


def joined(parts: Iterable[str]) -> str:
    """Parts of a key. They are kept apart by a character that no part holds after cleaning."""
    return "\x1f".join(parts)


# -- signals -------------------------------------------------------------------------------------------


def series(source: str, cluster: str, key: str) -> str:
    """The fingerprint of what the payload itself names a series; two clusters or sources never share one.

    Keys of unusual length or letters are hashed (`~`), so that the result is short and printable.
    """
    plain = f"{source}:{cluster}:{key}"
    if len(plain) <= _LONGEST_FINGERPRINT and _series_key.fullmatch(key):
        return plain
    hashed = hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()[:32]
    return f"{source}:~{hashed}"[:_LONGEST_FINGERPRINT]


def firing_times(
    started: datetime, ended: datetime | None, now: datetime
) -> tuple[datetime, datetime | None, int]:
    """Start and end as they can have been, and by how many seconds the sender's clock is ahead of ours.

    A start further ahead than `SKEW` is `now`; an end is neither in the future nor before its start.
    """
    skew = 0
    if started > now + SKEW:
        skew = int((started - now).total_seconds())
        started = now
    if ended is not None:
        ended = max(started, min(ended, now))
    return started, ended, skew


def make_signal(
    source: str,
    *,
    name: str,
    resource: ResourceRef,
    resolved: bool,
    severity: Severity,
    summary: str,
    labels: dict[str, str],
    started: datetime,
    ended: datetime | None,
    now: datetime,
    key: str = "",
    kind: SignalType | None = None,
    drill: bool = False,
    started_field: str = "started_at",
) -> Signal:
    """A sealed signal. `resource` must come from `reference`; `key` is what the payload calls the series.

    Raises `InvalidInput`.
    """
    if started < EARLIEST:
        raise InvalidInput(started_field, "is missing or before the year 2000")
    status = SignalStatus.RESOLVED if resolved else SignalStatus.FIRING
    started, ended, skew = firing_times(started, ended if resolved else None, now)
    if len(labels) > MOST_LABELS:
        labels = {one: labels[one] for one in sorted(labels)[:MOST_LABELS]}
    if skew:
        labels = {**labels, SKEW_LABEL: str(skew)}
    if TARGET_LABEL in labels:  # ours to set
        labels = {name: text for name, text in labels.items() if name != TARGET_LABEL}
    try:
        return sealed_signal(
            source=source,
            name=name,
            resource=resource,
            status=status,
            labels=labels,
            started_at=started,
            fingerprint=series(source, resource.cluster, key) if key else "",
            type=signal_type(name) if kind is None else kind,
            severity=severity,
            summary=summary,
            ended_at=ended,
            received_at=now,
            drill=drill,
        )
    except ValidationError as error:
        raise invalid_input(error) from None


# -- alerts with labels and annotations, as Prometheus and Grafana have them ----------------------------


_NAMES = ("alertname", "alert", "rule", "rulename", "title")


def _named(labels: Mapping[str, str]) -> bool:
    return any(labels.get(label) for label in _NAMES)


def _other_name(labels: Mapping[str, str], annotations: Mapping[str, Any]) -> str:
    """What happened, where `alertname` does not say it: another label, else the first line of the summary.

    Raises `InvalidInput`.
    """
    found = first_text(*(labels.get(label) for label in _NAMES))
    if not found:
        lines = text_of(annotations.get("summary")).strip().splitlines()
        found = one_line(lines[0], 253) if lines else ""
    if not found:
        raise InvalidInput(
            "labels.alertname",
            f"is missing; say what happened in this label, in {', '.join(_NAMES[1:])}, or in the annotation summary",
        )
    return found


def _series_of(labels: Mapping[str, str]) -> str:
    """All labels but the severity, which may change while the alert fires, as the sender's own key would be."""
    kept = (part for name in sorted(labels) if name != "severity" for part in (name, labels[name]))
    return joined(("labels", *kept))


def alert_signal(
    source: str, alert: Mapping[str, Any], resolved: bool, cluster: str, now: datetime
) -> Signal:
    """The signal of one alert: `labels`, `annotations`, `startsAt`, `endsAt`, `fingerprint`.

    Raises `InvalidInput` naming the field that is wrong, `NoTarget` when no label names an object.
    """
    labels = clean_labels(alert.get("labels"), "labels")
    annotations = table(alert.get("annotations"), "annotations")
    name = labels.get("alertname", "")[:253] or _other_name(labels, annotations)
    started = some_time(alert.get("startsAt"), "startsAt")
    if started is None:
        raise InvalidInput("startsAt", "is missing")
    kind = signal_type(name)
    resource = resource_of(labels, name, kind, cluster=cluster)
    key = one_line(alert.get("fingerprint"), LONGEST_LABEL)
    if not key and (resource.kind == ADDRESS or not _named(labels)):
        key = _series_of(labels)  # neither what is found out later nor prose may make the series
    runbook = one_line(annotations.get("runbook_url"), LONGEST_LABEL) if "runbook_url" in annotations else ""
    if runbook:
        labels = {**labels, "runbook_url": runbook}
    text = text_of(annotations.get("summary")) or text_of(annotations.get("message"))
    detail = text_of(annotations.get("description"))
    signal = make_signal(
        source,
        name=name,
        resource=resource,
        resolved=resolved,
        severity=severity_from_word(labels.get("severity", "")),
        summary=summary_text(f"{text}: {detail}" if text and detail else text or detail),
        labels=labels,
        started=started,
        ended=some_time(alert.get("endsAt"), "endsAt") if resolved else None,
        now=now,
        key=key,
        kind=kind,
        drill=labels.get("cortexops_drill", "") == "true",
        started_field="startsAt",
    )
    if _named(labels):
        return signal
    told = seal(
        source, signal.cluster, "", resource.key, labels.get("container", ""), signal.fingerprint, signal.status,
        signal.started_at,
    )  # fmt: skip
    return signal.model_copy(update={"id": told[1]})  # prose, which may change, makes no id
