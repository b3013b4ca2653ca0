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

    def __init__(self, value: Callable[[float, float], float | None]) -> None:
        self._value = value
        self.asked: list[Asked] = []

    async def get(self, path: str, query: dict[str, str]) -> JSON:
        assert path == "/api/v1/query"
        (milliseconds,) = re.findall(r"\[(\d+)ms\]", query["query"])
        when, covered = float(query["time"]) - AT.timestamp(), int(milliseconds) / 1000
        self.asked.append((round(when, 3), covered))
        value = self._value(when, covered)
        result = [] if value is None else [{"metric": {}, "value": [float(query["time"]), str(value)]}]
        return {"status": "success", "data": {"resultType": "vector", "result": result}}


class Known:
    """The diagnosis of a crash."""

    async def diagnosis(self, incident_id: str) -> Diagnosis | None:
        crash = Hypothesis(
            resource=API, category=Category.CRASH, summary="it crashes", support=Support(direct=1)
        )
        return Diagnosis(target=API, verdict=Verdict.ROOT_CAUSE, hypotheses=(crash,), onset=ONSET)


async def watch(
    answers: Answers, clock: Clock, *checks: MetricCheck, target: ResourceRef = API, **more: Any
) -> MetricWatch:
    settings = VerificationSettings(defaults=not checks, checks=checks)
    question = VerifyInput(
        step=Step(incident_id="INC-1", attempt=1),
        action=Action(type=more.get("type", "restart_workload"), target=target),
        operation_id="op",
        limits=Limits(),
        subject=more.get("subject", target),
    )
    return await MetricHealth({"c": answers}, Known(), settings, clock).watch(question, since=AT)


async def phases(watching: MetricWatch, clock: Clock, *rounds: tuple[float, bool]) -> list[Phase]:
    found = []
    for seconds, well in rounds:
        clock.at(seconds)
        (measurement,) = await watching.measure(well)
        found.append(measurement.phase)
    return found


def burning(now: Callable[[float, float], float | None]) -> Answers:
    """40 of 100 requests failed at the change, 1 of 1000 before the trouble."""
    return Answers(lambda when, covered: now(when, covered) if when > 0 else 0.4 if when > -300 else 0.001)


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
