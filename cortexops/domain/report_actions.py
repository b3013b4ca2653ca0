"""What the report recommends: what the catalogue offers, what people do themselves, and whether they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cortexops.domain.action import Candidate
from cortexops.domain.around import Around
from cortexops.domain.diagnosis import Diagnosis, Verdict
from cortexops.domain.evidence import GapReason
from cortexops.domain.manual import ManualStep, by_hand
from cortexops.domain.resource import ResourceRef

RESOLVES, CONTAINS = "resolves", "contains"


def recommended(
    diagnosis: Diagnosis, candidates: Sequence[Candidate], subject: ResourceRef, around: Around | None
) -> list[dict[str, Any]]:
    """Actions in the order in which they would be taken. Where none of them resolves the cause, what people
    can do comes with them: after those that contain it, before those that were refused."""
    feasible = [_offered(candidate) for candidate in candidates if candidate.feasible]
    steps = [
        {
            "type": made.type,
            "target": made.target.model_dump(mode="json"),
            "params": dict(made.params),
            "risk": made.risk.value,
            "feasible": False,
            "effect": "",
            "expected_effect": 0.0,
            "commands": list(made.commands),
            "caveats": ["To be done by a person.", *made.caveats],
        }
        for made in for_people(diagnosis, candidates, subject, around)
    ]
    return feasible + steps + [_offered(candidate) for candidate in candidates if not candidate.feasible]


def for_people(
    diagnosis: Diagnosis, candidates: Sequence[Candidate], subject: ResourceRef, around: Around | None
) -> list[ManualStep]:
    """What people can do about the leading cause; nothing where an action of this product resolves it."""
    if any(candidate.feasible and not candidate.contains_only for candidate in candidates):
        return []
    return by_hand(diagnosis, subject, around, candidates)


def _offered(candidate: Candidate) -> dict[str, Any]:
    effect = CONTAINS if candidate.contains_only else RESOLVES
    contains = ("It contains the trouble and does not mend its cause: a person has to.",)
    caveats = (*(contains if candidate.contains_only else ()), *candidate.caveats)
    return {
        "type": candidate.action.type,
        "target": candidate.action.target.model_dump(mode="json"),
        "params": dict(candidate.action.params),
        "risk": candidate.risk.value,
        "feasible": candidate.feasible,
        "effect": effect if candidate.feasible else "",
        "expected_effect": round(candidate.expected_effect, 2) if candidate.feasible else 0.0,
        "commands": list(candidate.commands),
        "caveats": list(caveats) if candidate.feasible else [candidate.why],
    }


def escalation(diagnosis: Diagnosis, candidates: Sequence[Candidate]) -> tuple[bool, str | None]:
    """Whether a person is needed, and why."""
    if diagnosis.verdict is Verdict.HEALTHY:
        return False, None
    missing = [gap for gap in diagnosis.gaps if gap.reason is not GapReason.NO_DATA]
    unseen = f"; not seen: {', '.join(gap.what for gap in missing[:4])}" if missing else ""
    if diagnosis.verdict is Verdict.UNKNOWN:
        absent = [gap for gap in diagnosis.gaps if gap.reason is GapReason.NO_DATA]
        why = f": {absent[0].what}: {absent[0].detail}" if absent and not diagnosis.examined else ""
        known = f"; known: {'; '.join(diagnosis.known)}" if diagnosis.known else ""
        return True, f"the cause could not be determined{why}{known}{unseen}"
    if diagnosis.verdict is Verdict.EXTERNAL:
        return True, f"the origin is outside the cluster{unseen}"
    if diagnosis.verdict is Verdict.HYPOTHESIS:
        return True, f"the cause is a hypothesis only{unseen}"
    feasible = [candidate for candidate in candidates if candidate.feasible]
    if not feasible:
        return True, f"no action of this product mends this cause{unseen}"
    if all(candidate.contains_only for candidate in feasible):
        return True, f"what is offered contains the trouble and does not mend its cause{unseen}"
    return False, None
