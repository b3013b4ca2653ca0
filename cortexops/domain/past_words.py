"""The past in reports: precedents with what worked, and what people's words moved."""

from __future__ import annotations

from typing import Any

from cortexops.domain.diagnosis import Diagnosis

_SHOWN = 3


def report_of(diagnosis: Diagnosis) -> dict[str, Any]:
    """`similar` and `moved` of the JSON report; no field at all where there is nothing of it."""
    found: dict[str, Any] = {}
    if diagnosis.precedents:
        found["similar"] = [
            {
                "id": p.incident_id,
                "at": p.at.isoformat().replace("+00:00", "Z"),
                "resource": p.resource,
                "category": p.category,
                "outcome": p.outcome,
                "worked": p.worked,
                "did_not": list(p.did_not),
                "runbook": p.runbook,
                "likeness": p.likeness,
                "weight": p.weight,
                "why": list(p.why),
                "text": str(p),
            }
            for p in diagnosis.precedents
        ]
    if diagnosis.moved:
        found["moved"] = [
            {
                "resource": m.resource.model_dump(mode="json"),
                "category": m.category,
                "by": m.by,
                "leads": not m.last,
                "incidents": list(m.incidents),
                "why": m.why,
                "text": str(m),
            }
            for m in diagnosis.moved
        ]
    return found


def lines(incident: dict[str, Any]) -> list[str]:
    """The same for people, from the report."""
    moved = [move["text"] for move in incident.get("moved", [])[:_SHOWN]]
    return moved + [f"seen before: {each['text']}" for each in incident.get("similar", [])[:_SHOWN]]


def told(diagnosis: Diagnosis) -> list[str]:
    """The same for messages, from the diagnosis."""
    moved = [f"{str(move)[:1].upper()}{str(move)[1:]}" for move in diagnosis.moved[:_SHOWN]]
    return moved + [f"Seen before: {similar}" for similar in diagnosis.similar[:2]]
