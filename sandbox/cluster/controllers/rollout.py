"""What a Deployment does next: pure decisions over the Deployment, its ReplicaSets and the time."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, NamedTuple

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.clock import parse_stamp
from sandbox.cluster.controllers.objects import condition, with_condition

REVISION = "deployment.kubernetes.io/revision"
HASH_LABEL = "pod-template-hash"


class Limits(NamedTuple):
    """How many pods more and fewer than wanted a rollout may have."""

    surge: int
    unavailable: int


class Scale(NamedTuple):
    """Give a ReplicaSet another number of replicas."""

    replica_set: JSON
    replicas: int


def share(value: Any, total: int, *, round_up: bool) -> int:
    """A count that is a number or a percentage of `total`."""
    if isinstance(value, str) and value.endswith("%"):
        part = int(value[:-1]) * total / 100
        return math.ceil(part) if round_up else math.floor(part)
    return int(value)


def limits(deployment: JSON) -> Limits:
    """maxSurge and maxUnavailable as counts; never both nought."""
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    wanted = replicas_of(deployment)
    surge = share(rolling.get("maxSurge", "25%"), wanted, round_up=True)
    unavailable = min(share(rolling.get("maxUnavailable", "25%"), wanted, round_up=False), wanted)
    return Limits(surge, 1 if surge == 0 and unavailable == 0 else unavailable)


def replicas_of(obj: JSON) -> int:
    """The wanted number of pods."""
    return int(obj["spec"].get("replicas", 1))


def revision_of(obj: JSON) -> int:
    """The revision annotation, 0 when there is none."""
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def same_template(deployment: JSON, replica_set: JSON) -> bool:
    """Whether the ReplicaSet was made from the Deployment's present template."""
    return _bare(deployment["spec"]["template"]) == _bare(replica_set["spec"]["template"])


def next_scales(deployment: JSON, new: JSON | None, olds: list[JSON]) -> list[Scale]:
    """The ReplicaSets to scale now; nothing while waiting for pods."""
    if deployment["spec"].get("paused"):
        return _proportional(deployment, new, olds)
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        down = [Scale(old, 0) for old in olds if replicas_of(old) > 0]
        if down or new is None or any(_status(old, "replicas") for old in olds):
            return down
        wanted = replicas_of(deployment)
        return [] if replicas_of(new) == wanted else [Scale(new, wanted)]
    if new is None:
        return []
    up = _grow(deployment, new, olds)
    return [up] if up is not None else _shrink(deployment, new, olds)


def deployment_status(
    deployment: JSON, new: JSON | None, olds: list[JSON], now: datetime, *, real_deadline: float
) -> JSON:
    """The status to report. `real_deadline` is progressDeadlineSeconds in wall clock."""
    everything = [*olds, *([new] if new is not None else [])]
    wanted = replicas_of(deployment)
    total = sum(_status(one, "replicas") for one in everything)
    available = sum(_status(one, "availableReplicas") for one in everything)
    old = deployment.get("status") or {}
    status: JSON = {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": total,
        "updatedReplicas": _status(new, "replicas") if new else 0,
        "readyReplicas": sum(_status(one, "readyReplicas") for one in everything),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total - available, wanted - available),
    }
    conditions = list(old.get("conditions") or ())
    least = wanted - limits(deployment).unavailable
    if available >= least:
        conditions = with_condition(
            conditions,
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now=now,
            update_time=True,
        )
    else:
        conditions = with_condition(
            conditions,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now=now,
            update_time=True,
        )
    status["conditions"] = _progress(
        deployment, new, status, conditions, now=now, real_deadline=real_deadline
    )
    failure = condition(new, "ReplicaFailure") if new else None
    status["conditions"] = [entry for entry in status["conditions"] if entry["type"] != "ReplicaFailure"]
    if failure is not None:
        status["conditions"].append({**failure, "lastUpdateTime": failure.get("lastTransitionTime")})
    return status


def is_complete(deployment: JSON, status: JSON) -> bool:
    """Every pod is of the present template and available, and no old one is left."""
    wanted = replicas_of(deployment)
    return bool(
        status["updatedReplicas"] == wanted
        and status["replicas"] == wanted
        and status["availableReplicas"] == wanted
    )


def _progress(
    deployment: JSON,
    new: JSON | None,
    status: JSON,
    conditions: list[JSON],
    *,
    now: datetime,
    real_deadline: float,
) -> list[JSON]:
    name = deployment["metadata"]["name"]
    subject = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{name}"'
    before = next((entry for entry in conditions if entry["type"] == "Progressing"), None)
    if is_complete(deployment, status):
        return with_condition(
            conditions,
            "Progressing",
            "True",
            "NewReplicaSetAvailable",
            f"{subject} has successfully progressed.",
            now=now,
            update_time=True,
        )
    if deployment["spec"].get("paused"):
        return with_condition(
            conditions,
            "Progressing",
            "Unknown",
            "DeploymentPaused",
            "Deployment is paused",
            now=now,
            update_time=True,
        )
    if (
        before is not None
        and before.get("reason") == "NewReplicaSetAvailable"
        and not _moved(deployment, status)
    ):
        return conditions
    if before is None or _moved(deployment, status) or before.get("reason") == "DeploymentPaused":
        rest = [entry for entry in conditions if entry["type"] != "Progressing"]
        fresh = with_condition(
            rest,
            "Progressing",
            "True",
            "ReplicaSetUpdated",
            f"{subject} is progressing.",
            now=now,
            update_time=True,
        )
        if before is not None and before.get("status") == "True":
            fresh[-1]["lastTransitionTime"] = before.get("lastTransitionTime")
        return fresh
    since = parse_stamp(before.get("lastUpdateTime") or before["lastTransitionTime"])
    if before.get("reason") != "ProgressDeadlineExceeded" and (now - since).total_seconds() >= real_deadline:
        return with_condition(
            conditions,
            "Progressing",
            "False",
            "ProgressDeadlineExceeded",
            f"{subject} has timed out progressing.",
            now=now,
            update_time=True,
        )
    return conditions


def _moved(deployment: JSON, status: JSON) -> bool:
    """Progress as the real controller sees it: more updated, fewer old, more ready or available pods."""
    old = deployment.get("status") or {}
    if old.get("observedGeneration") != status["observedGeneration"]:
        return bool(old.get("updatedReplicas", 0) != status["updatedReplicas"]) or not old
    old_rest = old.get("replicas", 0) - old.get("updatedReplicas", 0)
    return bool(
        status["updatedReplicas"] > old.get("updatedReplicas", 0)
        or status["replicas"] - status["updatedReplicas"] < old_rest
        or status["readyReplicas"] > old.get("readyReplicas", 0)
        or status["availableReplicas"] > old.get("availableReplicas", 0)
    )


def _grow(deployment: JSON, new: JSON, olds: list[JSON]) -> Scale | None:
    wanted, have = replicas_of(deployment), replicas_of(new)
    if have == wanted:
        return None
    if have > wanted:
        return Scale(new, wanted)
    most = wanted + limits(deployment).surge
    room = most - have - sum(replicas_of(old) for old in olds)
    return Scale(new, min(wanted, have + room)) if room > 0 else None


def _shrink(deployment: JSON, new: JSON, olds: list[JSON]) -> list[Scale]:
    everything = [*olds, new]
    least = replicas_of(deployment) - limits(deployment).unavailable
    pods = sum(replicas_of(one) for one in everything)
    pending = replicas_of(new) - _status(new, "availableReplicas")
    spare = pods - least - pending
    scales: list[Scale] = []
    if spare <= 0:
        return scales
    sizes = {old["metadata"]["name"]: replicas_of(old) for old in olds}
    for old in sorted(olds, key=revision_of):  # first the pods of old revisions that do not work anyway
        broken = sizes[old["metadata"]["name"]] - _status(old, "availableReplicas")
        cut = max(0, min(broken, spare))
        sizes[old["metadata"]["name"]] -= cut
        spare -= cut
    available = sum(_status(one, "availableReplicas") for one in everything)
    spare = min(spare, max(0, available - least))
    for old in sorted(olds, key=revision_of):
        cut = max(0, min(sizes[old["metadata"]["name"]], spare))
        sizes[old["metadata"]["name"]] -= cut
        spare -= cut
    return [
        Scale(old, sizes[old["metadata"]["name"]])
        for old in olds
        if sizes[old["metadata"]["name"]] != replicas_of(old)
    ]


def _proportional(deployment: JSON, new: JSON | None, olds: list[JSON]) -> list[Scale]:
    """While paused only the total follows `spec.replicas`; the newest ReplicaSet takes the difference."""
    active = [one for one in [*([new] if new else []), *olds] if replicas_of(one) > 0]
    if not active:
        return []
    gap = replicas_of(deployment) - sum(replicas_of(one) for one in active)
    most = limits(deployment).surge
    if gap == 0 or -most <= gap < 0:
        return []
    newest = max(active, key=revision_of)
    return [Scale(newest, max(0, replicas_of(newest) + gap))]


def _status(replica_set: JSON, field: str) -> int:
    return int((replica_set.get("status") or {}).get(field) or 0)


def _bare(template: JSON) -> JSON:
    meta = dict(template.get("metadata") or {})
    labels = {name: value for name, value in (meta.get("labels") or {}).items() if name != HASH_LABEL}
    annotations = meta.get("annotations") or {}
    return {"labels": labels, "annotations": annotations, "spec": template.get("spec") or {}}
