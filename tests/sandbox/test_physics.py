"""Programs under the physics: pure, no cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.cluster.kubelet.models import (
    ConfigNeed,
    Crash,
    Dependency,
    MemoryModel,
    Served,
    Spike,
    WorkloadModel,
    model_for,
)
from sandbox.cluster.kubelet.physics import Effect, Exit, Line, Program, Surroundings, answers, step

MIB = 1024 * 1024


def live(model: WorkloadModel, around: Surroundings, seconds: float) -> tuple[Program, list[Effect]]:
    return step(model, Program(), around, seconds)


def test_a_base_below_the_limit_runs_for_ever() -> None:
    model = WorkloadModel(name="m", memory=MemoryModel(base=390 * MIB))
    program, effects = live(model, Surroundings(memory_limit=512 * MIB), 3600)
    assert program.up
    assert not [effect for effect in effects if isinstance(effect, Exit)]


def test_a_spike_over_the_limit_is_killed_with_137_and_a_higher_limit_cures_it() -> None:
    model = WorkloadModel(
        name="m",
        memory=MemoryModel(
            base_by_tag={"2": 490 * MIB}, spike=Spike(amount="60Mi", every=30, lasts=5, after=40)
        ),
    )
    program, effects = live(model, Surroundings(tag="2", memory_limit=512 * MIB), 300)
    assert effects[-1] == Exit(137, "OOMKilled")
    assert program.age >= 40
    _, effects = live(model, Surroundings(tag="2", memory_limit=1024 * MIB), 300)
    assert not isinstance(effects[-1], Exit)
    _, effects = live(model, Surroundings(tag="1", memory_limit=512 * MIB), 300)
    assert not isinstance(effects[-1], Exit)


@given(limit=st.integers(min_value=64, max_value=4096))
def test_growth_without_bound_exceeds_any_limit(limit: int) -> None:
    model = WorkloadModel(name="m", memory=MemoryModel(base="32Mi", growth_per_second="10Mi"))
    _, effects = live(model, Surroundings(memory_limit=limit * MIB), 600)
    assert effects[-1] == Exit(137, "OOMKilled")


@given(cuts=st.lists(st.floats(min_value=0.05, max_value=9), min_size=1, max_size=12))
def test_how_time_is_cut_into_steps_does_not_decide_whether_it_dies(cuts: list[float]) -> None:
    model = WorkloadModel(name="m", memory=MemoryModel(base="64Mi", growth_per_second="8Mi"))
    around = Surroundings(memory_limit=256 * MIB)
    total = sum(cuts)
    if 24 < total < 28:  # at the very edge the length of a step may matter
        return
    program, died = Program(), False
    for cut in cuts:
        program, effects = step(model, program, around, cut)
        died = bool(effects) and isinstance(effects[-1], Exit)
        if died:
            break
    assert died is (total >= 28)


@pytest.mark.parametrize(
    ("parses", "good", "bad"),
    [
        ("int", "5432", "5432/orders"),
        ("float", "0.5", "half"),
        ("bool", "true", "perhaps"),
        ("url", "https://db.example.com/x", "db"),
        ("json", '{"a": 1}', "{a"),
        ("hostport", "db:5432", "db"),
    ],
)
def test_a_bad_value_ends_the_program_with_a_line_that_names_it(parses: str, good: str, bad: str) -> None:
    model = WorkloadModel(name="m", config=(ConfigNeed(env="X", parses=parses, log=("X is {value}",)),))
    _, effects = live(model, Surroundings(env={"X": good}), 10)
    assert not isinstance(effects[-1], Exit)
    _, effects = live(model, Surroundings(env={"X": bad}), 10)
    assert effects[-2:] == [Line(f"X is {bad}"), Exit(1, "Error")]


def test_a_missing_value_ends_the_program_too() -> None:
    model = WorkloadModel(name="m", config=(ConfigNeed(file="/etc/app/a.yaml"),))
    _, effects = live(model, Surroundings(), 10)
    assert effects[-1] == Exit(1, "Error")


def test_a_probe_at_a_wrong_path_or_port_fails_and_an_unmet_dependency_answers_503() -> None:
    model = WorkloadModel(
        name="m",
        serves=(Served(port=8080, paths=("/ready",)),),
        dependencies=(Dependency(address="db:5432"),),
    )
    program, _ = live(model, Surroundings(), 10)
    assert answers(model, program, 8080, "/ready") == 200
    assert answers(model, program, 8080, "/readyz") == 404
    assert answers(model, program, 9090, "/ready") == 0
    program, effects = live(model, Surroundings(reach=lambda _: "i/o timeout"), 10)
    assert answers(model, program, 8080, "/ready") == 503
    assert Line("ERROR call to db:5432 failed: i/o timeout") in effects


def test_a_dependency_that_comes_back_is_noticed() -> None:
    model = WorkloadModel(name="m", dependencies=(Dependency(address="db:5432", every=5),))
    program, _ = live(model, Surroundings(reach=lambda _: "refused"), 10)
    assert program.down
    program, _ = step(model, program, Surroundings(), 10)
    assert not program.down


def test_a_fault_in_the_code_crashes_whatever_the_memory() -> None:
    model = WorkloadModel(name="m", crash=Crash(after=5, tags=("3",), exit_code=2))
    _, effects = live(model, Surroundings(tag="3", memory_limit=10**12), 60)
    assert effects[-1] == Exit(2, "Error")
    _, effects = live(model, Surroundings(tag="2"), 60)
    assert not isinstance(effects[-1], Exit)


def test_a_job_completes_with_zero() -> None:
    _, effects = live(WorkloadModel(name="m", completes_after=5), Surroundings(), 60)
    assert effects[-1] == Exit(0, "Completed")


def test_the_most_specific_model_wins() -> None:
    models = (
        WorkloadModel(name="any", image="r.example.com/*"),
        WorkloadModel(name="app", image="r.example.com/app:*"),
        WorkloadModel(name="labelled", labels={"app": "x"}),
    )
    assert model_for(models, "r.example.com/app:1", {}, "c", ends=False).name == "app"
    assert model_for(models, "r.example.com/app:1", {"app": "x"}, "c", ends=False).name == "labelled"
    assert model_for(models, "other", {}, "c", ends=False).name == "well-behaved"
