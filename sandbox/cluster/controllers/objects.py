"""Small pure helpers over Kubernetes objects as plain dicts."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.clock import parse_stamp, stamp

_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # the API's own alphabet for generated names: no vowels, no lookalikes
_UNITS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
}


def key_of(obj: JSON) -> str:
    """`namespace/name`, or `/name` for cluster-wide objects."""
    meta = obj["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


def split_key(key: str) -> tuple[str, str]:
    """Namespace and name of a key."""
    namespace, _, name = key.partition("/")
    return namespace, name


def quantity(text: Any) -> Decimal:
    """A resource quantity such as `250m` or `512Mi` as a number. Raises ValueError when it is none."""
    word = str(text).strip()
    digits = word.rstrip("mkMGTKi")
    try:
        return Decimal(digits) * _UNITS[word[len(digits) :]]
    except (KeyError, ArithmeticError) as error:
        raise ValueError(f"not a quantity: {word!r}") from error


def controller_of(obj: JSON) -> JSON | None:
    """The owner reference of the controller, if any."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return dict(owner)
    return None


def owner_uids(obj: JSON) -> list[str]:
    """The uid of every owner."""
    return [owner["uid"] for owner in obj["metadata"].get("ownerReferences") or ()]


def owner_reference(owner: JSON, api_version: str, kind: str) -> JSON:
    """A controller reference to `owner`."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def selector_matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool:
    """Whether a LabelSelector selects these labels; an absent one selects nothing."""
    if not selector:
        return False
    have = labels or {}
    if not labels_match(selector.get("matchLabels") or {}, have):
        return False
    for rule in selector.get("matchExpressions") or ():
        value, values = have.get(rule["key"]), rule.get("values") or []
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }.get(rule["operator"], False)
        if not holds:
            return False
    return True


def labels_match(wanted: Mapping[str, str], have: Mapping[str, str] | None) -> bool:
    """Whether every wanted label is there with that value."""
    return all((have or {}).get(name) == value for name, value in wanted.items())


def template_hash(template: JSON) -> str:
    """A short name-safe hash of a pod template, the same for equal templates."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:10])


def random_suffix() -> str:
    """Five characters for a generated name."""
    return "".join(random.choices(_SAFE, k=5))  # noqa: S311 - a name, not a secret


def condition(obj: JSON, kind: str) -> JSON | None:
    """The status condition of that type, if any."""
    for entry in (obj.get("status") or {}).get("conditions") or ():
        if entry.get("type") == kind:
            return dict(entry)
    return None


def is_true(obj: JSON, kind: str) -> bool:
    """Whether the status condition of that type is True."""
    entry = condition(obj, kind)
    return entry is not None and entry.get("status") == "True"


def with_condition(
    conditions: Iterable[JSON],
    kind: str,
    status: str,
    reason: str,
    message: str,
    *,
    now: datetime,
    update_time: bool = False,
) -> list[JSON]:
    """The conditions with this one set; its transition time moves only when its status changes."""
    kept = [dict(entry) for entry in conditions]
    previous = next((entry for entry in kept if entry["type"] == kind), None)
    entry: JSON = {"type": kind, "status": status, "reason": reason, "message": message}
    same = previous is not None and previous.get("status") == status
    entry["lastTransitionTime"] = previous.get("lastTransitionTime") if same and previous else stamp(now)
    if update_time:
        unchanged = (
            same
            and previous is not None
            and (previous.get("reason"), previous.get("message")) == (reason, message)
        )
        entry["lastUpdateTime"] = (
            previous.get("lastUpdateTime", stamp(now)) if unchanged and previous else stamp(now)
        )
    if previous is None:
        return [*kept, entry]
    return [entry if item["type"] == kind else item for item in kept]


def is_active(pod: JSON) -> bool:
    """Neither finished nor on its way out."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: JSON) -> bool:
    """Whether the pod's Ready condition holds."""
    return is_true(pod, "Ready")


def is_available(pod: JSON, min_ready_seconds: float, now: datetime) -> bool:
    """Ready for at least so many seconds of wall clock."""
    ready = condition(pod, "Ready")
    if ready is None or ready["status"] != "True":
        return False
    if min_ready_seconds <= 0:
        return True
    since = ready.get("lastTransitionTime")
    return since is not None and (now - parse_stamp(since)).total_seconds() >= min_ready_seconds


def pod_requests(pod: JSON) -> tuple[Decimal, Decimal]:
    """CPU (cores) and memory (bytes) that a pod asks for."""
    cpu = memory = Decimal(0)
    for container in pod["spec"].get("containers", ()):
        wanted = (container.get("resources") or {}).get("requests") or {}
        cpu += quantity(wanted.get("cpu", "0"))
        memory += quantity(wanted.get("memory", "0"))
    return cpu, memory
