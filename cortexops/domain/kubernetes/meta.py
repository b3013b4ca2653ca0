"""Names, owners, conditions and the history that `metadata.managedFields` keeps."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from cortexops.domain.kubernetes.values import mapping, moment, number, objects, text, texts
from cortexops.domain.resource import JSON, ResourceRef

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Condition(NamedTuple):
    """One entry of `status.conditions`; an absent one has an empty status."""

    type: str
    status: str
    reason: str
    message: str
    since: datetime | None


class Write(NamedTuple):
    """Who wrote a field last, and when."""

    at: datetime
    manager: str


def name(obj: JSON) -> str:
    return text(obj, "metadata", "name")


def namespace(obj: JSON) -> str:
    return text(obj, "metadata", "namespace")


def labels(obj: JSON) -> dict[str, str]:
    return texts(obj, "metadata", "labels")


def annotations_of(obj: JSON) -> dict[str, str]:
    return texts(obj, "metadata", "annotations")


def created(obj: JSON) -> datetime | None:
    return moment(obj, "metadata", "creationTimestamp")


def deleting_since(obj: JSON) -> datetime | None:
    """The moment by which the object should have been gone, when somebody deleted it."""
    return moment(obj, "metadata", "deletionTimestamp")


def ref_of(cluster: str, kind: str, obj: JSON) -> ResourceRef:
    return ResourceRef(cluster=cluster, kind=kind, namespace=namespace(obj), name=name(obj))


def owner(obj: JSON) -> tuple[str, str] | None:
    """(kind, name) of the controller that owns the object, or of its only owner."""
    owners = [o for o in objects(obj, "metadata", "ownerReferences") if text(o, "kind") and text(o, "name")]
    leading = [o for o in owners if o.get("controller") is True] or owners[:1]
    return (text(leading[0], "kind"), text(leading[0], "name")) if leading else None


def revision(replica_set: JSON) -> int:
    """The revision that its Deployment, or a Rollout of Argo, gave a ReplicaSet; 0 where there is none."""
    for key in ("deployment.kubernetes.io/revision", "rollout.argoproj.io/revision"):
        found = number(replica_set, "metadata", "annotations", key)
        if found:
            return found
    return 0


def condition(obj: JSON, kind: str) -> Condition:
    """The condition of that type."""
    for entry in objects(obj, "status", "conditions"):
        if text(entry, "type") == kind:
            since = moment(entry, "lastTransitionTime")
            return Condition(
                kind, text(entry, "status"), text(entry, "reason"), text(entry, "message"), since
            )
    return Condition(kind, "", "", "", None)


def writes(obj: JSON, *path: str) -> Write | None:
    """The last write of the field under the path (names without the `f:` of the stored form)."""
    found: list[Write] = []
    for entry in objects(obj, "metadata", "managedFields"):
        at = moment(entry, "time")
        fields: Any = entry.get("fieldsV1")
        for step in path:
            fields = fields.get(f"f:{step}") if isinstance(fields, dict) else None
        if at is not None and fields is not None:
            found.append(Write(at, text(entry, "manager")))
    return max(found, default=None)


def has_history(obj: JSON) -> bool:
    """Whether the object still tells who wrote what of it."""
    return bool(objects(obj, "metadata", "managedFields"))


def last_write(obj: JSON) -> Write | None:
    """The last write of anything but the status; the creation when nothing else is known."""
    found = [
        Write(at, text(entry, "manager"))
        for entry in objects(obj, "metadata", "managedFields")
        if (at := moment(entry, "time")) is not None and text(entry, "subresource") != "status"
    ]
    born = created(obj)
    return max(found, default=None) or (Write(born, "") if born is not None else None)


def key_writes(obj: JSON) -> dict[str, Write]:
    """For each key of a ConfigMap or Secret: the last write that is known of it."""
    general = last_write(obj)
    result: dict[str, Write] = {}
    for part in ("data", "binaryData"):
        for key in mapping(obj, part):
            write = writes(obj, part, key) or general
            if write is not None:
                result[key] = write
    return result


def applied_values(obj: JSON) -> dict[str, str]:
    """The data that `kubectl apply` wrote last; a live value that differs was changed by other means."""
    try:
        applied = json.loads(annotations_of(obj).get(_LAST_APPLIED, "{}"))
    except ValueError:
        return {}
    return texts(applied, "data")
