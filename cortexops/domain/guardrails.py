"""What holds beside policy, and what the product itself adds to a decision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cortexops.domain.autonomy import RULE as AUTONOMY_RULE
from cortexops.domain.autonomy import Ladder, Level, Outcome, Place, Result
from cortexops.domain.limits import RemediationLimits
from cortexops.domain.policy import (
    Effect,
    FreezeWindow,
    History,
    Outcomes,
    PolicyDecision,
    PolicyInput,
    StopNotice,
)
from cortexops.domain.redaction import redact
from cortexops.domain.resource import Frozen
from cortexops.domain.switch import RULE as STOP_RULE
from cortexops.domain.switch import Stop

HISTORY_DAYS = 30
OWN_RULES = frozenset({STOP_RULE, AUTONOMY_RULE, "limits", "fail_closed"})
"""Rules of the product: a replay asks the bundle alone."""


class Guardrails(Frozen):
    """The settings of the ladder, the limits, and the freezes that go into every question."""

    ladder: Ladder = Ladder()
    limits: RemediationLimits = RemediationLimits()
    freezes: tuple[FreezeWindow, ...] = ()


def history_of(outcomes: Sequence[Outcome], place: Place) -> History:
    """Counts of the outcomes, all of this action in one namespace."""
    return History(
        days=HISTORY_DAYS,
        target=_counted([outcome for outcome in outcomes if outcome.workload == place.workload]),
        namespace=_counted(outcomes),
    )


def _counted(outcomes: Sequence[Outcome]) -> Outcomes:
    results = [outcome.result for outcome in outcomes]
    return Outcomes(
        verified=results.count(Result.VERIFIED),
        rolled_back=results.count(Result.ROLLED_BACK),
        failed=results.count(Result.FAILED),
    )


def notices(stops: Sequence[Stop]) -> tuple[StopNotice, ...]:
    return tuple(
        StopNotice(id=stop.id, scope=str(stop.scope), by=stop.stopped_by, reason=stop.reason)
        for stop in stops
    )


def guarded(question: PolicyInput, answer: PolicyDecision) -> PolicyDecision:
    """The answer, or the product's own denial: a stop forbids, and who only observes or suggests does
    nothing. No bundle can loosen this."""
    if question.stops:
        return answer.model_copy(
            update={
                "effect": Effect.DENY,
                "rule": STOP_RULE,
                "reasons": tuple(f"{stop.id} by {stop.by}: {stop.reason}" for stop in question.stops),
            }
        )
    level = question.autonomy.level
    if level not in (Level.OBSERVE, Level.SUGGEST):
        return answer
    commands = question.commands if level is Level.SUGGEST else ()
    shown = tuple(redact(command).text for command in commands)
    if answer.effect is not Effect.DENY:
        reasons = (f"{level}_only", *shown)
        return answer.model_copy(update={"effect": Effect.DENY, "rule": AUTONOMY_RULE, "reasons": reasons})
    if answer.rule == AUTONOMY_RULE:  # the bundle says so itself, perhaps with further reasons
        return answer.model_copy(update={"reasons": (*answer.reasons, *shown)})
    return answer


def denied_by(answer: PolicyDecision, rule: str, reason: str) -> PolicyDecision:
    """A denial by a rule of the product after policy had not denied."""
    return answer.model_copy(update={"effect": Effect.DENY, "rule": rule, "reasons": (reason,)})


def waits(answer: PolicyDecision, until: datetime, why: str) -> PolicyDecision:
    """The answer, to be asked for again at that time."""
    return answer.model_copy(update={"held_until": until, "reasons": (*answer.reasons, why)})
