"""One pod on one node: its containers in order, its volumes, its end, and the status that it reports."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.clock import stamp
from sandbox.cluster.controllers.objects import with_condition
from sandbox.cluster.kubelet.container import Container, Host, Note, Stage, container_id
from sandbox.cluster.kubelet.images import full_reference
from sandbox.cluster.kubelet.models import WorkloadModel

_STOP_SECONDS = 1.0  # a program that heeds SIGTERM
_MOUNT_RETRY = 10.0
_WAITING_REASON = {
    Stage.WAITING: "ContainerCreating",
    Stage.PULLING: "ContainerCreating",
    Stage.PULL_FAILED: "ErrImagePull",
    Stage.PULL_BACKOFF: "ImagePullBackOff",
    Stage.CONFIG_ERROR: "CreateContainerConfigError",
    Stage.CRASH_BACKOFF: "CrashLoopBackOff",
}

FindModel = Callable[[JSON, JSON, bool], WorkloadModel]
"""The model of a container: pod, container, whether it is expected to end."""


@dataclass
class PodRun:
    """A pod as the kubelet runs it."""

    pod: JSON
    address: str
    host_address: str
    inits: list[Container]
    containers: list[Container]
    began: datetime
    stopping: float | None = None
    mount_wait: float = 0.0
    conditions: list[JSON] = field(default_factory=list)

    def advance(self, seconds: float, host: Host, missing_volume: Callable[[], str]) -> bool:
        """Live on; tells whether the status changed."""
        if self.stopping is not None:
            self.stopping -= seconds
            return False
        if not self._mounted(seconds, host, missing_volume):
            return False
        for init in self.inits:
            if not init.succeeded:
                return init.advance(seconds, host)
        changed = False
        for container in self.containers:
            changed = container.advance(seconds, host) or changed
        return changed

    def stop(self, host: Host) -> None:
        """The pod is being deleted: end the containers within its grace."""
        if self.stopping is not None:
            return
        grace = float(self.pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        self.stopping = min(grace, _STOP_SECONDS)
        for container in self.containers:
            if container.stage is Stage.RUNNING:
                host.note(Note("Normal", "Killing", f"Stopping container {container.name}", container.path))

    @property
    def stopped(self) -> bool:
        """Its containers have ended after a deletion."""
        return self.stopping is not None and self.stopping <= 0

    def phase(self) -> str:
        """The pod's phase as the kubelet computes it."""
        stages = [container.stage for container in self.containers]
        if any(not init.succeeded for init in self.inits):
            broken = any(init.stage is Stage.ENDED and not init.succeeded for init in self.inits)
            return "Failed" if broken else "Pending"
        if stages and all(stage is Stage.ENDED for stage in stages):
            return "Succeeded" if all(container.succeeded for container in self.containers) else "Failed"
        begun = all(
            container.stage in (Stage.RUNNING, Stage.ENDED)
            or container.restarts
            or container.ended
            or container.last
            for container in self.containers
        )
        return "Running" if begun else "Pending"

    def status(self, now: datetime) -> JSON:
        """The whole status."""
        phase = self.phase()
        initialized = all(init.succeeded for init in self.inits)
        unready = [container.name for container in self.containers if not container.ready]
        complete = phase == "Succeeded"
        waiting = f"containers with unready status: [{' '.join(unready)}]"
        undone = [init.name for init in self.inits if not init.succeeded]
        reason = "PodCompleted" if complete else "ContainersNotReady"
        verdicts = (
            ("PodReadyToStartContainers", True, "", ""),
            (
                "Initialized",
                initialized,
                "ContainersNotInitialized",
                f"containers with incomplete status: [{' '.join(undone)}]",
            ),
            ("Ready", not unready, reason, "" if complete else waiting),
            ("ContainersReady", not unready, reason, "" if complete else waiting),
            ("PodScheduled", True, "", ""),
        )
        for kind, holds, why, message in verdicts:
            self._condition(kind, holds, why, message, now)
        body: JSON = {
            "phase": phase,
            "conditions": [dict(entry) for entry in self.conditions],
            "hostIP": self.host_address,
            "startTime": stamp(self.began),
            "qosClass": qos_class(self.pod),
            "containerStatuses": [self._container(one, initialized) for one in self.containers],
        }
        if self.stopping is None or self.containers:
            body["podIP"] = self.address
            body["podIPs"] = [{"ip": self.address}]
        if self.inits:
            body["initContainerStatuses"] = [self._container(one, True) for one in self.inits]
        return body

    def _condition(self, kind: str, holds: bool, reason: str, message: str, now: datetime) -> None:
        fresh = with_condition(self.conditions, kind, "True" if holds else "False", reason, message, now=now)
        for entry in fresh:
            if entry["type"] == kind:
                entry["lastProbeTime"] = None
                for name in ("reason", "message"):
                    if holds or not entry.get(name):
                        entry.pop(name, None)
        self.conditions = fresh

    def _mounted(self, seconds: float, host: Host, missing_volume: Callable[[], str]) -> bool:
        if any(one.stage is not Stage.WAITING or one.ended for one in (*self.inits, *self.containers)):
            return True
        self.mount_wait -= seconds
        if self.mount_wait > 0:
            return False
        problem = missing_volume()
        if problem:
            self.mount_wait = _MOUNT_RETRY
            host.note(Note("Warning", "FailedMount", problem))
            return False
        return True

    def _container(self, one: Container, initialized: bool) -> JSON:
        full = full_reference(one.image)
        status: JSON = {
            "name": one.name,
            "image": full,
            "imageID": "",
            "ready": one.succeeded if one.is_init else one.ready,
            "restartCount": one.restarts,
            "started": one.stage is Stage.RUNNING and (one.is_init or _past_startup(one)),
            "state": self._state(one, initialized),
            "lastState": {"terminated": one.last} if one.last else {},
        }
        if one.ended and "terminated" not in status["state"]:
            status["lastState"] = {"terminated": one.ended}
        if one.pulled:
            digest = hashlib.sha256(full.encode()).hexdigest()
            status["imageID"] = f"{full.rpartition(':')[0]}@sha256:{digest}"
        if one.started_at is not None:
            status["containerID"] = container_id(one)
        return status

    def _state(self, one: Container, initialized: bool) -> JSON:
        if one.stage is Stage.RUNNING:
            return {"running": {"startedAt": stamp(one.started_at or self.began)}}
        if one.stage is Stage.ENDED or (one.stage is Stage.WAITING and one.ended):
            return {"terminated": one.ended}
        waiting: JSON = {"reason": _WAITING_REASON[one.stage]}
        if one.stage is Stage.WAITING and not initialized:
            waiting["reason"] = "PodInitializing"
        if one.message:
            waiting["message"] = one.message
        return {"waiting": waiting}


def pod_run(pod: JSON, address: str, host_address: str, find: FindModel, now: datetime) -> PodRun:
    """A pod that this node has just been given."""
    spec, uid = pod["spec"], pod["metadata"].get("uid", "")
    policy = spec.get("restartPolicy", "Always")
    known = {entry["name"]: entry for entry in (pod.get("status") or {}).get("containerStatuses") or ()}

    def make(container: JSON, is_init: bool) -> Container:
        phase = zlib.crc32(f"{uid}/{container['name']}".encode()) % 1000 / 1000
        model = find(pod, container, is_init or policy != "Always")
        one = Container(container, model, policy, is_init=is_init, phase=phase)
        before = known.get(container["name"])
        if before is not None and not is_init:
            one.restarts = int(before.get("restartCount", 0))
            one.last = (before.get("lastState") or {}).get("terminated")
        return one

    inits = [make(container, True) for container in spec.get("initContainers") or ()]
    containers = [make(container, False) for container in spec["containers"]]
    return PodRun(pod, address, host_address, inits, containers, now)


def qos_class(pod: JSON) -> str:
    """Guaranteed, Burstable or BestEffort."""
    resources = [container.get("resources") or {} for container in pod["spec"]["containers"]]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    for one in resources:
        limits, requests = one.get("limits") or {}, one.get("requests") or {}
        if {"cpu", "memory"} - set(limits) or any(
            requests.get(name, limits[name]) != limits[name] for name in ("cpu", "memory")
        ):
            return "Burstable"
    return "Guaranteed"


def _past_startup(one: Container) -> bool:
    startup = one.probes.get("Startup")
    return startup is None or startup.passed is True
