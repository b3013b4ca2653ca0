"""Claims that were to grow and have not: why their volume is still as small as it was."""

from __future__ import annotations

from cortexops.domain.citing import cite_condition, cite_event
from cortexops.domain.errors import InvalidInput
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.values import text
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene

_FAILED = "VolumeResizeFailed"
_MOUNTED_ANEW = "FileSystemResizePending"
_LONGEST = 240  # characters
_BEFORE = (" desc = ", "api error ")


def growth(scene: Scene, book: EvidenceBook, claim: ResourceRef, evidence: list[str]) -> str:
    """How far the growth that a claim asks for has come, as the end of a sentence, cited; empty where it asks for no
    more than its volume has."""
    live = scene.get(claim) or {}
    asked = text(live, "spec", "resources", "requests", "storage")
    has = text(live, "status", "capacity", "storage")
    if not _is_more(asked, has):
        return ""
    pending = meta.condition(live, _MOUNTED_ANEW)
    if pending.status == "True":
        evidence.append(cite_condition(book, claim, pending))
        return f"; its growth to {asked} waits until the pod that mounts it is started anew"
    failed = scene.events_about(claim, _FAILED)
    if failed:
        evidence.append(cite_event(book, failed[0]))
        return f"; its growth to {asked} fails: {_told(failed[0].message)}"
    return f"; it is to grow to {asked} and has not yet"


def _is_more(asked: str, has: str) -> bool:
    try:
        return bool(asked and has) and parse_quantity(asked) > parse_quantity(has)
    except InvalidInput:
        return False


def _told(message: str) -> str:
    """What is wrong, without whom the resizer asked for it and with which request."""
    for before in _BEFORE:
        message = message.rpartition(before)[2]
    return message[:_LONGEST].strip()
