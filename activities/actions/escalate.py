"""Change nothing and call a person: an answer that can be chosen, and is written down, like any other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Prepared, Risk
from cortexops.domain.change import Change, Verb
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.resource import JSON, KINDS, ResourceRef
from cortexops.domain.scene import Scene


class Escalate:
    spec = ActionSpec(
        type="escalate",
        title="Escalate",
        description="Change nothing; the incident ends with a person, and with the reason that was given.",
        risk=Risk.LOW,
        reversible=True,
        kinds=tuple(KINDS),
        params={"reason": "why nothing is to be changed, in one sentence"},
        permissions=(),
        criteria=(),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        """Never by itself: an incident without a remedy ends with a person anyway."""
        return []

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        action.text("reason")
        change = Change(verb=Verb.NOTHING, target=action.target, uid=live["metadata"]["uid"])
        return Prepared(action=action, change=change)


register(Escalate())
