"""The autonomy ladder: how much an action may do by itself on one workload, earned by what it achieved.

observe ─► suggest ─► approve ─► auto

The level is folded from outcomes in order of time. It rises by one step with a verified success when enough
was tried and the lower confidence bound of the share of successes reaches the next step's threshold. It
falls by one step with every rollback, at once, and does not rise again for a while; what was earned is also
lost, a step a time, when failures bring the bound below what earned it. A person may set it for
a time. It is never above the cap of the environment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby

from pydantic import AwareDatetime, Field

from cortexops.domain.action import Action
from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import Frozen

RULE = "autonomy"
"""The rule that denials of observe and suggest name."""
_Z = 1.96
"""Two-sided 95 %."""
LONGEST_OVERRIDE = timedelta(days=90)
"""What a person sets ends by itself: one that is forgotten must not hold for years."""


class Level(StrEnum):
    """From nothing to everything; each includes what is before it."""

    OBSERVE = "observe"
    SUGGEST = "suggest"
    APPROVE = "approve"
    AUTO = "auto"

    @property
    def rank(self) -> int:
        return list(Level).index(self)

    def lower(self, steps: int = 1) -> Level:
        return list(Level)[max(0, self.rank - steps)]

    def higher(self) -> Level:
        return list(Level)[min(len(Level) - 1, self.rank + 1)]


def lowest(*levels: Level) -> Level:
    return min(levels, key=lambda level: level.rank)


class Result(StrEnum):
    """What became of one change."""

    VERIFIED = "verified"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


class Outcome(Frozen):
    """One change that was made, and what became of it. Drills and refused changes are none."""

    cluster: str
    namespace: str
    workload: str
    """Kind and name: `Deployment/api`."""
    action: str
    result: Result
    at: AwareDatetime
    incident_id: str = ""


class Step(Frozen):
    """What it takes to rise to a level: so many trials, and such a lower bound of the success share."""

    trials: int = Field(ge=1)
    lower_bound: float = Field(ge=0, le=1)


class Ladder(Frozen):
    """The rules of the ladder. `start` and `highest` name levels by environment."""

    shadow: bool = False
    """Observe everywhere, whatever anybody sets."""
    default: Level = Level.APPROVE
    start: dict[str, Level] = Field(default_factory=dict)
    cap: Level = Level.AUTO
    highest: dict[str, Level] = Field(default_factory=dict)
    suggest: Step = Step(trials=1, lower_bound=0.2)
    approve: Step = Step(trials=3, lower_bound=0.4)
    auto: Step = Step(trials=10, lower_bound=0.7)
    window_days: float = Field(default=90, gt=0)
    """Older outcomes count no more as evidence."""
    block_hours: float = Field(default=168, ge=0)
    """So long after a rollback nothing rises."""

    def start_of(self, environment: str) -> Level:
        return lowest(self.start.get(environment, self.default), self.cap_of(environment))

    def cap_of(self, environment: str) -> Level:
        if self.shadow:
            return Level.OBSERVE
        return lowest(self.highest.get(environment, self.cap), self.cap)

    def step_to(self, level: Level) -> Step:
        return {Level.SUGGEST: self.suggest, Level.APPROVE: self.approve}.get(level, self.auto)


class Override(Frozen):
    """A level that a person sets for a time; empty fields of the scope match all."""

    id: str
    cluster: str = Field(default="", max_length=63)
    namespace: str = Field(default="", max_length=63)
    workload: str = Field(default="", max_length=320)
    action: str = Field(default="", max_length=63)
    level: Level
    reason: str = Field(min_length=1, max_length=500)
    set_by: str = Field(min_length=1, max_length=253)
    since: AwareDatetime
    until: AwareDatetime
    cleared_at: AwareDatetime | None = None

    @property
    def scope(self) -> str:
        given = {
            field: value
            for field in ("cluster", "namespace", "workload", "action")
            if (value := getattr(self, field))
        }
        return ", ".join(f"{field}={value}" for field, value in given.items()) or "everything"

    @property
    def breadth(self) -> int:
        """How many fields are left open: fewer means closer."""
        return sum(not value for value in (self.cluster, self.namespace, self.workload, self.action))

    def holds(self, place: Place, now: datetime) -> bool:
        return (
            self.cleared_at is None
            and now < self.until  # from the moment when it is there, whatever clock `since` is of
            and self.cluster in ("", place.cluster)
            and self.namespace in ("", place.namespace)
            and self.workload in ("", place.workload)
            and self.action in ("", place.action)
        )


class Place(Frozen):
    """What a level is kept for."""

    cluster: str
    namespace: str
    workload: str
    action: str

    @classmethod
    def of(cls, action: Action) -> Place:
        target = action.target
        return cls(
            cluster=target.cluster,
            namespace=target.namespace,
            workload=f"{target.kind}/{target.name}",
            action=action.type,
        )

    def __str__(self) -> str:
        where = f"{self.cluster}/{self.namespace}" if self.namespace else self.cluster
        return f"{self.action} on {self.workload} in {where}"


class Autonomy(Frozen):
    """The level of one place at one moment, and why. Policies see it as `input.autonomy`."""

    level: Level = Level.APPROVE
    cap: Level = Level.AUTO
    why: str = "start"
    """`start`, `promoted`, `worsened`, `demoted`, `override`, `override_demoted`, `capped`, `shadow`."""
    successes: int = 0
    trials: int = 0
    lower_bound: float = 0.0
    blocked_until: AwareDatetime | None = None
    override: str = ""


def wilson_lower(successes: int, trials: int, z: float = _Z) -> float:
    """The lower bound of the share of successes (Wilson score interval); 0 without successes."""
    if trials <= 0 or successes <= 0:
        return 0.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, (centre - spread) / (1 + z * z / trials))


def evidence(outcomes: Iterable[Outcome], ladder: Ladder, at: datetime) -> tuple[int, int]:
    """Successes and trials within the window that ends at that moment."""
    since = at - timedelta(days=ladder.window_days)
    counted = [outcome for outcome in outcomes if since < outcome.at <= at]
    return sum(outcome.result is Result.VERIFIED for outcome in counted), len(counted)


def assess(
    outcomes: Sequence[Outcome],
    environment: str,
    ladder: Ladder,
    now: datetime,
    override: Override | None = None,
) -> Autonomy:
    """The level of one place from its outcomes; those of the same moment count together."""
    past = sorted((outcome for outcome in outcomes if outcome.at <= now), key=lambda outcome: outcome.at)
    cap = ladder.cap_of(environment)
    level, why, blocked = _folded(past, environment, ladder)
    if override is not None:
        after = [outcome for outcome in past if outcome.at >= override.since]
        rollbacks = sum(outcome.result is Result.ROLLED_BACK for outcome in after)
        level = override.level.lower(rollbacks)
        why = "override_demoted" if rollbacks else "override"
    if level.rank > cap.rank:
        level, why = cap, "capped"
    if ladder.shadow:
        level, why = Level.OBSERVE, "shadow"
    successes, trials = evidence(past, ladder, now)
    return Autonomy(
        level=level,
        cap=cap,
        why=why,
        successes=successes,
        trials=trials,
        lower_bound=round(wilson_lower(successes, trials), 4),
        blocked_until=blocked if blocked is not None and blocked > now else None,
        override=override.id if override is not None else "",
    )


def _folded(past: Sequence[Outcome], environment: str, ladder: Ladder) -> tuple[Level, str, datetime | None]:
    start = ladder.start_of(environment)
    level, why, blocked = start, "start", None
    cap = ladder.cap_of(environment)
    for at, group in groupby(past, key=lambda outcome: outcome.at):
        results = [outcome.result for outcome in group]
        rollbacks = results.count(Result.ROLLED_BACK)
        if rollbacks:
            level, why = level.lower(rollbacks), "demoted"
            blocked = at + timedelta(hours=ladder.block_hours)
            continue
        successes, trials = evidence(past, ladder, at)
        bound = wilson_lower(successes, trials)
        earned = level.rank > start.rank
        if earned and Result.FAILED in results and bound < ladder.step_to(level).lower_bound:
            level, why = level.lower(), "worsened"
        elif Result.VERIFIED in results and (blocked is None or at >= blocked) and level.rank < cap.rank:
            step = ladder.step_to(level.higher())
            if trials >= step.trials and bound >= step.lower_bound:
                level, why = level.higher(), "promoted"
    return level, why, blocked


def override_for(overrides: Iterable[Override], place: Place, now: datetime) -> Override | None:
    """The one that counts: the closest; of equally close ones that which allows least."""
    holding = [override for override in overrides if override.holds(place, now)]
    return min(
        holding, key=lambda override: (override.breadth, override.level.rank, override.id), default=None
    )


def check_override(override: Override, now: datetime) -> Override:
    """The override, if it may be set. Raises `InvalidInput` naming the field."""
    if not override.reason.strip():
        raise InvalidInput("reason", "say why: it is written into the audit trail")
    if override.until <= now:
        raise InvalidInput("until", "is in the past")
    if override.until - override.since > LONGEST_OVERRIDE:
        raise InvalidInput("until", f"an override lasts {LONGEST_OVERRIDE.days} days at most")
    return override


def explained(found: Autonomy, ladder: Ladder, override: Override | None = None) -> list[str]:
    """Why the level is what it is, and what it takes to rise, in sentences."""
    said = [
        f"{found.successes} of {found.trials} changes in {ladder.window_days:g} days helped; "
        f"the lower bound of that share is {found.lower_bound:.2f}."
    ]
    if found.why == "shadow":
        said.append("Shadow mode is on: everything is observed, nothing is done.")
    if override is not None:
        said.append(
            f"{override.set_by} set {override.level} for {override.scope} until {override.until:%Y-%m-%d %H:%M} "
            f"UTC: {override.reason}"
        )
    if found.why == "override_demoted":
        said.append("Rollbacks since then lowered it, one step each.")
    if found.why == "capped" or found.level is found.cap:
        said.append(f"It cannot rise above {found.cap} in this environment.")
    if found.blocked_until is not None:
        said.append(f"After a rollback it does not rise before {found.blocked_until:%Y-%m-%d %H:%M} UTC.")
    if found.level.rank < found.cap.rank:
        step = ladder.step_to(found.level.higher())
        said.append(
            f"To rise to {found.level.higher()}: {step.trials} changes at least, and a lower bound of "
            f"{step.lower_bound:.2f}."
        )
    return said
