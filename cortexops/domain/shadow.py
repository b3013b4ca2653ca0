"""Shadow mode: what was suggested and not done, beside what people did about it meanwhile.

Only what the object itself shows counts: its fields now, and who wrote which at what time. Where that cannot
tell, the answer is `unknown`, not a guess.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from cortexops.domain.change import DiffLine
from cortexops.domain.policy import Effect
from cortexops.domain.resource import JSON, Frozen

OURS = "cortexops"
"""Field managers that begin so are this product."""
_MACHINES = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-apiserver")
"""What these write follows from what others wants; it is no decision of a person."""
_MASK = "[redacted:"


class Comparison(StrEnum):
    SAME = "same"
    OTHER = "other"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


class Suggestion(Frozen):
    """An action that was found and not carried out."""

    incident_id: str
    at: AwareDatetime
    until: AwareDatetime
    """What people did later than this is not counted as an answer to the incident."""
    action: str
    effect: Effect
    reasons: tuple[str, ...]
    planned: tuple[DiffLine, ...] = ()


class Compared(Frozen):
    suggestion: Suggestion
    comparison: Comparison
    detail: str


class _Write(Frozen):
    manager: str
    at: AwareDatetime
    fields: dict[str, Any] = Field(default_factory=dict)


def compare(suggestion: Suggestion, live: JSON | None) -> Compared:
    """What became of the object since the suggestion."""
    verdict, detail = _compared(suggestion, live)
    return Compared(suggestion=suggestion, comparison=verdict, detail=detail)


def _compared(suggestion: Suggestion, live: JSON | None) -> tuple[Comparison, str]:
    if live is None:
        return Comparison.UNKNOWN, "the object is gone: by whom and why cannot be told from here"
    created = _time(live.get("metadata", {}).get("creationTimestamp"))
    if created is not None and created > suggestion.at:
        return Comparison.UNKNOWN, "the object was made anew since"
    writes = _writes(live)
    if writes is None:
        return Comparison.UNKNOWN, "the object does not say who wrote it and when"
    by_people = [write for write in writes if _by_people(write) and write.at > suggestion.at]
    in_time = [write for write in by_people if write.at <= suggestion.until]
    if not by_people:
        return Comparison.NOTHING, "nobody has changed the object since"
    if not in_time:
        return Comparison.UNKNOWN, "it was changed, but only long after; what happened before cannot be seen"
    who = ", ".join(sorted({write.manager for write in in_time}))
    planned = [line for line in suggestion.planned if not _masked(line)]
    if not planned or len(planned) != len(suggestion.planned):
        return Comparison.UNKNOWN, f"changed by {who}; what was suggested is not known field by field"
    met = [line for line in planned if _holds(live, line)]
    if len(met) == len(planned) and any(_wrote(write, planned) for write in in_time):
        return Comparison.SAME, f"{who} set the same {len(met)} fields"
    if len(in_time) != len(by_people):
        return Comparison.UNKNOWN, f"changed by {who} and again later; what they did first cannot be seen"
    return Comparison.OTHER, f"{who} changed the object otherwise"


def counted(found: Iterable[Compared]) -> dict[str, int]:
    """How often each comparison came out."""
    counts = dict.fromkeys((comparison.value for comparison in Comparison), 0)
    for one in found:
        counts[one.comparison] += 1
    return counts


def _writes(live: JSON) -> list[_Write] | None:
    entries = live.get("metadata", {}).get("managedFields")
    if not isinstance(entries, list) or not entries:
        return None
    found = []
    for entry in entries:
        at = _time(entry.get("time"))
        if entry.get("subresource") == "status" or at is None:
            continue
        fields = entry.get("fieldsV1")
        found.append(
            _Write(
                manager=str(entry.get("manager", "?")),
                at=at,
                fields=fields if isinstance(fields, dict) else {},
            )
        )
    return found


def _by_people(write: _Write) -> bool:
    return not write.manager.startswith((OURS, *_MACHINES))


def _wrote(write: _Write, planned: Sequence[DiffLine]) -> bool:
    """Whether it is the writer of one of the planned fields. List items are named by their keys there, not by
    their places, so the path is followed as far as the names go."""
    return any(_owns(write.fields, _parts(line.path)) for line in planned)


def _owns(fields: dict[str, Any], parts: list[str]) -> bool:
    if not parts:
        return True
    first, rest = parts[0], parts[1:]
    if first.isdigit():
        keyed = [inner for key, inner in fields.items() if key.startswith("k:") and isinstance(inner, dict)]
        return any(_owns(inner, rest) for inner in keyed) or not keyed
    inner = fields.get(f"f:{first}")
    return isinstance(inner, dict) and (not inner or _owns(inner, rest))


def _holds(live: JSON, line: DiffLine) -> bool:
    here: Any = live
    for part in _parts(line.path):
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        else:
            return line.after == ""
    try:
        return line.after != "" and bool(json.loads(line.after) == here)
    except ValueError:
        return False


def _parts(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _masked(line: DiffLine) -> bool:
    return _MASK in line.before or _MASK in line.after


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
