"""What a real Prometheus says of a change, from its own history of the time before."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from activities.collectors._backend import HttpBackend
from activities.health import watch_health
from activities.metric_health import MetricHealth
from cortexops.contracts.remediation import Step, VerifyInput
from cortexops.domain.action import Action
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import CortexError
from cortexops.domain.metric_checks import MetricCheck, Scope, filled
from cortexops.domain.metric_defaults import DEFAULTS
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.verification import Limits, Phase, Verification
from cortexops.ports.cluster import ObjectList
from cortexops.settings_verification import VerificationSettings
from tests.verification.prometheus import BINARY, MISSING, PROMTOOL, Server, prometheus

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BINARY, reason=MISSING or "there")]

ERRORS = (
    'sum(rate(http_requests_total{namespace="{{namespace}}",pod=~"{{pods}}",code="500"}[{{range}}]))'
    ' / sum(rate(http_requests_total{namespace="{{namespace}}",pod=~"{{pods}}"}[{{range}}]))'
)
LIMITS = Limits(window=5, stable_for=0.6, interval=0.1)
PACE: dict[str, Any] = {"interval_seconds": 0.3, "range_seconds": 1, "before_seconds": 1, "calm_seconds": 1.2}


def check(**changes: Any) -> MetricCheck:
    return MetricCheck(**{"name": "errors", "query": ERRORS, "floor": 0.02, "own": ("crash",), **changes})


def own_checks(*checks: MetricCheck) -> VerificationSettings:
    return VerificationSettings(defaults=False, checks=checks, **PACE)


class Unknown:
    async def diagnosis(self, incident_id: str) -> Diagnosis | None:
        return None


class Healthy:
    """A cluster in which every Deployment is as it should be."""

    async def get(self, kind: str, namespace: str, name: str) -> JSON:
        counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "observedGeneration": 1}
        return {
            "kind": kind,
            "metadata": {"name": name, "generation": 1},
            "spec": {"replicas": 1},
            "status": counts,
        }

    async def list(self, kind: str, namespace: str = "", **more: Any) -> ObjectList:
        return ObjectList([], "1")


class Change:
    """The verification of one change of one workload."""

    def __init__(self, server: Server, namespace: str) -> None:
        self._backends = {"c": HttpBackend("prometheus", server.url)}
        self.traffic = server.exporter.traffic(namespace)
        self._ref = ResourceRef(cluster="c", kind="Deployment", namespace=namespace, name="api")
        self.onset: datetime | None = None
        self.healthy = True
        """Whether there is an object besides, which is well; else none is watched."""

    async def lives(self, failing: float, seconds: float = 1.4) -> None:
        self.traffic.fail(failing)
        await asyncio.sleep(seconds)

    def burns(self) -> None:
        self.onset = datetime.now(UTC)

    def verified(
        self, settings: VerificationSettings, limits: Limits = LIMITS, **more: Any
    ) -> Awaitable[Verification]:
        """The change is made now."""
        return self._verified(settings, limits, datetime.now(UTC), **more)

    async def _verified(
        self, settings: VerificationSettings, limits: Limits, since: datetime, **more: Any
    ) -> Verification:
        action = Action(type=more.pop("type", "restart_workload"), target=self._ref)
        question = VerifyInput(
            step=Step(incident_id="INC-1", attempt=1),
            action=action,
            operation_id="op",
            limits=limits,
            subject=self._ref,
            onset=self.onset,
            **more,
        )
        health = MetricHealth(self._backends, Unknown(), settings)
        watch = await health.watch(question, since=since)
        cluster: Any = Healthy()  # so that only metrics decide
        watched = [self._ref] if self.healthy else []
        return await watch_health(cluster, watched, limits, since=since, also=watch.measure)


def fast(default: MetricCheck) -> MetricCheck:
    return default.model_copy(update={"initial_delay_seconds": 0.0})


async def test_errors_that_rise_after_the_change_fail_it(server: Server) -> None:
    change = Change(server, "rise")
    await change.lives(0.001)
    verifying = change.verified(own_checks(check()))
    change.traffic.fail(0.4)
    verdict = await verifying
    assert verdict.phase is Phase.FAILED, verdict
    assert "errors 0.4" in verdict.detail and "at the change" in verdict.detail


async def test_errors_that_fall_after_the_change_are_success(server: Server) -> None:
    change = Change(server, "fall")
    await change.lives(0.0)
    change.burns()
    await change.lives(0.4)
    verifying = change.verified(own_checks(check()), category="crash")
    change.traffic.fail(0.0)
    verdict = await verifying
    assert verdict.phase is Phase.SUCCESSFUL, verdict
    assert "before the trouble" in verdict.detail


async def test_the_trouble_itself_must_fall_and_no_worse_is_not_enough(server: Server) -> None:
    change = Change(server, "burning")
    await change.lives(0.0)
    change.burns()
    await change.lives(0.4)
    verifying = change.verified(own_checks(check(factor=2)), category="crash")
    change.traffic.fail(0.45)
    verdict = await verifying
    assert verdict.phase is Phase.FAILED, verdict
    assert "at the change" in verdict.detail


async def test_trouble_that_falls_a_little_is_no_success(server: Server) -> None:
    change = Change(server, "little")
    await change.lives(0.0)
    change.burns()
    await change.lives(0.4)
    verifying = change.verified(own_checks(check()), category="crash")
    change.traffic.fail(0.3)
    verdict = await verifying
    assert verdict.phase is Phase.INCONCLUSIVE, verdict
    assert "less, but not by enough" in verdict.detail


async def test_containing_the_damage_is_verified_though_the_cause_remains(server: Server) -> None:
    change = Change(server, "contained")
    await change.lives(0.0)
    change.burns()
    await change.lives(0.4)
    verdict = await change.verified(own_checks(check()), category="crash", type="quarantine")
    assert verdict.phase is Phase.SUCCESSFUL, verdict


@pytest.fixture(autouse=True)
def _an_action_that_only_contains(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cordon_node` acts on nodes only; its declaration stands in for that of an action on a workload."""
    from activities import metric_health
    from activities.actions import ACTIONS

    both = {"restart_workload": ACTIONS["restart_workload"], "quarantine": ACTIONS["cordon_node"]}
    monkeypatch.setattr(metric_health, "ACTIONS", both)


async def test_an_exporter_that_falls_silent_is_inconclusive_or_ignored_as_configured(server: Server) -> None:
    change = Change(server, "silent")
    await change.lives(0.0)
    change.traffic.silent = True
    await asyncio.sleep(0.4)
    limits = LIMITS.model_copy(update={"window": 2.5})
    strict, lenient = await asyncio.gather(
        change.verified(own_checks(check()), limits),
        change.verified(own_checks(check(on_no_data="ignore")), limits),
    )
    assert (strict.phase, strict.detail) == (Phase.INCONCLUSIVE, "metric:errors: errors no data")
    assert lenient.phase is Phase.SUCCESSFUL and lenient.detail.endswith("; no metrics of it were found")


async def test_a_value_from_before_the_change_counts_as_not_measured_yet(server: Server) -> None:
    change = Change(server, "stale")
    await change.lives(0.0)
    gauge = check(
        name="queue",
        query='max(queue_length{namespace="{{namespace}}"}) + 0 * max(last_over_time(up[{{range}}]))',
        compare="below",
        threshold=5,
    )
    change.traffic.silent = True
    limits = LIMITS.model_copy(update={"window": 2})
    verdict = await change.verified(own_checks(gauge), limits)
    assert verdict.phase is Phase.INCONCLUSIVE, verdict
    change.traffic.silent = False
    assert (await change.verified(own_checks(gauge), limits)).phase is Phase.SUCCESSFUL


async def test_the_defaults_are_silent_without_metrics_and_say_so(server: Server) -> None:
    change = Change(server, "nobody")
    change.traffic.silent = True
    verdict = await change.verified(VerificationSettings(**PACE))
    assert verdict.phase is Phase.SUCCESSFUL and verdict.detail.endswith("; no metrics of it were found")
    assert verdict.seconds < LIMITS.window  # nothing was waited for


async def test_metrics_that_are_left_out_are_no_measurement_where_nothing_else_was_measured(
    server: Server,
) -> None:
    change = Change(server, "neither")
    change.healthy = False
    change.traffic.silent = True
    verdict = await change.verified(VerificationSettings(**PACE))
    assert verdict.phase is Phase.ERROR, verdict


async def test_the_defaults_find_rising_errors_without_configuration(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.metric_health.DEFAULTS", tuple(map(fast, DEFAULTS)))
    change = Change(server, "defaults")
    await change.lives(0.0)
    verifying = change.verified(VerificationSettings(**PACE))
    change.traffic.fail(0.3)
    verdict = await verifying
    assert verdict.phase is Phase.FAILED, verdict
    assert verdict.detail.startswith("metric:http_errors: http_errors 0.")


async def test_a_prometheus_that_dies_meanwhile_is_an_error_and_no_success(tmp_path: Path) -> None:
    with prometheus(tmp_path) as own:
        change = Change(own, "dying")
        await change.lives(0.0)
        limits = Limits(window=6, stable_for=2.5, interval=0.1)
        required = asyncio.ensure_future(
            change.verified(own_checks(check(consecutive_error_limit=2)), limits)
        )
        optional = asyncio.ensure_future(change.verified(own_checks(check(required=False)), limits))
        await asyncio.sleep(1)
        own.kill()
        strict, lenient = await required, await optional
        assert strict.phase is Phase.ERROR, strict
        assert "prometheus cannot be reached" in strict.detail
        assert lenient.phase is Phase.SUCCESSFUL, lenient
        assert "metrics could not be asked" in lenient.detail
        assert own.url not in strict.detail + lenient.detail


async def test_a_required_check_without_a_prometheus_or_with_a_wrong_query_is_an_error(
    server: Server,
) -> None:
    change = Change(server, "wrong")
    await change.lives(0.0, 0.1)
    for settings, words in (
        (own_checks(check(query="sum(([{{range}}]")), "answers 400"),
        (own_checks(check(query="http_requests_total[{{range}}]")), "instant vector"),
    ):
        limits = LIMITS.model_copy(update={"window": 3})
        verdict = await change.verified(settings, limits)
        assert verdict.phase is Phase.ERROR, verdict
        assert words in verdict.detail
    unconfigured = MetricHealth({}, Unknown(), own_checks(check(consecutive_error_limit=0)))
    ref = ResourceRef(cluster="c", kind="Deployment", namespace="wrong", name="api")
    question = VerifyInput(
        step=Step(incident_id="INC-1", attempt=1),
        action=Action(type="restart_workload", target=ref),
        operation_id="op",
        limits=LIMITS,
        subject=ref,
    )
    (found,) = await (await unconfigured.watch(question, since=datetime.now(UTC))).measure()
    assert found.phase is Phase.ERROR and "none is configured for cluster c" in found.detail


async def test_the_real_server_takes_every_default_query(server: Server) -> None:
    backend = HttpBackend("prometheus", server.url)
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        ref = ResourceRef(cluster="c", kind=kind, namespace="shop", name="a.pi-x")
        for default in DEFAULTS:
            query = filled(default, Scope(ref, "api"), seconds=60)
            try:
                answer = await backend.get("/api/v1/query", {"query": query})
            except CortexError as error:
                pytest.fail(f"{default.name}: {error}: {query}")
            assert answer["status"] == "success"


@pytest.mark.skipif(not PROMTOOL, reason="needs promtool")
def test_promtool_accepts_every_default_query(tmp_path: Path) -> None:
    ref = ResourceRef(cluster="c", kind="Deployment", namespace="shop", name="api")
    rules = [
        {"record": f"r:{default.name}", "expr": filled(default, Scope(ref, "api"), seconds=60)}
        for default in DEFAULTS
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        [PROMTOOL, "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
