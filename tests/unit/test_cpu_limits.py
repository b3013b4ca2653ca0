"""More CPU for what is throttled: at most twofold, within what the namespace and the nodes allow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.actions import ACTIONS
from cortexops.domain.action import Action, Candidate, Infeasible
from cortexops.domain.diagnosis import Category
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Measure
from tests.evals.run import investigate, load
from tests.investigation.objects import NOW, container, deployment, node, ref, scene, template
from tests.unit.test_actions import bound, offers, quota

API = ref("Deployment", "api")


def throttled(limit: str | None = "500m", request: str | None = "250m") -> JSON:
    resources: JSON = {"limits": {"cpu": limit} if limit else {}, "requests": {"memory": "64Mi"}}
    if request is not None:
        resources["requests"]["cpu"] = request
    return deployment(pod_template=template("api", container(resources=resources)))


def more(live: JSON, *others: JSON, used: float = 0) -> Candidate:
    made = scene(API, live, *others)
    measured = (Measure(about=API, container="api", what="cpu_cores", value=used),) if used else ()
    return offers(
        "adjust_resources", made.model_copy(update={"measured": measured}), Category.CPU_THROTTLING, API
    )


def limit_range(most: str, type_: str = "Container") -> JSON:
    return bound("LimitRange", "bounds", {"limits": [{"type": type_, "max": {"cpu": most}}]})


@pytest.mark.parametrize(
    ("others", "limit"),
    [
        ((), "1"),
        ((limit_range("800m"),), "800m"),
        ((limit_range("1Gi"),), "1"),
        ((node() | {"status": {"allocatable": {"cpu": "1500m"}}},), "750m"),
        # 2 pods of 500m and 1 more while they are rolled leave 450m for three
        ((quota("1950m", "1", "limits.cpu"),), "650m"),
    ],
)
def test_the_cpu_limit_is_raised_at_most_twofold_and_within_limit_range_quota_and_node(
    others: tuple[JSON, ...], limit: str
) -> None:
    found = more(throttled(), *others)
    assert found.feasible, found.why
    assert found.action.params == {"container": "api", "cpu_limit": limit, "cpu_request": "250m"}
    assert f"--limits=cpu={limit} --requests=cpu=250m" in found.commands[0]
    ACTIONS["adjust_resources"].prepare(
        throttled(), found.action, {ref(o["kind"], o["metadata"]["name"]).key: o for o in others}, NOW
    )


@pytest.mark.parametrize("other", [limit_range("500m"), quota("1500m", "1", "limits.cpu")])
def test_at_its_bound_no_more_cpu_is_offered_and_the_bound_is_named(other: JSON) -> None:
    found = more(throttled(), other)
    assert (found.feasible, found.infeasible) == (False, Infeasible.BOUND_REACHED)
    assert other["metadata"]["name"] in found.why


def test_without_a_cpu_limit_there_is_nothing_to_raise() -> None:
    assert more(throttled(None)).infeasible is Infeasible.NO_LIMIT_SET


@pytest.mark.parametrize(
    ("request_", "used", "asked"),
    [("250m", 0.1, "250m"), ("250m", 0.4904, "490m"), (None, 0.49, "500m"), ("250m", 7.0, "1")],
)
def test_the_request_follows_what_is_used_and_is_never_lowered(
    request_: str | None, used: float, asked: str
) -> None:
    assert more(throttled("500m", request_), used=used).action.params["cpu_request"] == asked


def test_the_cpu_request_stays_within_its_own_quota() -> None:
    found = more(throttled(), quota("900m", "500m", "requests.cpu"), used=0.49)
    # 2 pods of 250m and 1 more while they are rolled leave 150m for three
    assert found.action.params["cpu_request"] == "300m"


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_prepare_lets_no_cpu_through_that_is_out_of_bounds(limit: int, request: int) -> None:
    params = {"container": "api", "cpu_limit": f"{limit}m", "cpu_request": f"{request}m"}
    action = Action(type="adjust_resources", target=API, params=params)
    if 500 < limit <= 1000 and request <= limit:
        made = ACTIONS["adjust_resources"].prepare(throttled(), action, {}, NOW).change
        assert [(e.path.rpartition("/resources/")[2], e.before, e.after) for e in made.edits] == [
            ("limits/cpu", "500m", f"{limit}m"),
            ("requests/cpu", "250m", f"{request}m"),
        ]
    else:
        with pytest.raises(Rejected):
            ACTIONS["adjust_resources"].prepare(throttled(), action, {}, NOW)


@given(st.integers(1, 64_000), st.none() | st.integers(1, 64_000), st.none() | st.integers(1, 128_000))
def test_what_is_offered_of_cpu_is_what_prepare_accepts(
    limit: int, request: int | None, most: int | None
) -> None:
    asked = None if request is None else f"{min(request, limit)}m"
    live = throttled(f"{limit}m", asked)
    others = [limit_range(f"{most}m")] if most else []
    found = more(live, *others, used=limit / 1100)
    if found.feasible:
        assert parse_quantity(found.action.params["cpu_limit"]) <= 2 * parse_quantity(f"{limit}m")
        ACTIONS["adjust_resources"].prepare(live, found.action, {}, NOW)


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"cpu_limit": "1"}, InvalidInput),
        ({"cpu_request": "300m"}, InvalidInput),
        ({}, InvalidInput),
        ({"cpu_limit": "1", "cpu_request": "300m", "memory_limit": "1Gi", "memory_request": "1Gi"}, Rejected),
    ],
)
def test_half_of_a_change_is_refused(params: dict[str, Any], error: type[Exception]) -> None:
    action = Action(type="adjust_resources", target=API, params={"container": "api", **params})
    with pytest.raises(error):
        ACTIONS["adjust_resources"].prepare(throttled(), action, {}, NOW)


async def test_the_remedy_of_a_throttled_container_is_on_the_report_of_its_incident() -> None:
    report = await investigate(load("cpu-throttling"))
    (incident,) = report["incidents"]
    assert incident["root_cause"]["category"] == Category.CPU_THROTTLING
    (found,) = [one for one in incident["recommended_actions"] if one["type"] == "adjust_resources"]
    assert found["feasible"] and found["params"]["cpu_limit"] == "400m"
