"""Grouping: which signals are one incident, how severe it is, and how risky (0–100).

The key is the workload (or node) that a signal is about; owner resolution happens before this and
is I/O, the decision is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypeVar

from cortexops.domain.ids import incident_key
from cortexops.domain.incident import IncidentState
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import FateReason, Severity, Signal, SignalFate, SignalStatus, SignalType

COOLDOWN = timedelta(minutes=10)
"""After a resolution the same key is quiet for this long (seed 000: resolutionCooldownMinutes 10)."""

_BASE_RISK = {Severity.CRITICAL: 75, Severity.HIGH: 50, Severity.MEDIUM: 30, Severity.LOW: 10}
_TYPE_RISK = {
    SignalType.OOM_KILL: 10,
    SignalType.CRASH_LOOP: 10,
    SignalType.NODE_NOT_READY: 15,
    SignalType.ERROR_RATE: 10,
    SignalType.REPLICAS_MISSING: 5,
    SignalType.ROLLOUT_STUCK: 5,
}
_PRODUCTION_RISK = 5
_EACH_FURTHER_SERIES = 5  # at most three of them count


def risk_score(signals: list[Signal], environment: str = "") -> int:
    """0 (nothing) to 100: worst severity, worst kind of trouble, production, and how many series complain."""
    firing = [signal for signal in signals if signal.status is SignalStatus.FIRING]
    if not firing:
        return 0
    worst = Severity.worst([signal.severity for signal in firing])
    kind = max(_TYPE_RISK.get(signal.type, 0) for signal in firing)
    series = len({signal.fingerprint for signal in firing})
    production = _PRODUCTION_RISK if environment == "production" else 0
    return min(100, _BASE_RISK[worst] + kind + production + _EACH_FURTHER_SERIES * min(series - 1, 3))


def severity_of(signals: list[Signal]) -> Severity:
    """The worst severity among the signals."""
    return Severity.worst([signal.severity for signal in signals])


def title_of(signals: list[Signal], resource: ResourceRef) -> str:
    """`OOM kill on Deployment production/payment-service`, from the most telling signal."""
    told = sorted(signals, key=lambda s: (s.type is SignalType.OTHER, -s.severity.rank, s.name))[0]
    what = told.name if told.type is SignalType.OTHER else told.type.value.replace("_", " ").capitalize()
    return f"{what.replace('Oom', 'OOM')} on {resource}"


def key_of(resource: ResourceRef) -> str:
    """The incident's workflow id."""
    return incident_key(resource)


class EndedIncident(NamedTuple):
    """The newest incident of a key that has ended, as the correlator needs it."""

    id: str
    state: IncidentState
    ended_at: datetime


class Report(Protocol):
    """As much of a signal as these decisions need."""

    @property
    def id(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def status(self) -> SignalStatus: ...

    @property
    def severity(self) -> Severity: ...

    @property
    def started_at(self) -> Any:
        """A time; it is only compared with those of its like."""
        ...


R = TypeVar("R", bound=Report)


class Fate(NamedTuple):
    """What is to become of a signal, and why."""

    fate: SignalFate
    reason: FateReason


NEW_INCIDENT = Fate(SignalFate.STARTED, FateReason.NEW_INCIDENT)
OPEN_INCIDENT = Fate(SignalFate.MERGED, FateReason.OPEN_INCIDENT)
SAME_WINDOW = Fate(SignalFate.MERGED, FateReason.SAME_WINDOW)
HANDED_OVER = Fate(SignalFate.MERGED, FateReason.HANDED_OVER)
COOLED_DOWN = Fate(SignalFate.SUPPRESSED, FateReason.COOLDOWN)
RESOLVED_UNKNOWN = Fate(SignalFate.SUPPRESSED, FateReason.RESOLVED_UNKNOWN)
DUPLICATE = Fate(SignalFate.MERGED, FateReason.DUPLICATE)
STREAM_LIMIT = Fate(SignalFate.DROPPED, FateReason.STREAM_LIMIT)
KEEPS_FAILING = Fate(SignalFate.PARKED, FateReason.KEEPS_FAILING)


_RESOLVED = SignalStatus.RESOLVED
_CALLED_NOBODY = frozenset({IncidentState.MERGED, IncidentState.SUPPRESSED})
_CLOCKS = timedelta(seconds=5)
"""By which a signal's recording may seem to be before the opening of the incident that it opened."""


class GroupDecision(NamedTuple):
    """What to do with one group of signals of one key. `deliver` is False when no workflow hears of it."""

    deliver: bool
    fates: dict[str, Fate]


def decide_group(
    signals: Sequence[Report],
    *,
    opened: datetime | None,
    ended: EndedIncident | None,
    known: Mapping[str, datetime],
    now: datetime,
    cooldown: timedelta = COOLDOWN,
) -> GroupDecision:
    """The fate of each signal of a group: those that fire in order of arrival, then those that have ended
    (an alert that fired and ended within one window is one incident, in whichever order the two came).

    `opened` is when the open incident of the key was, `known` when the fate of a signal was recorded before.
    A known signal is a duplicate if it was recorded since the incident was opened; what was recorded earlier,
    the incident has never heard of. Without an open incident it is one while the recording is fresh (a
    redelivery); later it is an alert that still fires although its incident has ended, and opens a new one.
    After RESOLVED the cool-down suppresses; after any other end a person has been called, and for the same
    time signals are counted with that incident rather than set automation going again. An incident that was
    merged or suppressed has called nobody, and gives no rest. An alert that repeats is never silenced for
    longer than that.
    """
    resting = ended is not None and ended.state not in _CALLED_NOBODY and now < ended.ended_at + cooldown
    mended = ended is not None and ended.state is IncidentState.RESOLVED
    fates: dict[str, Fate] = {}
    deliver = False
    for signal in sorted(signals, key=lambda signal: signal.status is _RESOLVED):
        seen = known.get(signal.id)
        if signal.id in fates:
            continue
        if seen is not None and (seen >= opened - _CLOCKS if opened else now < seen + cooldown):
            fates[signal.id] = DUPLICATE
        elif opened:
            fates[signal.id] = OPEN_INCIDENT
            deliver = True
        elif signal.status is _RESOLVED and not deliver:
            fates[signal.id] = RESOLVED_UNKNOWN
        elif deliver:
            fates[signal.id] = SAME_WINDOW
        elif resting and mended:
            fates[signal.id] = COOLED_DOWN
        elif resting:
            fates[signal.id] = HANDED_OVER
        else:
            fates[signal.id] = NEW_INCIDENT
            deliver = True
    return GroupDecision(deliver, fates)


MOST_DELIVERED = 32
"""Series of one group that a workflow hears of; a storm is folded before it gets there."""


def fold(signals: list[R], most: int = MOST_DELIVERED) -> list[R]:
    """What a workflow needs of a big group: of each series the latest start and the latest end, whichever came
    first, of at most `most` series each: those that still fire before those that are over, the most severe
    first. So whether all is over stays what it was. Order of arrival is kept."""
    if len(signals) <= most:
        return signals
    firing: dict[str, R] = {}
    ended: dict[str, R] = {}
    for signal in signals:
        latest = ended if signal.status is _RESOLVED else firing
        known = latest.get(signal.fingerprint)
        if known is None or signal.started_at > known.started_at:
            latest[signal.fingerprint] = signal
    over = {
        name for name, one in ended.items() if name in firing and one.started_at >= firing[name].started_at
    }
    told = sorted(firing.values(), key=lambda s: (s.fingerprint in over, -s.severity.rank))[:most]
    series = {signal.fingerprint for signal in told}
    news = sorted(ended.values(), key=lambda s: (s.fingerprint not in series, -s.severity.rank))[:most]
    kept = {signal.id for signal in [*told, *news]}
    return list({signal.id: signal for signal in signals if signal.id in kept}.values())


_HEARD = frozenset({NEW_INCIDENT.reason, OPEN_INCIDENT.reason, SAME_WINDOW.reason})


def is_heard(fate: Fate) -> bool:
    """Whether a workflow is told of a signal with this fate."""
    return fate.reason in _HEARD


def fates_after_delivery(fates: dict[str, Fate], started: bool) -> dict[str, Fate]:
    """The fates in the light of what Temporal did: it alone knows whether an incident was open.

    The database lags a little behind. So what was to start may have joined, and what was to join may have
    started: then its first signal did.
    """
    joined = SAME_WINDOW if started else OPEN_INCIDENT
    told = {signal_id: joined if is_heard(fate) else fate for signal_id, fate in fates.items()}
    if started and (first := next((id_ for id_, fate in fates.items() if is_heard(fate)), None)):
        told[first] = NEW_INCIDENT
    return told
