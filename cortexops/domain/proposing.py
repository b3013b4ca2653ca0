"""Who proposes an action: the diagnosis that evidence gives, or what put another cause or remedy before it."""

from __future__ import annotations

from cortexops.domain.action import Candidate, ProposedBy, ProposerKind
from cortexops.domain.diagnosis import Diagnosis

_LONGEST = 200  # characters of a name


def proposer_of(candidate: Candidate, diagnosis: Diagnosis) -> ProposedBy:
    """A runbook or a person where the candidate names one. Else whoever put the cause first that it mends:
    a model, earlier incidents, or nobody but the analyzers."""
    if candidate.proposed_by.kind is not ProposerKind.ANALYZER:
        return candidate.proposed_by
    model = diagnosis.model
    if model is not None and model.reordered:
        return _named(ProposerKind.MODEL, model.models)
    if diagnosis.led_by:
        return _named(ProposerKind.MEMORY, diagnosis.led_by)
    return candidate.proposed_by


def _named(kind: ProposerKind, names: tuple[str, ...]) -> ProposedBy:
    return ProposedBy(kind=kind, name=", ".join(names)[:_LONGEST])
