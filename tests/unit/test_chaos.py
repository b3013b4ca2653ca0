"""Chaos experiments: whether they run, whom they are aimed at, and when they are blamed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cortexops.domain.kubernetes import chaos
from cortexops.domain.kubernetes.chaos import Effect
from cortexops.domain.kubernetes.spans import span
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Scene
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Edge, Relation, topology
from tests.investigation.objects import (
    NOW,
    ago,
    container,
    crash_loop,
    deployment,
    diagnose,
    pod,
    ref,
    replica_set,
    running,
    scene,
    service,
    template,
    terminated,
    told,
)

API, DB = ref("Deployment", "api"), ref("Deployment", "db")
TIMED_OUT = "ERROR GET http://db/orders: context deadline exceeded"


def experiment(
    kind: str = "NetworkChaos", *, spec: JSON | None = None, began: str = "", **more: JSON
) -> JSON:
    since = began or ago(minutes=15)
    status: JSON = {
        "conditions": [
            {"type": "AllInjected", "status": "True"},
            {"type": "AllRecovered", "status": "False"},
        ],
        "experiment": {"desiredPhase": "Run"},
    }
    return {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": "drill",
            "namespace": "shop",
            "creationTimestamp": since,
            **more.pop("metadata", {}),
        },
        "spec": spec or {"action": "delay", "mode": "all", "selector": {"labelSelectors": {"app": "db"}}},
        "status": status | more.pop("status", {}),
    }


def between(one: str, other: str) -> JSON:
    """A delay of what passes between two workloads."""
    ends = [{"labelSelectors": {"app": name}} for name in (one, other)]
    return {"action": "delay", "selector": ends[0], "target": {"selector": ends[1]}}


def acting(made: Scene, *edges: tuple[str, Relation, str]) -> Scene:
    """The scene with the edges that the collector would have added; ends are `Kind name`."""
    added = [
        Edge(source=ref(*a.split()), relation=relation, target=ref(*b.split())) for a, relation, b in edges
    ]
    return made.model_copy(update={"topology": topology([*made.topology.edges, *added])})


def slow_caller(
    drill: JSON, *edges: tuple[str, Relation, str], lines: tuple[str, ...] = (TIMED_OUT,)
) -> Scene:
    """api and db look well; api complains of db."""
    calls = container(env=[{"name": "DB_URL", "value": "http://db"}])
    live = deployment(pod_template=template("api", calls))
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    other = deployment("db", template("db", container("db")))
    healthy = pod(rs, running())
    made = scene(
        API, live, rs, healthy, other, service("api"), service("db"), drill,
        logs=((healthy, "api", False, list(lines)),), kind=SignalType.LATENCY,
    )  # fmt: skip
    return acting(made, *(edges or ((f"{drill['kind']} drill", Relation.ACTS_ON, "Deployment db"),)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("0.5s", 0.5),
        ("250ms", 0.25),
        ("", None),
        ("soon", None),
        ("5m!", None),
    ],
)
def test_lengths_of_time_are_read_as_go_writes_them(text: str, seconds: float | None) -> None:
    found = span(text)
    assert (found.total_seconds() if found is not None else None) == seconds


def test_a_running_experiment_on_whom_the_complaints_name_is_the_cause() -> None:
    found = diagnose(slow_caller(experiment()))
    assert told(found) == ("root_cause", "chaos_experiment", "NetworkChaos drill")
    assert found.cause is not None and len(found.cause.evidence) == 2


def test_one_that_began_after_the_trouble_is_not_blamed() -> None:
    assert diagnose(slow_caller(experiment(began=ago(seconds=5)))).cause is None


@pytest.mark.parametrize(
    "more",
    [
        {"status": {"experiment": {"desiredPhase": "Stop"}}},
        {"status": {"conditions": [{"type": "AllRecovered", "status": "True"}]}},
        {"metadata": {"annotations": {chaos.PAUSE: "true"}}},
        {"status": {"conditions": [{"type": "AllInjected", "status": "False"}]}},
    ],
)
def test_what_is_over_paused_or_never_took_hold_is_not_blamed(more: JSON) -> None:
    drill = experiment(**more)
    assert not chaos.is_running("NetworkChaos", drill, NOW)
    assert diagnose(slow_caller(drill)).cause is None


def test_a_duration_that_has_passed_ends_what_has_no_phase() -> None:
    drill = experiment(spec={"action": "loss", "duration": "5m"}, status={"experiment": {}})
    assert not chaos.is_running("NetworkChaos", drill, NOW)
    assert chaos.is_running("NetworkChaos", drill, NOW - timedelta(minutes=11))


def test_one_between_two_others_is_not_blamed() -> None:
    spec = between("db", "web")
    assert diagnose(slow_caller(experiment(spec=spec))).cause is None


def test_one_between_the_two_is_blamed_whichever_end_it_was_put_on() -> None:
    spec = between("api", "db")
    for here, there in (("api", "db"), ("db", "api")):
        edges = (
            ("NetworkChaos drill", Relation.ACTS_ON, f"Deployment {here}"),
            ("NetworkChaos drill", Relation.OTHER_END, f"Deployment {there}"),
        )
        assert told(diagnose(slow_caller(experiment(spec=spec), *edges)))[2] == "NetworkChaos drill"


def test_a_delay_does_not_explain_that_connections_are_refused() -> None:
    refused = "ERROR GET http://db/orders: connection refused"
    assert diagnose(slow_caller(experiment(), lines=(refused,))).cause is None


def test_lost_packets_do_not_explain_a_crash_of_its_own() -> None:
    live = deployment(pod_template=template("api"), ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, crash_loop(terminated(2)), unready_since=ago(minutes=10))
    drill = experiment(spec={"action": "loss", "selector": {"labelSelectors": {"app": "api"}}})
    panic = ["panic: index out of range"]
    made = scene(API, live, rs, bad, service("api"), drill, logs=((bad, "api", True, panic),))
    found = diagnose(acting(made, ("NetworkChaos drill", Relation.ACTS_ON, "Deployment api")))
    assert told(found)[1] == "crash"


def test_memory_stress_explains_kills_and_nothing_else_does() -> None:
    live = deployment(pod_template=template("api"), ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, crash_loop(terminated(137, "OOMKilled")), unready_since=ago(minutes=10))
    for word, wanted in (("memory", "chaos_experiment"), ("cpu", "oom_limit_too_low")):
        drill = experiment(
            "StressChaos", spec={"stressors": {word: {}}, "selector": {"labelSelectors": {"app": "api"}}}
        )
        made = scene(API, live, rs, bad, service("api"), drill, kind=SignalType.OOM_KILL)
        found = diagnose(acting(made, ("StressChaos drill", Relation.ACTS_ON, "Deployment api")))
        assert told(found)[1] == wanted


def test_the_status_tells_better_than_the_selector_who_was_selected() -> None:
    records = [
        {"id": "shop/db-5d8f-x1/db", "phase": "Injected"},
        {"id": "shop/api-5d8f-x1/api", "phase": "Not Injected"},
    ]
    drill = experiment(status={"experiment": {"desiredPhase": "Run", "containerRecords": records}})
    assert chaos.selects("NetworkChaos", drill, DB, {"app": "other"})
    assert not chaos.selects("NetworkChaos", drill, API, {"app": "db"})
    assert not chaos.selects("NetworkChaos", drill, ref("Deployment", "db", "elsewhere"), {"app": "db"})


@pytest.mark.parametrize(
    ("selector", "picked"),
    [
        ({"labelSelectors": {"app": "db"}}, True),
        ({"labelSelectors": {"app": "api"}}, False),
        ({"namespaces": ["elsewhere"], "labelSelectors": {"app": "db"}}, False),
        ({"namespaces": ["shop"]}, True),
        ({"pods": {"shop": ["db-5d8f-x1"]}}, True),
        ({"pods": {"shop": ["web-5d8f-x1"]}}, False),
        ({"expressionSelectors": [{"key": "app", "operator": "In", "values": ["db"]}]}, True),
        ({"labelSelectors": {"app": "db"}, "nodes": ["node-1"]}, False),
        ({}, False),
    ],
)
def test_selectors_pick_as_chaos_mesh_does_and_nobody_when_unsure(selector: JSON, picked: bool) -> None:
    assert chaos.picks(selector, "shop", DB, {"app": "db"}) is picked


def test_an_engine_of_litmus_runs_until_it_is_stopped_or_done() -> None:
    engine: JSON = {
        "metadata": {"name": "e", "namespace": "litmus"},
        "spec": {
            "engineState": "active", "appinfo": {"appns": "shop", "applabel": "app=db", "appkind": "deployment"},
            "experiments": [{"name": "pod-network-loss"}],
        },
        "status": {"engineStatus": "initialized", "experiments": [{"name": "pod-network-loss", "status": "Running"}]},
    }  # fmt: skip
    assert chaos.is_running("ChaosEngine", engine, NOW)
    assert chaos.effects("ChaosEngine", engine) == {Effect.NETWORK}
    assert chaos.selects("ChaosEngine", engine, DB, {"app": "db"})
    assert not chaos.selects("ChaosEngine", engine, ref("StatefulSet", "db"), {"app": "db"})
    named = {"spec": {"components": {"env": [{"name": "TARGET_PODS", "value": "web-5d8f-x1"}]}}}
    narrow = engine | {"spec": engine["spec"] | {"experiments": [{"name": "pod-delete"} | named]}}
    assert not chaos.selects("ChaosEngine", narrow, DB, {"app": "db"})
    assert not chaos.is_running("ChaosEngine", engine | {"status": {"engineStatus": "completed"}}, NOW)
    stopped = engine | {"spec": engine["spec"] | {"engineState": "stop"}}
    assert not chaos.is_running("ChaosEngine", stopped, NOW)


def test_a_schedule_is_read_for_what_it_starts() -> None:
    schedule: JSON = {
        "metadata": {"name": "s", "namespace": "shop"},
        "spec": {"type": "PodChaos", "podChaos": {"action": "pod-kill", "selector": {"labelSelectors": {"app": "db"}}}},
        "status": {"time": ago(minutes=3)},
    }  # fmt: skip
    assert chaos.effects("Schedule", schedule) == {Effect.KILL}
    assert chaos.action("Schedule", schedule) == "pod-kill"
    assert chaos.selects("Schedule", schedule, DB, {"app": "db"})
    assert chaos.is_running("Schedule", schedule, NOW)


@pytest.mark.parametrize("kind", chaos.KINDS)
@pytest.mark.parametrize(
    "broken", [{}, {"spec": None}, {"spec": [], "status": "x"}, {"spec": {"selector": 3, "experiments": 1}}]
)
def test_what_makes_no_sense_harms_nobody(kind: str, broken: JSON) -> None:
    assert not chaos.is_running(kind, broken, NOW)
    assert not chaos.selects(kind, broken, DB, {"app": "db"})
    assert isinstance(chaos.action(kind, broken), str) and chaos.effects(kind, broken) is not None
