"""Put one key of a ConfigMap or Secret back to an earlier value that is written down somewhere.

Nobody writes a new value here: it is the one that `kubectl apply` noted on the object, the one that our own
earlier change replaced, the one with which our ledger knows a ConfigMap well, or the one that another object of
the same kind has under the same key.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from activities.actions import Listing, register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import workloads_radius
from cortexops.domain.change import PodRef, edit, lookup, pointer
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.earlier import earlier_value, row_ref
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.fitting import on_cause
from cortexops.domain.holding import crashed_with, holds_value
from cortexops.domain.kubernetes.meta import annotations_of, last_write, owner, writes
from cortexops.domain.kubernetes.values import mapping, text
from cortexops.domain.ledger import LedgerRow
from cortexops.domain.ownership import writes_again
from cortexops.domain.redaction import BY_NAME, redact_value
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.room import Known, Reads
from cortexops.domain.scene import Scene
from cortexops.domain.snapshot import KEPT_VALUES
from cortexops.domain.topology import Relation
from cortexops.domain.workload import affected_workload, offered, patch_of, refused

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
LAST_APPLIED, REPLACED, LEDGER = "last_applied", "replaced", "ledger"
_FITS = (Category.CONFIGMAP_CHANGED, Category.SECRET_CHANGED, Category.CONFIG_MISSING)


class PatchConfig:
    spec = ActionSpec(
        type="patch_config",
        title="Restore configuration key",
        description="Put one key of a ConfigMap or Secret back to an earlier value that is written down.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("ConfigMap", "Secret"),
        params={
            "key": "the key in `data`",
            "source": f"where the earlier value stands: `{LAST_APPLIED}` (noted by kubectl apply), `{REPLACED}` (kept "
            f"on a Secret by an earlier change of this product), `{LEDGER}` (what a ConfigMap had when the change "
            "`operation` was verified), or the name of another object of that kind",
            "operation": f"of the source `{LEDGER}`: the operation in our own ledger",
            "value": "of a ConfigMap, optional: the earlier value, which must be the one that stands there",
        },
        permissions=(
            Permission(group="", resource="configmaps", verbs=("get", "patch")),
            Permission(group="", resource="secrets", verbs=("get", "patch")),
            Permission(group="", resource="pods", verbs=("list",)),
            Permission(group="", resource="pods/eviction", verbs=("create",)),
            Permission(group="apps", resource="replicasets", verbs=("get",)),
            Permission(group="apps", resource="statefulsets", verbs=("get",)),
            Permission(group="apps", resource="daemonsets", verbs=("get",)),
        ),
        criteria=("change_in_place", "config_read", "rollout_complete", "replicas_ready", "no_new_restarts"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, *_FITS)
        if isinstance(found, list):
            return found
        action, live = found
        cause, ref = diagnosis.cause, action.target
        key = cause.facts.get("key", "") if cause else ""
        if not key:
            why = f"which key of {ref} is at fault is not known"
            return [refused(self.spec, action, Infeasible.NO_EARLIER_VALUE, why)]
        writer = cause.facts.get("changed_by", "") if cause else ""
        if writes_again(writer):
            why = f"{writer} wrote {ref} last and would write its value again: change it where it has it from"
            return [refused(self.spec, action, Infeasible.SET_BY_ANOTHER, why)]
        params: dict[str, Any] = {"key": key, "source": LAST_APPLIED}
        how = f"{key} was changed after it was last applied; the applied value is the earlier one"
        before, after = text(live, "data", key), BY_NAME
        if ref.kind == "ConfigMap":
            now = mapping(live, "data").get(key)
            present, earlier = _applied(live, key)
            known = next((one for one in scene.earlier if (one.target, one.key) == (ref, key)), None)
            if (not present or earlier == now) and known is not None and known.value != now:
                earlier = known.value
                params |= {"source": LEDGER, "operation": known.operation_id}
                how = f"{known.operation_id} was verified with another value at {known.at:%Y-%m-%d %H:%M} UTC"
            elif not present or earlier == now:
                why = f"no earlier value of {key} is written down on {ref} or in our ledger"
                return [refused(self.spec, action, Infeasible.NO_EARLIER_VALUE, why)]
            if redact_value(key, earlier) == earlier:
                params["value"] = after = earlier
        elif not _changed_since_applied(live, key):
            why = f"nothing says that an earlier value of {key} is written down on {ref}"
            return [refused(self.spec, action, Infeasible.NO_EARLIER_VALUE, why)]
        else:
            before = BY_NAME
        readers = [r for r in scene.topology.into(ref, _RELATIONS[ref.kind]) if r.kind != "Pod"]
        target = affected_workload(scene, diagnosis)
        others = ", ".join(sorted(r.name for r in readers if r != target))
        return [
            offered(
                self.spec,
                action.model_copy(update={"params": params}),
                effect=0.8,
                why=how,
                radius=workloads_radius(scene, [*([target] if target else []), *readers] or [ref]),
                commands=_commands(ref, key, params.get("value")),
                caveats=(
                    f"It is read by others as well: {others}." if others else f"Check who else reads {ref}.",
                    "Pods that crashed lately with it are evicted at once. Those that took it as a variable, or as a "
                    "file by subPath, are evicted one after the other; of a workload with only one ready pod none "
                    "is: then the value stays, and a person is called to restart it.",
                    "Pods that mount it as a volume get the new file from the kubelet; whether the program reads it "
                    "again is not known.",
                ),
                before={"data": {key: before}},
                after={"data": {key: after}},
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        source = action.text("source")
        written = (LAST_APPLIED, REPLACED, LEDGER)
        return [] if source in written else [action.target.model_copy(update={"name": source})]

    def operations(self, action: Action) -> list[str]:
        return [action.text("operation")] if action.text("source") == LEDGER else []

    def lists(self, action: Action) -> list[Listing]:
        return [Listing("Pod", action.target.namespace)]

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        key, target = action.text("key"), action.target
        if live.get("immutable"):
            raise Rejected(f"{target} is immutable")
        earlier = self._earlier(live, action, reads)
        if action.said("value"):
            if target.kind == "Secret":
                raise InvalidInput("value", "a Secret's value is never given, only where it stands")
            if action.text("value") != earlier:
                raise Rejected(f"the value that was asked for is not the earlier one of {key}")
        path = pointer("data", key)
        if lookup(live, path) == (True, earlier):
            raise Rejected(f"{key} of {target} has its earlier value already")
        change = patch_of(live, target, [edit(live, path, earlier)], [])
        pods = tuple(_restarted(Reads(reads), live, target, key, now))
        return Prepared(action=action, change=change.model_copy(update={"pods": pods}))

    def _earlier(self, live: JSON, action: Action, reads: Mapping[str, JSON]) -> str:
        """The earlier value as `data` holds it. Raises `Rejected` when none is known."""
        key, source, target = action.text("key"), action.text("source"), action.target
        if source == LAST_APPLIED:
            present, value = _applied(live, key)
        elif source == REPLACED:
            present, value = _replaced(live, key)
        elif source == LEDGER:
            row = reads.get(row_ref(target.cluster, action.text("operation")).key)
            known = earlier_value([LedgerRow.model_validate(row)] if row else [], target, key)
            present, value = known is not None, known.value if known else ""
        else:
            (ref,) = self.reads(action)
            found = reads.get(ref.key)
            if found is None:
                raise Rejected(f"{ref}, which has the earlier value, is gone")
            present, value = key in mapping(found, "data"), text(found, "data", key)
        if not present:
            raise Rejected(f"no earlier value of {key} of {target} is known from {source}")
        return value


def _restarted(known: Known, live: JSON, target: ResourceRef, key: str, now: datetime) -> list[PodRef]:
    """Pods that do not get at the new value by themselves, or late. A container that crashed with the key waits
    longer and longer for its next start; one that took it at its start never reads it again."""
    gone = key not in mapping(live, "data")  # then the last write is the one that removed it
    write = writes(live, "data", key) or (last_write(live) if gone else None)
    found = []
    for ref, pod in known.of_kind("Pod"):
        metadata = mapping(pod, "metadata")
        if ref.namespace != target.namespace or metadata.get("deletionTimestamp") or owner(pod) is None:
            continue
        if crashed_with(pod, target, key, now) or holds_value(pod, target, key, write.at if write else None):
            found.append(PodRef(namespace=ref.namespace, name=ref.name, uid=text(metadata, "uid")))
    return sorted(found, key=str)


_RELATIONS = {"ConfigMap": Relation.USES_CONFIG, "Secret": Relation.USES_SECRET}


def _applied(live: JSON, key: str) -> tuple[bool, str]:
    """What `kubectl apply` wrote last under the key, as `data` holds it."""
    try:
        applied = json.loads(annotations_of(live).get(_APPLIED, "{}"))
    except ValueError:
        return False, ""
    if not isinstance(applied, dict):
        return False, ""
    plain = mapping(applied, "stringData")
    if live.get("kind") == "Secret" and isinstance(plain.get(key), str):
        return True, base64.b64encode(plain[key].encode()).decode()
    value = mapping(applied, "data").get(key)
    return isinstance(value, str), value if isinstance(value, str) else ""


def _replaced(live: JSON, key: str) -> tuple[bool, str]:
    """What our own last change of this Secret replaced."""
    _, note = lookup(live, KEPT_VALUES)
    try:
        kept = json.loads(base64.b64decode(note, validate=True)) if isinstance(note, str) else {}
    except ValueError:
        return False, ""
    field = mapping(kept, pointer("data", key))
    value = field.get("before")
    return bool(field.get("present")) and isinstance(value, str), value if isinstance(value, str) else ""


def _changed_since_applied(live: JSON, key: str) -> bool:
    """Of a Secret that is seen without values: whether kubectl applied it, and somebody wrote the key since."""
    applied = writes(live, "metadata", "annotations", _APPLIED)
    written = writes(live, "data", key)
    return applied is not None and (written is None or written.at > applied.at)


def _commands(ref: ResourceRef, key: str, value: str | None) -> tuple[str, ...]:
    where = f"kubectl -n {shlex.quote(ref.namespace)}"
    kind, name = ref.kind.lower(), shlex.quote(ref.name)
    if value is None:
        return (f"{where} edit {kind} {name}  # {key}",)
    patch = shlex.quote(json.dumps({"data": {key: value}}, ensure_ascii=False))
    return (f"{where} patch {kind} {name} --type merge -p {patch}",)


register(PatchConfig())
