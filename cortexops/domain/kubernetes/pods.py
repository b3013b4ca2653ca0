"""What a pod's status says about its containers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from cortexops.domain.kubernetes.meta import condition, deleting_since
from cortexops.domain.kubernetes.values import dig, mapping, moment, number, objects, text
from cortexops.domain.resource import JSON

PULL_REASONS = frozenset(
    {
        "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
        "RegistryUnavailable", "SignatureValidationFailed",
    }
)  # fmt: skip
CONFIG_REASONS = frozenset({"CreateContainerConfigError"})
START_REASONS = frozenset(
    {"RunContainerError", "CreateContainerError", "ContainerCannotRun", "StartError", "PostStartHookError"}
)
CRASH_LOOP = "CrashLoopBackOff"
BAD_WAITING = PULL_REASONS | CONFIG_REASONS | START_REASONS | {CRASH_LOOP}

SIGKILL_EXIT, SIGTERM_EXIT = 137, 143


class Ended(NamedTuple):
    """How an instance of a container ended. `code` is -1 when the status does not say."""

    code: int
    reason: str
    message: str
    started: datetime | None
    at: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        return (self.at - self.started).total_seconds() if self.at and self.started else None

    @property
    def out_of_memory(self) -> bool:
        return self.reason == "OOMKilled"


class ContainerState(NamedTuple):
    """One container of a pod: what it waits for, since when it runs, how it ended now and before."""

    name: str
    image: str
    init: bool
    ready: bool
    restarts: int
    waiting: str
    waiting_message: str
    running_since: datetime | None
    ended: Ended | None
    last: Ended | None

    @property
    def final(self) -> Ended | None:
        """The end that is known best: the present one, else the one before."""
        return self.ended or self.last


def _ended(state: JSON) -> Ended | None:
    found = dig(state, "terminated")
    if not isinstance(found, dict):
        return None
    return Ended(
        code=number(found, "exitCode", default=-1),
        reason=text(found, "reason"),
        message=text(found, "message"),
        started=moment(found, "startedAt"),
        at=moment(found, "finishedAt"),
    )


def container_states(pod: JSON) -> list[ContainerState]:
    """All containers that the status reports, init containers first."""
    found: list[ContainerState] = []
    for part, init in (("initContainerStatuses", True), ("containerStatuses", False)):
        for status in objects(pod, "status", part):
            state = mapping(status, "state")
            found.append(
                ContainerState(
                    name=text(status, "name"),
                    image=text(spec_of(pod, text(status, "name")), "image") or text(status, "image"),
                    init=init,
                    ready=status.get("ready") is True,
                    restarts=number(status, "restartCount"),
                    waiting=text(state, "waiting", "reason"),
                    waiting_message=text(state, "waiting", "message"),
                    running_since=moment(state, "running", "startedAt"),
                    ended=_ended(state),
                    last=_ended(mapping(status, "lastState")),
                )
            )
    return found


def containers(spec: JSON) -> list[JSON]:
    """The container specs of a pod spec, init containers first."""
    return objects(spec, "initContainers") + objects(spec, "containers")


def spec_of(pod: JSON, container: str) -> JSON:
    """The spec of the container of that name, in a pod or in a pod template."""
    for spec in containers(mapping(pod, "spec")):
        if text(spec, "name") == container:
            return spec
    return {}


def phase(pod: JSON) -> str:
    return text(pod, "status", "phase")


def node_name(pod: JSON) -> str:
    return text(pod, "spec", "nodeName")


def is_finished(pod: JSON) -> bool:
    """It did its work and is not expected to run: a completed Job's pod is no trouble."""
    return phase(pod) == "Succeeded"


def is_ready(pod: JSON) -> bool:
    return condition(pod, "Ready").status == "True" and deleting_since(pod) is None


def is_unready(pod: JSON) -> bool:
    """It should serve and does not. Terminating, finished and evicted pods do not count."""
    return (
        not is_ready(pod) and not is_finished(pod) and phase(pod) != "Failed" and deleting_since(pod) is None
    )


def template_hash(labels: Mapping[str, str]) -> str:
    """The label by which a ReplicaSet tells its pods from those of other revisions."""
    return labels.get("pod-template-hash") or labels.get("rollouts-pod-template-hash") or ""


def wanted_replicas(workload: JSON) -> int:
    """How many pods a workload should have; 1 for a kind that does not say."""
    if text(workload, "kind") == "DaemonSet":
        return number(workload, "status", "desiredNumberScheduled")
    return number(workload, "spec", "replicas", default=1)


def ready_replicas(workload: JSON) -> int:
    return max(number(workload, "status", "readyReplicas"), number(workload, "status", "numberReady"))
