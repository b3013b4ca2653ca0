"""One container's life without a cluster: pulls, back-off, probes, what is said meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime

from sandbox.cluster.kubelet.container import Container, Host, Note, Stage
from sandbox.cluster.kubelet.environment import Environment
from sandbox.cluster.kubelet.models import Crash, Served, WorkloadModel

SPEC = {"name": "app", "image": "r.example.com/app:1"}


class World:
    def __init__(self, refusal: str = "", problem: str = "") -> None:
        self.notes: list[Note] = []
        self.lines: list[str] = []
        self.refusal, self.problem = refusal, problem

    def host(self) -> Host:
        return Host(
            now=datetime.now(UTC),
            pod="app-1_shop(uid)",
            address="10.244.1.5",
            refusal=lambda _: self.refusal,
            environment=lambda _: Environment({}, {}, self.problem),
            reach=lambda _: "",
            note=self.notes.append,
            begin=lambda _: None,
            write=lambda _, text: self.lines.append(text),
        )

    def live(self, container: Container, seconds: float, tick: float = 0.5) -> list[Stage]:
        seen = [container.stage]
        for _ in range(int(seconds / tick)):
            container.advance(tick, self.host())
            if container.stage is not seen[-1]:
                seen.append(container.stage)
        return seen

    def reasons(self) -> list[str]:
        return [note.reason for note in self.notes]


def test_a_good_container_is_pulled_created_started_and_ready() -> None:
    world, container = World(), Container(SPEC, WorkloadModel(name="m"), "Always")
    world.live(container, 10)
    assert container.stage is Stage.RUNNING
    assert container.ready
    assert world.reasons() == ["Pulling", "Pulled", "Created", "Started"]


def test_the_first_restart_is_at_once_and_the_back_off_then_doubles_to_five_minutes() -> None:
    world = World()
    container = Container(SPEC, WorkloadModel(name="m", crash=Crash(after=2)), "Always")
    world.live(container, 900)
    waits = [note.message for note in world.notes if note.reason == "BackOff"]
    assert waits
    assert set(waits) == {"Back-off restarting failed container app in pod app-1_shop(uid)"}
    assert container.restarts == 7  # after 0, 10, 20, 40, 80, 160, 300 seconds
    assert container.backoff == 300
    assert container.ended or container.last
    assert "panic: runtime error: invalid memory address or nil pointer dereference" in world.lines


def test_the_back_off_message_names_the_nominal_delay() -> None:
    world = World()
    container = Container(SPEC, WorkloadModel(name="m", crash=Crash(after=2)), "Always")
    while container.stage is not Stage.CRASH_BACKOFF:
        world.live(container, 1)
    assert container.message == "back-off 10s restarting failed container=app pod=app-1_shop(uid)"


def test_a_pull_that_fails_alternates_between_error_and_back_off() -> None:
    world = World(refusal="rpc error: code = NotFound desc = not found")
    container = Container(SPEC, WorkloadModel(name="m"), "Always")
    stages = world.live(container, 60)
    assert stages.count(Stage.PULL_FAILED) >= 2
    assert stages.count(Stage.PULL_BACKOFF) >= 2
    messages = [note.message for note in world.notes]
    assert "Error: ErrImagePull" in messages
    assert 'Back-off pulling image "r.example.com/app:1"' in messages
    world.refusal = ""
    world.live(container, 120)
    assert container.stage is Stage.RUNNING


def test_a_missing_config_map_holds_the_container_until_it_is_there() -> None:
    world = World(problem='configmap "env" not found')
    container = Container(SPEC, WorkloadModel(name="m"), "Always")
    world.live(container, 5)
    assert container.stage is Stage.CONFIG_ERROR
    assert (
        Note("Warning", "Failed", 'Error: configmap "env" not found', "spec.containers{app}") in world.notes
    )
    world.problem = ""
    assert world.live(container, 20)[-1] is Stage.RUNNING


def test_a_wrong_readiness_path_never_becomes_ready_and_a_wrong_liveness_path_restarts() -> None:
    model = WorkloadModel(name="m", serves=(Served(port=8080, paths=("/ok",)),))
    world = World()
    unready = Container(
        {**SPEC, "readinessProbe": {"httpGet": {"path": "/no", "port": 8080}, "periodSeconds": 5}},
        model,
        "Always",
    )
    world.live(unready, 60)
    assert not unready.ready
    assert unready.restarts == 0
    messages = [note.message for note in world.notes if note.reason == "Unhealthy"]
    assert "Readiness probe failed: HTTP probe failed with statuscode: 404" in messages
    refused = 'Get "http://10.244.1.5:8080/no": dial tcp 10.244.1.5:8080: connect: connection refused'
    assert f"Readiness probe failed: {refused}" in messages
    killed = Container(
        {**SPEC, "livenessProbe": {"httpGet": {"path": "/no", "port": 8080}, "periodSeconds": 5}},
        model,
        "Always",
    )
    world.live(killed, 60)
    assert killed.restarts >= 1
    assert "Container app failed liveness probe, will be restarted" in [note.message for note in world.notes]


def test_restart_policy_never_leaves_it_ended() -> None:
    world = World()
    container = Container(SPEC, WorkloadModel(name="m", crash=Crash(after=2, exit_code=3)), "Never")
    world.live(container, 60)
    assert container.stage is Stage.ENDED
    assert container.ended
    assert container.ended["exitCode"] == 3
    assert container.restarts == 0
