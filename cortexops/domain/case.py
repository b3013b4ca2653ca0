"""Case: a solved incident as memory keeps it, so that the next one like it can cite it."""

from __future__ import annotations

from pydantic import AwareDatetime

from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.incident import Incident
from cortexops.domain.resource import Frozen


class Case(Frozen):
    """A verified outcome: what it looked like (`text`, redacted), what was done, and how that ended."""

    incident_id: str
    cluster: str
    namespace: str
    kind: str
    name: str
    category: str
    text: str
    action: str
    action_type: str
    outcome: str
    verified: bool
    at: AwareDatetime


class Recalled(Frozen):
    """A case that looks like the present incident; `score` orders, it is no probability."""

    case: Case
    score: float


def case_text(incident: Incident, diagnosis: Diagnosis) -> str:
    """What similarity is computed over: the title, the cause and the evidence's summaries."""
    cause = diagnosis.cause
    lines = [incident.title]
    if cause is not None:
        lines += [cause.category, cause.summary]
    lines += [fact.summary for fact in diagnosis.evidence[:20]]
    return "\n".join(lines)
