"""Metric checks at work: asks Prometheus after a change, and says in measurements what the answers mean.

Baselines come from Prometheus' own history: nothing is stored. Queries are the checks' templates with names
that Kubernetes allows; each is one bounded GET. What cannot be asked is never a silent success.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from temporalio import activity

from activities.actions import ACTIONS
from activities.errors import told
from activities.health import utc_now
from cortexops.contracts.remediation import VerifyInput
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import CortexError, InvalidInput, TemporaryError
from cortexops.domain.kubernetes.values import objects
from cortexops.domain.metric_checks import (
    LEFT_OUT,
    Conclusion,
    Finding,
    MetricCheck,
    Moment,
    References,
    Scope,
    Seen,
    conclude,
    filled,
    judge,
)
from cortexops.domain.metric_defaults import DEFAULTS
from cortexops.domain.prometheus import sample_value
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scraping import covered, interval_query, lengthened, usable
from cortexops.domain.verification import Limits, Measurement, Phase
from cortexops.domain.words import counted
from cortexops.domain.workload import WORKLOADS
from cortexops.settings_verification import VerificationSettings
from cortexops.telemetry import get_logger

_log = get_logger(__name__)

_AT_ONCE = 4
_PATIENCE = 0.75
"""So much of the time that the window can spare, a metric that was there before is waited for."""
_ROOM = 30.0
"""Seconds of an activity's time that are kept for what comes after watching."""
_MARGIN = 1 / 12
"""Alerts fire some time after the trouble began: so much of the calm time is left out at its end."""


class Backend(Protocol):
    """Prometheus, as `HttpBackend` reaches it."""

    async def get(self, path: str, query: dict[str, str]) -> JSON: ...


class Diagnoses(Protocol):
    """What is known of an incident's cause and onset."""

    async def diagnosis(self, incident_id: str) -> Diagnosis | None: ...


class _Asked:
    """One check on one object, with all that was seen so far."""

    def __init__(self, check: MetricCheck, scope: Scope) -> None:
        self.check = check
        self.scope = scope
        self.history: list[Seen] = []
        self.past: References | None = None
        self.interval: float | None = None
        """Seconds between two scrapes of what it reads, where they are known and can be waited for."""


class MetricWatch:
    """The metric checks of one verification; `measure` is called once a round.

    `limits` are the verification's, with a longer window where metrics are scraped too seldom for it; the
    longer one is for objects that are well. With `made`, when the change was made that was taken back at
    `since`, it is asked whether all is as it was before the trouble, and not whether it got better.
    """

    def __init__(
        self,
        backend: Backend | None,
        asked: Sequence[_Asked],
        settings: VerificationSettings,
        limits: Limits,
        *,
        since: datetime,
        onset: datetime | None,
        contained: bool,
        made: datetime | None = None,
        most_seconds: float | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        intervals = [one.interval for one in asked if one.interval is not None]
        self.limits = lengthened(limits, intervals, most=most_seconds)
        slowest = max(intervals, default=0.0) if self.limits.window > limits.window else 0.0
        limits = self.limits
        self._backend = backend
        self._asked = asked
        self._settings = settings
        self._since = since
        self._made = made
        self._onset = onset if onset is not None and onset < (made or since) else None
        self._contained = contained
        self._clock = clock
        self._started = clock()
        self._window = limits.window
        self._patience = _PATIENCE * max(0.0, limits.window - limits.stable_for)
        pause = max(settings.interval_seconds, slowest)
        self._interval = max(limits.interval, min(pause, limits.window / 6))
        self._next = self._started
        self._rounds = 0
        self._well_since: datetime | None = None
        self._newest: list[Measurement] = []
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def measure(self, well: bool = True) -> list[Measurement]:
        """What the checks say now. Between two queries of a check its newest answer is repeated.

        Until the objects were `well` for the first time nothing is judged: a rollout fails requests itself.
        """
        now = self._clock()
        if well and self._well_since is None:
            self._well_since = max(now, self._since) if self._rounds else self._since
        self._rounds += 1
        if self._asked and now >= self._next:
            self._next = now + timedelta(seconds=self._interval)
            found = await asyncio.gather(*(self._one(asked, now) for asked in self._asked))
            paced = [self._paced(*one) for one in zip(self._asked, found, strict=True)]
            self._newest = _measurements(list(zip(self._asked, paced, strict=True)), now)
        return [measurement.model_copy(update={"at": now}) for measurement in self._newest]

    async def _one(self, asked: _Asked, now: datetime) -> Conclusion:
        check = asked.check
        elapsed = (now - self._started).total_seconds()
        moment = Moment(
            early=self._well_since is None
            or (now - self._since).total_seconds() < min(check.initial_delay_seconds, self._patience / 2),
            waited=elapsed >= self._patience,
            last=elapsed + self._interval > self._window,
        )
        seen = await self._look(asked, now)
        history = [*asked.history, seen]
        if not moment.early or seen.finding is Finding.ERROR:
            asked.history = history
        known = asked.past is not None and asked.past != References()
        return conclude(check, history, known=known, moment=moment)

    def _paced(self, asked: _Asked, end: Conclusion) -> Conclusion:
        """Says where scrapes that are far apart made it look at more than it is told to."""
        range_ = covered(self._settings.range_seconds, asked.interval)
        if asked.interval is None or range_ <= self._settings.range_seconds:
            return end
        text = f"{end.detail}; scraped every {asked.interval:g} s, so a value covers up to {range_:g} s"
        return end._replace(detail=text)

    async def _look(self, asked: _Asked, now: datetime) -> Seen:
        check, scope = asked.check, asked.scope
        try:
            if asked.past is None:
                asked.past = await self._references(asked)
            start = self._well_since or self._since
            value = await self._now(asked, start, now)
            noisy = value is None and start > self._since and asked.past != References()
            if noisy:
                value = await self._now(asked, self._since, now)
        except CortexError as error:
            return Seen(Finding.ERROR, told(error))
        own = check.owns(scope.category)
        seen = judge(check, value, asked.past, own=own, contained=self._contained)
        if noisy and seen.finding is Finding.BAD:  # of the rollout or of what came of it: nobody can tell
            return Seen(Finding.UNSURE, f"{seen.detail}; the time of the rollout is in it")
        return seen

    async def _now(self, asked: _Asked, start: datetime, now: datetime) -> float | None:
        """The value since then, over the newest time that a value covers; None when nothing was measured yet."""
        most = covered(self._settings.range_seconds, asked.interval)
        seconds = min((now - start).total_seconds(), most)
        return await self._value(asked.check, asked.scope, now, seconds) if seconds > 0 else None

    async def _references(self, asked: _Asked) -> References:
        """The baselines. After an undo it is the calm time alone that tells whether all is well; the time at
        the change only where nothing is known of the calm one."""
        seconds = covered(self._settings.before_seconds, asked.interval)
        before = await self._value(asked.check, asked.scope, self._made or self._since, seconds)
        calm = await self._before_the_trouble(asked)
        return References(None if self._made is not None and calm is not None else before, calm)

    async def _before_the_trouble(self, asked: _Asked) -> float | None:
        if self._onset is None:
            return None
        seconds = covered(self._settings.calm_seconds, asked.interval)
        return await self._value(asked.check, asked.scope, _calm_end(self._onset, self._settings), seconds)

    async def _value(self, check: MetricCheck, scope: Scope, at: datetime, seconds: float) -> float | None:
        """The query's value at that moment over so many seconds before; None without data."""
        if self._backend is None:
            raise InvalidInput("prometheus", f"none is configured for cluster {scope.ref.cluster}")
        query = {
            "query": filled(check, scope, seconds=seconds),
            "time": f"{at.timestamp():.3f}",
            "lookback_delta": f"{max(1, round(seconds * 1000))}ms",
            "timeout": "4s",
        }
        async with self._gate:
            answer = await self._backend.get("/api/v1/query", query)
        return check.worst(_values(answer))


def _calm_end(onset: datetime, settings: VerificationSettings) -> datetime:
    return onset - timedelta(seconds=settings.calm_seconds * _MARGIN)


def _values(answer: JSON) -> list[float]:
    """The finite values of an instant query's answer. Raises `TemporaryError` for an answer that is none and
    `InvalidInput` for one that is not made of numbers now."""
    data = answer.get("data")
    if answer.get("status") != "success" or not isinstance(data, dict):
        raise TemporaryError("prometheus did not answer the query")
    kind = data.get("resultType")
    if kind == "scalar":
        pairs = [data.get("result")]
    elif kind == "vector":
        pairs = [item.get("value") for item in objects(answer, "data", "result")]
    else:
        raise InvalidInput("query", "must give an instant vector or a number")
    return [value for pair in pairs if (value := sample_value(pair)) is not None]


def _measurements(found: list[tuple[_Asked, Conclusion]], now: datetime) -> list[Measurement]:
    """One of each check that counts; one in all of those that are left out, where there is something to say."""

    def says(check: str, phase: Phase, detail: str) -> Measurement:
        return Measurement(check=check, phase=phase, detail=detail, at=now)

    counting = [
        says(f"metric:{asked.check.name}", end.phase, f"{asked.check.name} {end.detail}")
        for asked, end in found
        if end.counts
    ]
    left_out = [(asked, end) for asked, end in found if not end.counts]
    unasked = [end for asked, end in left_out if asked.history and asked.history[-1].finding is Finding.ERROR]
    if unasked:
        detail = f"metrics could not be asked ({counted(len(unasked), 'check')}: {unasked[0].detail})"
        return [*counting, says(LEFT_OUT, Phase.SUCCESSFUL, detail)]
    if left_out and not counting:
        return [says(LEFT_OUT, Phase.SUCCESSFUL, "no metrics of it were found")]
    return counting


class MetricHealth:
    """Builds the watch of a verification: which checks concern it, and what its baseline is."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        diagnoses: Diagnoses,
        settings: VerificationSettings | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._backends = backends
        self._diagnoses = diagnoses
        self._settings = settings or VerificationSettings()
        self._clock = clock

    async def watch(
        self,
        question: VerifyInput,
        *,
        since: datetime,
        made: datetime | None = None,
        most_seconds: float | None = None,
    ) -> MetricWatch:
        """The checks of what is watched. `since` is when the change was made, or with `made`, which says that,
        when it was taken back. `most_seconds` bounds a longer window. Raises what the store raises."""
        diagnosis = await self._diagnoses.diagnosis(question.step.incident_id)
        onset, category = question.onset, question.category
        if diagnosis is not None:
            onset = onset or diagnosis.onset
            category = category or (diagnosis.hypotheses[0].category if diagnosis.hypotheses else "")
        asked = []
        for ref in _watched(question.action.target, question.subject):
            service = question.subject.name if question.subject.kind == "Service" else ref.name
            scope = Scope(ref, service, category)
            checks = [check for check in self._settings.checks if check.match.covers(scope)]
            if self._settings.defaults and ref.cluster in self._backends:
                own = {check.name for check in self._settings.checks}
                checks += [check for check in DEFAULTS if check.name not in own and check.match.covers(scope)]
            asked += [_Asked(check, scope) for check in checks]
        backend = self._backends.get(question.action.target.cluster)
        if backend is not None:
            await self._measure_scrapes(backend, asked, made or since, onset)
        return MetricWatch(
            backend,
            asked,
            self._settings,
            question.limits,
            since=since,
            onset=onset,
            contained=made is None and ACTIONS[question.action.type].spec.contains_only,
            made=made,
            most_seconds=most_seconds,
            clock=self._clock,
        )

    async def _measure_scrapes(
        self, backend: Backend, asked: Sequence[_Asked], at: datetime, onset: datetime | None
    ) -> None:
        """How often what the checks read is scraped. Where that cannot be told they are asked as configured."""
        calm_ago = (at - _calm_end(onset, self._settings)).total_seconds() if onset is not None else None
        if calm_ago is not None and calm_ago <= 0:
            calm_ago = None
        gate = asyncio.Semaphore(_AT_ONCE)

        async def look(one: _Asked) -> None:
            query = interval_query(one.check, one.scope, calm_ago=calm_ago)
            if query is not None:
                given = {"query": query, "time": f"{at.timestamp():.3f}", "timeout": "4s"}
                async with gate:
                    answer = await backend.get("/api/v1/query", given)
                one.interval = usable(min(_values(answer), default=None))

        try:
            for some in (asked[:1], asked[1:]):  # a server that is away is asked once
                async with asyncio.TaskGroup() as group:
                    for one in some:
                        group.create_task(look(one))
        except* CortexError as errors:
            _log.info(
                "how often metrics are scraped cannot be told", problem=type(errors.exceptions[0]).__name__
            )


def _watched(target: ResourceRef, subject: ResourceRef) -> list[ResourceRef]:
    """A node is judged by itself, a workload together with the one that the incident is about. Other targets
    have no metrics of their own where a workload stands behind them."""
    if target.kind == "Node":
        return [target]
    workloads = [ref for ref in dict.fromkeys((target, subject)) if ref.kind in WORKLOADS]
    return workloads or [target]


async def metric_watch(
    metrics: MetricHealth | None, question: VerifyInput, since: datetime, *, made: datetime | None = None
) -> MetricWatch | None:
    """What measures the metrics of a verification round by round, for `watch_health`; `made` as in `watch`."""
    if metrics is None:
        return None
    return await metrics.watch(question, since=since, made=made, most_seconds=_time_left())


def _time_left() -> float | None:
    """Seconds that the activity has for watching; None outside of one."""
    if not activity.in_activity():
        return None
    info = activity.info()
    if info.start_to_close_timeout is None:
        return None
    end = info.started_time + info.start_to_close_timeout
    return (end - utc_now()).total_seconds() - _ROOM
