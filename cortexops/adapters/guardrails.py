"""The guardrails that the settings ask for."""

from __future__ import annotations

from cortexops.domain.autonomy import Ladder, Step
from cortexops.domain.guardrails import Guardrails
from cortexops.domain.limits import RemediationLimits
from cortexops.domain.policy import FreezeWindow
from cortexops.settings import Settings


def guardrails(settings: Settings) -> Guardrails:
    """Ladder, limits and freezes."""
    autonomy, limits = settings.autonomy, settings.limits
    return Guardrails(
        ladder=Ladder(
            shadow=autonomy.shadow,
            default=autonomy.default,
            start=autonomy.start,
            cap=autonomy.cap,
            highest=autonomy.highest,
            approve=Step(trials=autonomy.approve_trials, lower_bound=autonomy.approve_lower_bound),
            auto=Step(trials=autonomy.auto_trials, lower_bound=autonomy.auto_lower_bound),
            window_days=autonomy.window_days,
            block_hours=autonomy.block_hours,
        ),
        limits=RemediationLimits(
            at_once=limits.remediations, queued=limits.queued, incident_seconds=limits.incident_seconds
        ),
        freezes=tuple(FreezeWindow.model_validate(window.model_dump()) for window in settings.policy.freezes),
    )
