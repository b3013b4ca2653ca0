"""Who makes the volumes of a claim."""

from __future__ import annotations

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.nodes import serves_driver
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.resource import JSON

_NOTES = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
_BUILT_IN = "kubernetes.io/"


def provisioner_of(claim: JSON) -> str:
    """The external provisioner that the claim waits for; empty for one built in, or none yet."""
    notes = meta.annotations_of(claim)
    found = next((notes[key] for key in _NOTES if notes.get(key)), "")
    return "" if found.startswith(_BUILT_IN) else found


def provides(workload: JSON, provisioner: str) -> bool:
    """Whether the workload seems to be that provisioner: a container of it provisions, and it is named so."""
    containers = objects(workload, "spec", "template", "spec", "containers")
    words = [
        meta.name(workload),
        *(text(c, "name") for c in containers),
        *(text(c, "image") for c in containers),
    ]
    return any("provisioner" in word or "csi" in word for word in words) and any(
        serves_driver(word, provisioner) for word in words
    )
