"""Give a full volume more room, where its storage class allows it. Volumes never shrink again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from activities.actions import Listing, register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import edit
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import on_cause
from cortexops.domain.kubernetes.values import amount, mapping, text
from cortexops.domain.quantity import format_bytes, parse_quantity
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.room import Bound, Known, Reads
from cortexops.domain.scene import Scene
from cortexops.domain.workload import affected_workload, offered, patch_of, refused

_FACTOR = 2
_STEP = Decimal("1.5")
_SIZE = "/spec/resources/requests/storage"
_LASTING = "no volume can be made smaller, the API server refuses to ask for it"


class ExpandPvc:
    spec = ActionSpec(
        type="expand_pvc",
        title="Expand volume",
        description="Ask for a larger volume for a claim. It cannot be made smaller again.",
        risk=Risk.HIGH,
        reversible=False,
        kinds=("PersistentVolumeClaim",),
        params={
            "size": "the new size; above the present one, at most twice it, within the quota, and only where the "
            "StorageClass allows expansion",
        },
        permissions=(
            Permission(group="", resource="persistentvolumeclaims", verbs=("get", "patch")),
            Permission(group="", resource="resourcequotas", verbs=("list",)),
            Permission(group="storage.k8s.io", resource="storageclasses", verbs=("list",)),
        ),
        criteria=("volume_resized",),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.VOLUME_FULL)
        if isinstance(found, list):
            return found
        action, live = found
        claim = action.target
        why = _not_expandable(scene, claim, live)
        if why:
            return [refused(self.spec, action, Infeasible.NOT_EXPANDABLE, why)]
        present = parse_quantity(_size(live))
        room = _room(scene, claim, live)
        most = present * _FACTOR if room is None else min(present * _FACTOR, room.most)
        size = format_bytes(min(most, present * _STEP), at_most=True)
        if parse_quantity(size) <= present:
            said = room.says if room else "its size"
            why = f"the size {_size(live)} is at its bound: {said}"
            return [refused(self.spec, action, Infeasible.BOUND_REACHED, why)]
        patch = f'{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}'
        return [
            offered(
                self.spec,
                action.model_copy(update={"params": {"size": size}}),
                effect=0.75,
                why=f"the volume of {_size(live)} is full and its storage class can expand it",
                radius=workload_radius(scene, affected_workload(scene, diagnosis) or claim).model_copy(
                    update={"stateful": True}
                ),
                commands=(
                    f"kubectl -n {shlex.quote(claim.namespace)} patch pvc {shlex.quote(claim.name)} "
                    f"--type merge -p {shlex.quote(patch)}",
                ),
                caveats=(
                    "It cannot be undone: no volume shrinks.",
                    "Clean up first where data may go; some drivers need the pod to be started again.",
                ),
                before={"storage": _size(live)},
                after={"storage": size},
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def lists(self, action: Action) -> list[Listing]:
        return [Listing("StorageClass"), Listing("ResourceQuota", action.target.namespace)]

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        known = Reads(reads)
        why = _not_expandable(known, action.target, live)
        if why:
            raise Rejected(why)
        size, present = action.text("size"), parse_quantity(_size(live))
        if not present < parse_quantity(size) <= present * _FACTOR:
            raise Rejected(f"size {size} is not above {_size(live)} and at most {_FACTOR} times it")
        room = _room(known, action.target, live)
        if room is not None and parse_quantity(size) > room.most:
            raise Rejected(f"size {size} is above what is left: {room.says}")
        change = patch_of(live, action.target, [edit(live, _SIZE, size)], [])
        return Prepared(action=action, change=change.model_copy(update={"lasting": _LASTING}))


def _size(live: JSON) -> str:
    return text(live, "spec", "resources", "requests", "storage") or "0"


def _not_expandable(known: Known, claim: ResourceRef, live: JSON) -> str:
    if text(live, "status", "phase") != "Bound":
        return f"{claim} is not bound to a volume"
    wanted = text(live, "spec", "storageClassName")
    found = next((obj for ref, obj in known.of_kind("StorageClass") if ref.name == wanted), None)
    if not wanted or found is None:
        return f"the storage class of {claim} ({wanted or 'none'}) is not known"
    if found.get("allowVolumeExpansion") is not True:
        return f"the storage class {wanted} does not allow volumes to be expanded"
    asked, has = (
        amount(mapping(live, "spec"), "resources", "requests", "storage"),
        amount(mapping(live, "status"), "capacity", "storage"),
    )
    if asked is not None and has is not None and has < asked:
        return f"{claim} is being expanded already"
    return ""


def _room(known: Known, claim: ResourceRef, live: JSON) -> Bound | None:
    """The largest size that the quotas allow."""
    present = parse_quantity(_size(live))
    storage_class = text(live, "spec", "storageClassName")
    names = ("requests.storage", f"{storage_class}.storageclass.storage.k8s.io/requests.storage")
    bounds = [
        Bound(
            present + hard - (amount(quota, "status", "used", name) or Decimal(0)),
            f"ResourceQuota {ref.name}",
        )
        for ref, quota in known.of_kind("ResourceQuota")
        for name in names
        if ref.namespace == claim.namespace and (hard := amount(quota, "status", "hard", name)) is not None
    ]
    return min(bounds) if bounds else None


register(ExpandPvc())
