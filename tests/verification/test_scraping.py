"""How often something is scraped is read from Prometheus' own samples, whatever the configuration says."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from activities.collectors._backend import HttpBackend
from activities.health import watch_health
from cortexops.domain.metric_checks import MetricCheck, Scope
from cortexops.domain.metric_defaults import DEFAULTS
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scraping import covered, interval_query, lengthened, usable
from cortexops.domain.verification import Limits, Measurement, Phase
from cortexops.ports.cluster import ObjectList
from tests.verification.prometheus import BINARY, MISSING, PROMTOOL, prometheus

API = Scope(ResourceRef(cluster="c", kind="Deployment", namespace="shop", name="api"), "api")
NOW = float(int(time.time()))
ONSET = 1800.0  # seconds before now


def check(query: str) -> MetricCheck:
    return MetricCheck(name="own", query=query)


def test_every_default_check_names_what_it_reads() -> None:
    for default in DEFAULTS:
        query = interval_query(default, API)
        assert query is not None and query.count("changes(") == query.count("min_over_time(") > 0


def test_series_are_found_in_any_query_and_each_once() -> None:
    query = interval_query(
        check('sum(rate(a{x="}[1m]{",y=~\'b\\\'}\'}[{{range}}])) / sum(rate(a{x="}[1m]{",y=~\'b\\\'}\'} [{{range}}])'
              ' + max_over_time(b [{{range}}]))'),
        API,
    )  # fmt: skip
    assert query is not None and query.count("changes(") == 2
    assert "timestamp(a{x=\"}[1m]{\",y=~'b\\'}'})" in query and "timestamp(b)" in query


def test_a_calm_time_is_asked_for_beside_the_present() -> None:
    query = interval_query(check("rate(a[{{range}}])"), API, calm_ago=900.4)
    assert query is not None and query.count("offset 900s") == 3 and query.count("changes(") == 2


def test_four_scrapes_are_covered_and_waited_for() -> None:
    assert (covered(60, None), covered(60, 10), covered(60, 30)) == (60, 60, 120)
    assert lengthened(Limits(), []) == Limits()
    assert lengthened(Limits(), [15.0]).window == 90
    assert lengthened(Limits(), [5.0, 60.0]).window == 270


def test_what_is_no_interval_is_none() -> None:
    assert [usable(value) for value in (None, 0.0, -3.0, 121.0)] == [None] * 4
    assert (usable(5.0), usable(15.4), usable(120.0)) == (None, 15.0, 120.0)


class Sick:
    """A cluster in which a Deployment is well until told otherwise."""

    ready = 0

    async def get(self, kind: str, namespace: str, name: str) -> JSON:
        return {
            "kind": kind,
            "metadata": {"name": name, "generation": 1},
            "spec": {"replicas": 1},
            "status": {
                "replicas": 1, "updatedReplicas": 1, "readyReplicas": self.ready, "observedGeneration": 1,
            },
        }  # fmt: skip

    async def list(self, kind: str, namespace: str = "", **more: Any) -> ObjectList:
        return ObjectList([], "1")


async def unmeasured(well: bool) -> list[Measurement]:
    from activities.health import utc_now

    return [Measurement(check="metric:x", phase=Phase.RUNNING, detail="not scraped yet", at=utc_now())]


@pytest.mark.parametrize(("ready", "seconds"), [(0, 0.4), (1, 1.2)])
async def test_the_longer_window_is_for_objects_that_are_well(ready: int, seconds: float) -> None:
    from activities.health import utc_now

    cluster: Any = Sick()
    cluster.ready = ready
    limits = Limits(window=0.4, stable_for=0.1, interval=0.05)
    found = await watch_health(
        cluster, [API.ref], limits, since=utc_now(), also=unmeasured,
        longer=limits.model_copy(update={"window": 1.2}),
    )  # fmt: skip
    assert found.phase is Phase.FAILED
    assert seconds <= found.seconds < seconds + 0.5


def backfilled(folder: Path, series: dict[str, Callable[[float], bool]], every: dict[str, float]) -> None:
    """Blocks of an hour's samples that end now; a sample is there where the series says so."""
    lines = ["# TYPE http_requests counter"]
    for namespace, there in series.items():
        at, value = NOW - 3600, 0
        while at < NOW:
            at, value = at + every[namespace], value + 10
            if there(NOW - at):
                labels = f'namespace="{namespace}",pod="api-5d9c7b6f4-x2v4z",code="200"'
                lines.append(f"http_requests_total{{{labels}}} {value} {at:.3f}")
    file = folder / "samples.txt"
    file.write_text("\n".join([*lines, "# EOF"]) + "\n", encoding="utf-8")
    subprocess.run(
        [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", str(file), str(folder / "data")],
        check=True, capture_output=True,
    )  # fmt: skip


@pytest.mark.skipif(not BINARY or not PROMTOOL, reason=MISSING or "needs promtool")
async def test_a_real_prometheus_tells_how_often_it_scraped(tmp_path: Path) -> None:
    every = {"often": 15.0, "seldom": 30.0, "slow": 60.0, "young": 15.0, "down": 15.0, "few": 15.0}

    def always(ago: float) -> bool:
        return True

    backfilled(
        tmp_path,
        {
            "often": always,
            "seldom": always,
            "slow": always,
            "young": lambda ago: ago < 200,  # a release of three minutes ago
            "down": lambda ago: ago > ONSET or ago % 300 < 40,  # crashes, and was well before
            "few": lambda ago: ago < 20,
        },
        every,
    )
    http_errors = next(default for default in DEFAULTS if default.name == "http_errors")

    async def interval(namespace: str) -> float | None:
        scope = API._replace(ref=API.ref.model_copy(update={"namespace": namespace}))
        query = interval_query(http_errors, scope, calm_ago=ONSET + 300)
        assert query is not None
        answer = await HttpBackend("prometheus", server.url).get(
            "/api/v1/query", {"query": query, "time": f"{NOW:.3f}"}
        )
        assert answer["status"] == "success"
        values = [float(item["value"][1]) for item in answer["data"]["result"]]
        return min(values, default=None)

    with prometheus(tmp_path) as server:
        found = {namespace: await interval(namespace) for namespace in every}
    assert found["often"] == pytest.approx(15, rel=0.1)
    assert found["seldom"] == pytest.approx(30, rel=0.1)
    assert found["slow"] == pytest.approx(60, rel=0.15)
    assert found["young"] == pytest.approx(15, rel=0.2)
    assert found["down"] == pytest.approx(15, rel=0.1)
    assert found["few"] is None
