"""Is it well? Measurements of a workload or a node from what the API server says, as pure functions."""

from __future__ import annotations

from datetime import UTC, datetime

from cortexops.domain.resource import JSON
from cortexops.domain.verification import Measurement, Phase

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


def measure_node(live: JSON, *, now: datetime) -> list[Measurement]:
    """node_unschedulable: whether new pods stay off the node."""
    cordoned = bool(live.get("spec", {}).get("unschedulable"))
    return [
        Measurement(
            check="node_unschedulable",
            phase=Phase.SUCCESSFUL if cordoned else Phase.FAILED,
            detail="cordoned" if cordoned else "schedulable again",
            at=now,
        )
    ]


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
