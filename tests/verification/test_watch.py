"""When checks are asked, over which time, and what a rollout's own trouble may do to a verdict."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.metric_health import MetricHealth, MetricWatch
from cortexops.contracts.remediation import Step, VerifyInput
from cortexops.domain.action import Action
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.metric_checks import MetricCheck
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.verification import Limits, Phase
from cortexops.settings_verification import VerificationSettings

AT = datetime(2026, 1, 1, tzinfo=UTC)
ONSET = AT - timedelta(minutes=10)
API = ResourceRef(cluster="c", kind="Deployment", namespace="shop", name="api")
ERRORS = MetricCheck(
    name="errors", query='errors{namespace="{{namespace}}"}[{{range}}]', floor=0.02, own=("crash",)
)
Asked = tuple[float, float]
"""Seconds after the change, and how many of them the query covers."""


class Clock:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now

    def at(self, seconds: float) -> None:
        self.now = AT + timedelta(seconds=seconds)


class Answers:
    """Answers each query by its time; keeps them."""

    def __init__(self, value: Callable[[float, float], float | None], scraped: float | None = None) -> None:
        self._value = value
        self._scraped = scraped
        self.asked: list[Asked] = []

    async def get(self, path: str, query: dict[str, str]) -> JSON:
        assert path == "/api/v1/query"
        if "timestamp(" in query["query"]:
            return vector(self._scraped)
        (milliseconds,) = set(re.findall(r"\[(\d+)ms\]", query["query"]))
        when, covered = float(query["time"]) - AT.timestamp(), int(milliseconds) / 1000
        self.asked.append((round(when, 3), covered))
        value = self._value(when, covered)
        return vector(value)


def vector(value: float | None) -> JSON:
    result = [] if value is None else [{"metric": {}, "value": [1, str(value)]}]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


class Known:
    """The diagnosis of a crash."""

    async def diagnosis(self, incident_id: str) -> Diagnosis | None:
        crash = Hypothesis(
            resource=API, category=Category.CRASH, summary="it crashes", support=Support(direct=1)
        )
        return Diagnosis(target=API, verdict=Verdict.ROOT_CAUSE, hypotheses=(crash,), onset=ONSET)


async def watch(
    answers: Answers,
    clock: Clock,
    *checks: MetricCheck,
    target: ResourceRef = API,
    since: datetime = AT,
    made: datetime | None = None,
    most_seconds: float | None = None,
    **more: Any,
) -> MetricWatch:
    settings = VerificationSettings(defaults=not checks, checks=checks)
    question = VerifyInput(
        step=Step(incident_id="INC-1", attempt=1),
        action=Action(type=more.get("type", "restart_workload"), target=target),
        operation_id="op",
        limits=Limits(),
        subject=more.get("subject", target),
    )
    health = MetricHealth({"c": answers}, Known(), settings, clock)
    return await health.watch(question, since=since, made=made, most_seconds=most_seconds)


async def phases(watching: MetricWatch, clock: Clock, *rounds: tuple[float, bool]) -> list[Phase]:
    found = []
    for seconds, well in rounds:
        clock.at(seconds)
        (measurement,) = await watching.measure(well)
        found.append(measurement.phase)
    return found


def burning(now: Callable[[float, float], float | None], scraped: float | None = None) -> Answers:
    """40 of 100 requests failed at the change, 1 of 1000 before the trouble."""

    def value(when: float, covered: float) -> float | None:
        return now(when, covered) if when > 0 else 0.4 if when > -300 else 0.001

    return Answers(value, scraped)


async def test_baselines_are_asked_once_from_before_the_change_and_before_the_trouble() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.0)
    watching = await watch(answers, clock, ERRORS)
    rounds = [(second, True) for second in range(2, 32, 2)]
    assert set(await phases(watching, clock, *rounds)) == {Phase.SUCCESSFUL}
    assert answers.asked[:2] == [(0.0, 300.0), (-900.0, 3600.0)]  # a twelfth of the hour is left out
    assert answers.asked[2:] == [(2.0, 2.0), (12.0, 12.0), (22.0, 22.0)]


async def test_a_value_covers_no_more_than_the_newest_range() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.0)
    await phases(await watch(answers, clock, ERRORS), clock, (5, True), (80, True))
    assert answers.asked[-1] == (80.0, 60.0)


async def test_what_a_rollout_fails_itself_is_not_judged() -> None:
    clock = Clock()
    answers = burning(lambda when, covered: 0.9 if when - covered < 30 else 0.0)
    watching = await watch(answers, clock, ERRORS)
    rollout = [(second, False) for second in (1, 11, 21)]
    assert set(await phases(watching, clock, *rollout)) == {Phase.RUNNING}
    after = await phases(watching, clock, (30, True), (41, True), (51, True))
    assert after[1:] == [Phase.SUCCESSFUL, Phase.SUCCESSFUL]
    assert answers.asked[-1] == (51.0, 21.0)


async def test_what_can_only_be_measured_with_the_rollout_in_it_fails_nothing() -> None:
    clock = Clock()
    answers = burning(lambda when, covered: 0.9 if when - covered < 1 else None)
    watching = await watch(answers, clock, ERRORS)
    found = await phases(watching, clock, (1, False), (11, True), (21, True), (31, True), (41, True))
    assert found[0] is Phase.RUNNING
    assert Phase.FAILED not in found
    assert found[-1] is Phase.INCONCLUSIVE


async def test_trouble_that_goes_on_fails_after_the_tolerated_answers() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.4)
    found = await phases(await watch(answers, clock, ERRORS), clock, (1, True), (11, True), (21, True))
    assert found == [Phase.RUNNING, Phase.RUNNING, Phase.FAILED]


async def test_a_contained_node_is_asked_nothing_by_default() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 1.0)
    node = ResourceRef(cluster="c", kind="Node", name="node-1")
    watching = await watch(answers, clock, target=node, subject=API, type="cordon_node")
    assert await watching.measure() == []
    assert not answers.asked


async def test_containing_asks_of_the_trouble_only_that_it_does_not_grow() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.4)
    node = ResourceRef(cluster="c", kind="Node", name="node-1")
    contained = await watch(answers, clock, ERRORS, target=node, type="cordon_node")
    assert await phases(contained, clock, (1, True)) == [Phase.SUCCESSFUL]
    assert await phases(await watch(answers, clock, ERRORS), clock, (1, True)) == [Phase.RUNNING]


async def test_a_name_that_is_none_is_not_asked_for_and_no_success() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.0)
    strange = API.model_copy(update={"name": 'api"} or x{y="'})
    asked = ERRORS.model_copy(update={"consecutive_error_limit": 0})
    assert await phases(await watch(answers, clock, asked, target=strange), clock, (1, True)) == [Phase.ERROR]
    assert not answers.asked


async def test_scrapes_up_to_fifteen_seconds_apart_change_nothing() -> None:
    for scraped in (None, 5.0, 15.4):
        clock, answers = Clock(), burning(lambda when, covered: 0.0, scraped)
        watching = await watch(answers, clock, ERRORS)
        assert watching.limits == Limits()
        await phases(watching, clock, (2, True), (12, True), (80, True))
        assert answers.asked[2:] == [(2.0, 2.0), (12.0, 12.0), (80.0, max(60.0, 4 * 15.0 if scraped else 0))]


async def test_scrapes_further_apart_lengthen_the_window_and_what_a_value_covers() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.0 if covered >= 60 else None, 30.0)
    watching = await watch(answers, clock, ERRORS)
    assert watching.limits == Limits(window=4 * 30 + 30)
    rounds = [(second, True) for second in (2, 32, 62, 92, 122)]
    found = await phases(watching, clock, *rounds)
    assert found == [Phase.RUNNING] * 2 + [Phase.SUCCESSFUL] * 3, "not left out and not hurried"
    assert answers.asked[-1] == (122.0, 120.0)
    (measurement,) = await watching.measure(True)
    assert "scraped every 30 s, so a value covers up to 120 s" in measurement.detail


async def test_trouble_that_is_scraped_once_a_minute_fails_the_change() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.4 if covered >= 120 else None, 60.0)
    watching = await watch(answers, clock, ERRORS)
    found = await phases(watching, clock, *[(second, True) for second in range(2, 260, 30)])
    assert Phase.FAILED in found and watching.limits.window == 270


async def test_default_checks_that_are_scraped_once_a_minute_are_judged() -> None:
    def errors_only(when: float, covered: float) -> float | None:
        return None if when > 0 and covered < 120 else 0.4 if when > -300 else 0.001

    clock, answers = Clock(), Answers(errors_only, 60.0)
    watching = await watch(answers, clock)
    measured = []
    for second in range(2, 260, 30):
        clock.at(second)
        measured += await watching.measure(True)
    assert any(m.check == "metric:http_errors" and m.phase is Phase.FAILED for m in measured)


async def test_baselines_cover_four_scrapes_too() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.0, 100.0)
    await phases(await watch(answers, clock, ERRORS), clock, (2, True))
    assert answers.asked[0] == (0.0, 400.0)


async def test_nobody_waits_for_scrapes_that_are_too_far_apart() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.0, 300.0)
    watching = await watch(answers, clock, ERRORS)
    assert watching.limits == Limits()


async def test_the_window_grows_no_longer_than_the_activity_may_take() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.0, 60.0)
    assert (await watch(answers, clock, ERRORS, most_seconds=120)).limits.window == 120
    assert (await watch(answers, clock, ERRORS, most_seconds=-5)).limits.window == 90


async def test_after_an_undo_the_trouble_itself_must_be_gone() -> None:
    """Half of what it was is help for a change, and no health after an undo."""
    for now, phase in ((0.4, Phase.FAILED), (0.19, Phase.FAILED), (0.001, Phase.SUCCESSFUL)):
        clock = Clock()
        answers = burning(lambda when, covered, now=now: now)  # type: ignore[misc]
        undone = AT + timedelta(seconds=100)
        watching = await watch(answers, clock, ERRORS, since=undone, made=AT)
        found = await phases(watching, clock, (110, True), (121, True), (132, True), (143, True))
        assert found[-1] is phase, (now, found)
        assert answers.asked[:2] == [(0.0, 300.0), (-900.0, 3600.0)], "from before the change, not the undo"
        assert all(when - covered >= 100 for when, covered in answers.asked[2:])


async def test_after_an_undo_without_a_calm_time_the_trouble_must_have_fallen() -> None:
    for now, phase in ((0.4, Phase.FAILED), (0.1, Phase.SUCCESSFUL)):
        clock = Clock()
        answers = Answers(
            lambda when, covered, now=now: now if when > 0 else 0.4 if when > -300 else None  # type: ignore[misc]
        )
        undone = AT + timedelta(seconds=100)
        watching = await watch(answers, clock, ERRORS, since=undone, made=AT)
        found = await phases(watching, clock, (110, True), (121, True), (132, True), (143, True))
        assert found[-1] is phase


async def test_after_an_undo_what_only_contained_is_asked_for_health_as_well() -> None:
    clock, answers = Clock(), burning(lambda when, covered: 0.4)
    contained = await watch(answers, clock, ERRORS, type="pause_rollout")
    assert await phases(contained, clock, (1, True)) == [Phase.SUCCESSFUL]
    undone = AT + timedelta(seconds=100)
    watching = await watch(answers, clock, ERRORS, type="pause_rollout", since=undone, made=AT)
    assert (await phases(watching, clock, (110, True), (121, True), (132, True)))[-1] is Phase.FAILED
