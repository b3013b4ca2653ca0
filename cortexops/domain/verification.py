"""Verification: did the change help? Four answers, and only Successful lets anything proceed.

The words follow argo-rollouts: a measurement can fail (measured, bad), be inconclusive (measured, no
verdict) or be an error (could not be measured). The worst one wins.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime

from cortexops.domain.resource import Frozen

WINDOW = timedelta(seconds=90)
"""Seed 000: verify for 90 s; expiry without health rolls back."""


class Phase(StrEnum):
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"
    RUNNING = "Running"


class Measurement(Frozen):
    """One check at one moment. `detail` is the measured value in words (`3/3 replicas ready`)."""

    check: str
    phase: Phase
    detail: str
    at: AwareDatetime


class Limits(Frozen):
    """When to stop measuring. Times in seconds."""

    window: float = WINDOW.total_seconds()
    stable_for: float = 30.0
    interval: float = 2.0
    consecutive_errors: int = 5


class Verification(Frozen):
    """The verdict with the last measurement of each check."""

    phase: Phase
    measurements: tuple[Measurement, ...]
    detail: str
    seconds: float


def _worst(round_: list[Measurement]) -> Phase:
    """The worst phase of a round; a round that measured nothing could not be measured."""
    if not round_:
        return Phase.ERROR
    for phase in (Phase.ERROR, Phase.FAILED, Phase.INCONCLUSIVE, Phase.RUNNING):
        if any(m.phase is phase for m in round_):
            return phase
    return Phase.SUCCESSFUL


def assess(
    rounds: list[list[Measurement]], limits: Limits, *, started: datetime, now: datetime
) -> Verification:
    """The verdict over all rounds of measurement so far; `RUNNING` means: measure again.

    Successful: every check was good for `stable_for` without a break. Failed: a check says Failed (it
    cannot get better by waiting), or the window ended while one was still not good. Inconclusive: the
    window ended during the good time, or with nothing but inconclusive answers. Error: too many rounds
    in a row could not be measured, or the last one at the window's end could not.
    """
    elapsed = (now - started).total_seconds()

    def verdict(phase: Phase, detail: str) -> Verification:
        last = tuple(rounds[-1]) if rounds else ()
        return Verification(phase=phase, measurements=last, detail=detail, seconds=round(elapsed, 3))

    if not rounds:
        return verdict(Phase.RUNNING if elapsed < limits.window else Phase.ERROR, "nothing was measured yet")
    phases = [_worst(round_) for round_ in rounds]
    bad = next((m for m in rounds[-1] if m.phase is Phase.FAILED), None)
    if bad is not None:
        return verdict(Phase.FAILED, f"{bad.check}: {bad.detail}")
    errors = 0
    for phase in reversed(phases):
        if phase is not Phase.ERROR:
            break
        errors += 1
    if errors >= limits.consecutive_errors:
        return verdict(
            Phase.ERROR, f"{errors} rounds in a row could not be measured: {_says(rounds[-1], Phase.ERROR)}"
        )
    good_since: datetime | None = None
    for round_, phase in zip(rounds, phases, strict=True):
        if phase is Phase.SUCCESSFUL:
            good_since = good_since or round_[0].at
        else:
            good_since = None
    if good_since is not None and (now - good_since).total_seconds() >= limits.stable_for:
        return verdict(Phase.SUCCESSFUL, "; ".join(m.detail for m in rounds[-1]))
    if elapsed < limits.window:
        return verdict(Phase.RUNNING, "measuring")
    if good_since is not None:
        return verdict(Phase.INCONCLUSIVE, f"healthy at last, but for less than {limits.stable_for:g} s")
    last = phases[-1]
    if last is Phase.RUNNING:
        return verdict(
            Phase.FAILED, f"not healthy within {limits.window:g} s: {_says(rounds[-1], Phase.RUNNING)}"
        )
    return verdict(last, _says(rounds[-1], last))


def _says(round_: list[Measurement], phase: Phase) -> str:
    return "; ".join(f"{m.check}: {m.detail}" for m in round_ if m.phase is phase) or "nothing to measure"
