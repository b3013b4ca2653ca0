"""One container through its life: pull, create, run, probe, end, back off, start again. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.clock import stamp
from sandbox.cluster.controllers.objects import quantity
from sandbox.cluster.kubelet.environment import Environment
from sandbox.cluster.kubelet.images import full_reference
from sandbox.cluster.kubelet.models import WorkloadModel, tag_of
from sandbox.cluster.kubelet.physics import TERM_EXIT, Exit, Line, Program, Surroundings, step
from sandbox.cluster.kubelet.probes import Probe, ask, probes_of

FIRST_BACKOFF = 10.0  # seconds, doubled with every failure
LONGEST_BACKOFF = 300.0
_BACKOFF_RESET = 600.0  # a container that ran this long is forgiven
_PULL_SECONDS = 1.5
_CONFIG_RETRY = 10.0


class Stage(StrEnum):
    """Where a container is."""

    WAITING = "waiting"
    PULLING = "pulling"
    PULL_FAILED = "pull-failed"
    PULL_BACKOFF = "pull-backoff"
    CONFIG_ERROR = "config-error"
    RUNNING = "running"
    CRASH_BACKOFF = "crash-backoff"
    ENDED = "ended"


class Note(NamedTuple):
    """An event to record about the pod."""

    type: str
    reason: str
    message: str
    field_path: str = ""


class Host(NamedTuple):
    """What the node gives to a container."""

    now: datetime
    pod: str  # name_namespace(uid), as back-off messages carry it
    address: str
    refusal: Callable[[str], str]
    environment: Callable[[JSON], Environment]
    reach: Callable[[str], str]
    note: Callable[[Note], None]
    begin: Callable[[str], None]
    write: Callable[[str, str], None]


@dataclass
class Container:
    """State of one container of one pod. Durations are nominal seconds."""

    spec: JSON
    model: WorkloadModel
    restart_policy: str
    is_init: bool = False
    phase: float = 0.0
    stage: Stage = Stage.WAITING
    left: float = 0.0
    program: Program = field(default_factory=Program)
    env: Environment = field(default_factory=lambda: Environment({}, {}))
    restarts: int = 0
    backoff: float = 0.0
    pull_backoff: float = FIRST_BACKOFF
    pulled: bool = False
    message: str = ""
    ready: bool = False
    started_at: datetime | None = None
    ended: JSON | None = None
    last: JSON | None = None
    probes: dict[str, Probe] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def image(self) -> str:
        return str(self.spec["image"])

    @property
    def succeeded(self) -> bool:
        """It ended well and will not be started again."""
        return self.stage is Stage.ENDED and self.ended is not None and self.ended["exitCode"] == 0

    @property
    def path(self) -> str:
        """The fieldPath of events about it."""
        return f"spec.{'initContainers' if self.is_init else 'containers'}{{{self.name}}}"

    def advance(self, seconds: float, host: Host) -> bool:
        """Live on for a while; tells whether the reported status changed."""
        if self.stage is Stage.RUNNING:
            return self._run(seconds, host)
        if self.stage is Stage.ENDED:
            return False
        self.left -= seconds
        if self.left > 0:
            return False
        before = (self.stage, self.message)
        if self.stage is Stage.WAITING:
            self._pull(host)
        elif self.stage in (Stage.PULLING, Stage.PULL_BACKOFF):
            if self.stage is Stage.PULL_BACKOFF:
                self._tell(host, "Normal", "Pulling", f'Pulling image "{self.image}"')
            self._pull_result(host)
        elif self.stage is Stage.PULL_FAILED:
            self._pull_waits(host)
        else:
            self._create(host)
        return (self.stage, self.message) != before

    def resume(self, since: datetime, host: Host) -> None:
        """Take it that the container has been running well since then."""
        self.env = host.environment(self.spec)
        self.pulled = True
        host.begin(self.name)
        age = max(self.model.start_seconds, self.model.memory.warm_up)
        self.program = Program(age=age, checked=True, up=True, lines=1, next_line=age)
        self.program, effects = step(self.model, self.program, self._surroundings(host), 0.0)
        for text in (*self.model.starting, *self.model.started):
            host.write(self.name, text)
        for effect in effects:
            if isinstance(effect, Line):
                host.write(self.name, effect.text)
        self.stage, self.started_at, self.ready = Stage.RUNNING, since, True
        self.probes = probes_of(self.spec)
        for probe in self.probes.values():
            probe.passed, probe.next_at = True, age
        self.left = 0.0

    def kill(self, code: int, reason: str, now: datetime) -> None:
        """End the running instance from outside."""
        if self.stage is Stage.RUNNING:
            self._end(code, reason, now)

    def _pull(self, host: Host) -> None:
        policy = self.spec.get("imagePullPolicy") or (
            "Always" if tag_of(self.image) == "latest" else "IfNotPresent"
        )
        if self.pulled and policy != "Always":
            self._tell(host, "Normal", "Pulled", f'Container image "{self.image}" already present on machine')
            self._create(host)
            return
        self._tell(host, "Normal", "Pulling", f'Pulling image "{self.image}"')
        self.stage, self.left = Stage.PULLING, _PULL_SECONDS

    def _pull_result(self, host: Host) -> None:
        refusal = host.refusal(self.image)
        if refusal:
            self._tell(host, "Warning", "Failed", f'Failed to pull image "{self.image}": {refusal}')
            self._tell(host, "Warning", "Failed", "Error: ErrImagePull")
            self.stage, self.message, self.left = Stage.PULL_FAILED, refusal, 2.0
            return
        self.pulled = True
        took = f"{_PULL_SECONDS:.3g}s"
        self._tell(
            host,
            "Normal",
            "Pulled",
            f'Successfully pulled image "{self.image}" in {took} ({took} including waiting)',
        )
        self._create(host)

    def _pull_waits(self, host: Host) -> None:
        self._tell(host, "Normal", "BackOff", f'Back-off pulling image "{self.image}"')
        self._tell(host, "Warning", "Failed", "Error: ImagePullBackOff")
        self.stage = Stage.PULL_BACKOFF
        self.message = f'Back-off pulling image "{self.image}"'
        self.left, self.pull_backoff = self.pull_backoff, min(LONGEST_BACKOFF, self.pull_backoff * 2)

    def _create(self, host: Host) -> None:
        environment = host.environment(self.spec)
        if environment.problem:
            self._tell(host, "Warning", "Failed", f"Error: {environment.problem}")
            self.stage, self.message, self.left = Stage.CONFIG_ERROR, environment.problem, _CONFIG_RETRY
            return
        if self.stage is Stage.CRASH_BACKOFF:
            message = f'Container image "{self.image}" already present on machine'
            self._tell(host, "Normal", "Pulled", message)
        if self.ended is not None:
            self.last, self.ended = self.ended, None
            self.restarts += 1
        self.env = environment
        self._tell(host, "Normal", "Created", f"Created container: {self.name}")
        self._tell(host, "Normal", "Started", f"Started container {self.name}")
        host.begin(self.name)
        self.program, self.probes = Program(), probes_of(self.spec)
        self.stage, self.message, self.started_at = Stage.RUNNING, "", host.now
        self.ready = not self.is_init and not {"Startup", "Readiness"}.intersection(self.probes)

    def _run(self, seconds: float, host: Host) -> bool:
        self.program, effects = step(self.model, self.program, self._surroundings(host), seconds)
        for effect in effects:
            if isinstance(effect, Line):
                host.write(self.name, effect.text)
        if effects and isinstance(effects[-1], Exit):
            self._end(effects[-1].code, effects[-1].reason, host.now)
            self._decide(host)
            return True
        return self._probe(host)

    def _probe(self, host: Host) -> bool:
        age, changed = self.program.age, False
        startup = self.probes.get("Startup")
        for kind, probe in self.probes.items():
            held_back = kind != "Startup" and startup is not None and not startup.passed
            if held_back or (kind == "Startup" and probe.passed) or not probe.due(age):
                continue
            failure = ask(probe, self.spec, self.model, self.program, host.address)
            moved = probe.count(age, not failure)
            if failure:
                self._tell(host, "Warning", "Unhealthy", f"{kind} probe failed: {failure}")
            if kind != "Readiness" and probe.passed is False:
                message = f"Container {self.name} failed {kind.lower()} probe, will be restarted"
                self._tell(host, "Normal", "Killing", message)
                self._end(TERM_EXIT, "Error", host.now)
                self._decide(host)
                return True
            changed = changed or moved
        readiness = self.probes.get("Readiness")
        ready = (startup is None or startup.passed is True) and (
            readiness is None or readiness.passed is True
        )
        changed, self.ready = changed or ready != self.ready, ready and not self.is_init
        return changed

    def _end(self, code: int, reason: str, now: datetime) -> None:
        began = self.started_at or now
        self.ended = {
            "exitCode": code,
            "reason": reason,
            "startedAt": stamp(began),
            "finishedAt": stamp(now),
            "containerID": container_id(self),
        }
        if self.program.age >= _BACKOFF_RESET:
            self.backoff = 0.0
        self.ready, self.stage = False, Stage.ENDED

    def _decide(self, host: Host) -> None:
        """Whether and when to start again after an end."""
        code = self.ended["exitCode"] if self.ended else 0
        policy = "OnFailure" if self.is_init and self.restart_policy == "Always" else self.restart_policy
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            return
        delay = self.backoff
        self.backoff = min(LONGEST_BACKOFF, delay * 2) if delay else FIRST_BACKOFF
        if delay == 0:
            self.stage, self.message, self.left = Stage.WAITING, "", 0.0
            return
        self.stage, self.left = Stage.CRASH_BACKOFF, delay
        self.message = (
            f"back-off {_go_duration(delay)} restarting failed container={self.name} pod={host.pod}"
        )
        message = f"Back-off restarting failed container {self.name} in pod {host.pod}"
        self._tell(host, "Warning", "BackOff", message)

    def restart(self, code: int, reason: str, host: Host) -> None:
        """Kill the running instance and go on as the restart policy says."""
        if self.stage is Stage.RUNNING:
            self._end(code, reason, host.now)
            self._decide(host)

    def _surroundings(self, host: Host) -> Surroundings:
        limit = ((self.spec.get("resources") or {}).get("limits") or {}).get("memory")
        return Surroundings(
            tag=tag_of(self.image),
            memory_limit=int(quantity(limit)) if limit is not None else None,
            env=self.env.env,
            files=self.env.files,
            reach=host.reach,
            phase=self.phase,
        )

    def _tell(self, host: Host, kind: str, reason: str, message: str) -> None:
        host.note(Note(kind, reason, message, self.path))


def container_id(container: Container) -> str:
    """The runtime's id of the present instance, stable for its life."""
    text = f"{full_reference(container.image)}|{container.phase}|{container.name}|{container.restarts}"
    return f"containerd://{hashlib.sha256(text.encode()).hexdigest()}"


def _go_duration(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60}s"
