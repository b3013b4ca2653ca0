"""Is it well? Measurements of a workload or a node from what the API server says, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cortexops.domain.change import Change, carries, holds
from cortexops.domain.holding import holds_from_before, key_of
from cortexops.domain.kubernetes.meta import condition, deleting_since
from cortexops.domain.kubernetes.pods import container_states, is_ready
from cortexops.domain.kubernetes.values import dig, number, text
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.resource import JSON
from cortexops.domain.verification import Measurement, Phase
from cortexops.domain.words import counted

IN_PLACE = "change_in_place"
READ = "config_read"
CHECKS = frozenset({
    "rollout_complete", "replicas_ready", "no_new_restarts", "node_unschedulable", "node_drained", "node_ready",
    "job_runs", "autoscaler_follows", "volume_resized", IN_PLACE, READ,
})  # fmt: skip
"""Every check there is by name. Others are named after an object that could not be measured."""

_HOPELESS = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError"})
_KILLS_TOLERATED = 1
"""One restart after a change may be the start-up; a second says that it does not hold."""


def measure_workload(
    live: JSON, pods: list[JSON], *, since: datetime, now: datetime, least_replicas: int = 0
) -> list[Measurement]:
    """rollout_complete, replicas_ready and no_new_restarts of a Deployment, StatefulSet or DaemonSet.

    `since` is when the change was applied; only what happened to pods after it counts against it.
    """
    spec, status = live.get("spec", {}), live.get("status", {})
    wanted = (
        int(status.get("desiredNumberScheduled", 0))
        if live.get("kind") == "DaemonSet"
        else int(spec.get("replicas", 1))
    )
    wanted = max(wanted, least_replicas)
    updated = int(status.get("updatedReplicas", status.get("updatedNumberScheduled", 0)) or 0)
    ready = int(status.get("readyReplicas", status.get("numberReady", 0)) or 0)
    total = int(status.get("replicas", status.get("currentNumberScheduled", 0)) or 0)
    seen = int(status.get("observedGeneration", 0) or 0) >= int(live["metadata"].get("generation", 0) or 0)

    def says(check: str, good: bool, detail: str) -> Measurement:
        return Measurement(
            check=check, phase=Phase.SUCCESSFUL if good else Phase.RUNNING, detail=detail, at=now
        )

    complete = seen and updated >= wanted and total <= wanted
    return [
        says(
            "rollout_complete",
            complete,
            f"{updated}/{wanted} replicas updated" + ("" if seen else ", not seen yet"),
        ),
        says("replicas_ready", ready >= wanted > 0, f"{ready}/{wanted} replicas ready"),
        _restarts(pods, since=since, now=now),
    ]


def _restarts(pods: list[JSON], *, since: datetime, now: datetime) -> Measurement:
    kills: dict[str, int] = {}
    why = ""
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status", {})
        if metadata.get("deletionTimestamp"):
            continue
        created = _time(metadata.get("creationTimestamp"))
        fresh = created is not None and created >= since.replace(microsecond=0)
        for container in status.get("containerStatuses") or []:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if fresh and waiting.get("reason") in _HOPELESS:
                return Measurement(
                    check="no_new_restarts",
                    phase=Phase.FAILED,
                    detail=f"{metadata['name']} cannot start: {waiting['reason']}",
                    at=now,
                )
            ended = _last_end(container)
            if ended is None or ended[0] < since:
                continue
            why = ended[1]
            if fresh and why.startswith("OOMKilled"):
                detail = f"{metadata['name']} was killed for memory again after the change ({why})"
                return Measurement(check="no_new_restarts", phase=Phase.FAILED, detail=detail, at=now)
            count = int(container.get("restartCount", 0)) if fresh else 1
            kills[metadata["name"]] = max(count, kills.get(metadata["name"], 0))
    worst = max(kills.values(), default=0)
    if worst > _KILLS_TOLERATED:
        pod_name = max(kills, key=lambda name: kills[name])
        detail = f"{pod_name} was killed {worst} times since the change ({why})"
        return Measurement(check="no_new_restarts", phase=Phase.FAILED, detail=detail, at=now)
    if kills:
        detail = f"{len(kills)} pods restarted since the change ({why})"
        recent = any(_recent(pod, now) for pod in pods)
        phase = Phase.RUNNING if recent else Phase.SUCCESSFUL
        return Measurement(check="no_new_restarts", phase=phase, detail=detail, at=now)
    return Measurement(
        check="no_new_restarts", phase=Phase.SUCCESSFUL, detail="no restarts since the change", at=now
    )


def _last_end(container: JSON) -> tuple[datetime, str] | None:
    """When the container last ended, and how; the present state counts before the previous one."""
    for state in (container.get("state") or {}, container.get("lastState") or {}):
        terminated = state.get("terminated")
        if terminated and (at := _time(terminated.get("finishedAt"))) is not None:
            return at, f"{terminated.get('reason', 'Error')}, exit {terminated.get('exitCode', '?')}"
    return None


def _recent(pod: JSON, now: datetime, seconds: float = 10) -> bool:
    for container in pod.get("status", {}).get("containerStatuses") or []:
        ended = _last_end(container)
        if ended is not None and (now - ended[0]).total_seconds() < seconds:
            return True
    return False


def measure_node(
    live: JSON,
    pods: Sequence[JSON] = (),
    *,
    now: datetime,
    change: Change | None = None,
    criteria: Sequence[str] = (),
) -> list[Measurement]:
    """node_unschedulable: new pods stay off it. node_drained: the pods that the change names are gone.
    Without criteria, node_ready: it works."""

    def says(check: str, good: bool, detail: str, bad: Phase = Phase.FAILED) -> Measurement:
        return Measurement(check=check, phase=Phase.SUCCESSFUL if good else bad, detail=detail, at=now)

    if not criteria:
        ready = condition(live, "Ready")
        text = "the node is ready" if ready.status == "True" else f"the node is not ready: {ready.message}"
        return [says("node_ready", ready.status == "True", text)]
    cordoned = bool(live.get("spec", {}).get("unschedulable"))
    found = [says("node_unschedulable", cordoned, "cordoned" if cordoned else "schedulable again")]
    if "node_drained" in criteria and change is not None:
        planned = {pod.uid: str(pod) for pod in change.pods}
        left = [planned[uid] for pod in pods if (uid := str(pod["metadata"].get("uid"))) in planned]
        text = f"{len(planned) - len(left)} of {len(planned)} pods are gone"
        if left:
            text += f"; still there: {', '.join(sorted(left)[:5])}"
        found.append(says("node_drained", not left, text, Phase.RUNNING))
    return found


def measure_place(change: Change, live: JSON, *, now: datetime) -> Measurement:
    """change_in_place: what was written is still there, and nobody has put something else in its place."""
    secret = change.target.kind == "Secret"  # its values are not known here, only whose change was the last
    moved = [
        field.path
        for field in change.edits
        if not (
            carries(live, change.operation_id)
            if secret
            else holds(live, field.path, field.after_present, field.after)
        )
    ]
    if live.get("metadata", {}).get("uid") != change.uid:
        moved = ["the whole object"]
    return Measurement(
        check=IN_PLACE,
        phase=Phase.FAILED if moved else Phase.SUCCESSFUL,
        detail=f"changed by somebody else since: {', '.join(moved[:3])}"
        if moved
        else "the change is in place",
        at=now,
    )


def measure_read(change: Change, pods: Sequence[JSON], *, since: datetime, now: datetime) -> Measurement:
    """config_read: no pod that the change names runs with what it took at a start before the change."""
    planned, key = {pod.uid for pod in change.pods}, key_of(change)
    old = [
        pod
        for pod in pods
        if text(pod, "metadata", "uid") in planned
        and deleting_since(pod) is None
        and holds_from_before(pod, change.target, key, since)
    ]
    if not old:
        return Measurement(check=READ, phase=Phase.SUCCESSFUL, detail="no pod has the old value", at=now)
    names = ", ".join(sorted(text(pod, "metadata", "name") for pod in old)[:5])
    detail = f"{counted(len(old), 'pod')} started before the change, so with the old value: restart {names}"
    return Measurement(check=READ, phase=Phase.INCONCLUSIVE, detail=detail, at=now)


def measure_job(live: JSON, pods: Sequence[JSON] = (), *, now: datetime) -> Measurement:
    """job_runs: it is done, or a pod of it is done or ready and none has failed.

    `status.active` counts pods that wait for a node or an image, so it shows no run by itself. API servers before
    1.24 do not serve `status.ready`; what the pods say holds there.
    """
    complete, failed = condition(live, "Complete"), condition(live, "Failed")
    failures, succeeded = number(live, "status", "failed"), number(live, "status", "succeeded")
    ready = number(live, "status", "ready") or sum(is_ready(pod) for pod in pods)
    hopeless = _cannot_start(pods)
    if complete.status == "True":
        phase, detail = Phase.SUCCESSFUL, "the job is complete"
    elif failed.status == "True":
        phase, detail = Phase.FAILED, f"the job failed: {failed.reason} {failed.message}".strip()
    elif hopeless:
        phase, detail = Phase.FAILED, hopeless
    elif failures:
        phase, detail = Phase.RUNNING, f"{counted(failures, 'pod')} of the job failed, it tries again"
    elif ready or succeeded:
        phase, detail = Phase.SUCCESSFUL, "the job runs and nothing of it has failed"
    elif active := number(live, "status", "active"):
        phase, detail = Phase.RUNNING, f"{counted(active, 'pod')} of the job made, none is ready yet"
    else:
        phase, detail = Phase.RUNNING, "the job has not started"
    return Measurement(check="job_runs", phase=phase, detail=detail, at=now)


def _cannot_start(pods: Sequence[JSON]) -> str:
    """The first of the pods that waits for what does not come by waiting, in words; or nothing."""
    for pod in pods:
        for state in () if deleting_since(pod) else container_states(pod):
            if state.waiting in _HOPELESS:
                return f"{pod['metadata']['name']} cannot start: {state.waiting}"
    return ""


def measure_autoscaler(live: JSON, *, now: datetime) -> Measurement:
    """autoscaler_follows: it has the replicas that it wants, or all that it may have."""
    current, most = number(live, "status", "currentReplicas"), number(live, "spec", "maxReplicas")
    wanted = number(live, "status", "desiredReplicas")
    active = condition(live, "ScalingActive")
    if active.status == "False":
        phase, detail = Phase.RUNNING, f"it computes nothing: {active.reason} {active.message}".strip()
    elif wanted and current >= min(wanted, most):
        phase, detail = Phase.SUCCESSFUL, f"{current} replicas of at most {most}, {wanted} wanted"
    else:
        phase, detail = Phase.RUNNING, f"{current} of {wanted} replicas wanted"
    return Measurement(check="autoscaler_follows", phase=phase, detail=detail, at=now)


def measure_claim(live: JSON, *, now: datetime) -> Measurement:
    """volume_resized: the volume has the size that is asked for, its file system too."""
    asked, has = (
        dig(live, "spec", "resources", "requests", "storage"),
        dig(live, "status", "capacity", "storage"),
    )
    pending = condition(live, "FileSystemResizePending")
    if asked is None or has is None:
        phase, detail = Phase.RUNNING, "the volume's size is not known yet"
    elif parse_quantity(has) >= parse_quantity(asked):
        phase, detail = Phase.SUCCESSFUL, f"the volume has {has}"
    elif pending.status == "True":
        phase, detail = Phase.RUNNING, "the file system grows when the pod is started again"
    else:
        phase, detail = Phase.RUNNING, f"the volume has {has} of {asked}"
    return Measurement(check="volume_resized", phase=phase, detail=detail, at=now)


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
