"""What a person has to know of the cause's object before changing it: who else writes it, and who reads it."""

from __future__ import annotations

from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.kubernetes.meta import condition, deleting_since
from cortexops.domain.kubernetes.values import words
from cortexops.domain.ownership import Tool, maker_of, owner_of
from cortexops.domain.resource import JSON, Frozen, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation
from cortexops.domain.workload import WORKLOADS

_READS = {"ConfigMap": Relation.USES_CONFIG, "Secret": Relation.USES_SECRET}
_SOURCE = {Tool.ARGO_CD: "application", Tool.FLUX: "kustomization or release", Tool.HELM: "release"}


class Around(Frozen):
    """Of the object `about`. `owner`: who else writes it, in words; `reverts`: a change of ours would be put back.

    `readers` are workloads that read it, when it is a configuration. `silent`: it is a node whose kubelet does
    not answer. `finalizers` are those that a deleted object waits for.
    """

    about: ResourceRef
    owner: str = ""
    reverts: bool = False
    readers: tuple[ResourceRef, ...] = ()
    silent: bool = False
    finalizers: tuple[str, ...] = ()


def around(scene: Scene, diagnosis: Diagnosis) -> Around | None:
    """What was seen around the leading cause's object; None where there is no cause."""
    if diagnosis.cause is None:
        return None
    ref = diagnosis.cause.resource
    live = scene.get(ref) or {}
    owner, reverts = _owner(live)
    relation = _READS.get(ref.kind)
    readers = [one for one in scene.topology.into(ref, relation) if one.kind in WORKLOADS] if relation else []
    return Around(
        about=ref,
        owner=owner,
        reverts=reverts,
        readers=tuple(dict.fromkeys(readers)),
        silent=ref.kind == "Node" and condition(live, "Ready").status == "Unknown",
        finalizers=tuple(words(live, "metadata", "finalizers")) if deleting_since(live) is not None else (),
    )


def _owner(live: JSON) -> tuple[str, bool]:
    if maker := maker_of(live):
        return maker, True
    owner = owner_of(live)
    if owner is None:
        return "", False
    name = f" ({_SOURCE[owner.tool]} {owner.name})" if owner.name else ""
    return f"{owner.tool.value}{name}", owner.reconciles
