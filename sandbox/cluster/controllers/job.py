"""Jobs: pods that run to completion, tried again up to the back-off limit."""

from __future__ import annotations

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.base import Controller
from sandbox.cluster.controllers.clock import stamp
from sandbox.cluster.controllers.objects import (
    is_active,
    is_ready,
    is_true,
    owner_uids,
    random_suffix,
    with_condition,
)
from sandbox.cluster.controllers.pods import pod_from_template

COMPONENT = "job-controller"


class JobController(Controller):
    """Counts successes and failures from the pods' phases."""

    def register(self) -> None:
        self.jobs = self.context.informers["Job"]
        self.pods = self.context.informers["Pod"]
        self.pods.add_index("owner", owner_uids)
        self.jobs.on_change(self.enqueue)
        self.enqueue_owner("Pod")

    async def reconcile(self, key: str) -> float | None:
        job = self.jobs.get(key)
        if job is None or job["metadata"].get("deletionTimestamp"):
            return None
        if is_true(job, "Complete") or is_true(job, "Failed") or job["spec"].get("suspend"):
            return None
        pods = self.pods.find("owner", job["metadata"]["uid"])
        phases = [(pod.get("status") or {}).get("phase") for pod in pods]
        succeeded, failed = phases.count("Succeeded"), phases.count("Failed")
        active = [pod for pod in pods if is_active(pod)]
        completions = int(job["spec"].get("completions") or 1)
        limit = int(job["spec"].get("backoffLimit", 6))
        retries = failed + sum(_restarts(pod) for pod in active)
        now = self.context.clock.now()
        old = job.get("status") or {}
        status: JSON = {
            "startTime": old.get("startTime") or stamp(now),
            "active": len(active),
            "ready": sum(is_ready(pod) for pod in active),
            "succeeded": succeeded,
            "failed": failed,
            "conditions": list(old.get("conditions") or ()),
        }
        if succeeded >= completions:
            status["completionTime"] = stamp(now)
            status["conditions"] = with_condition(status["conditions"], "Complete", "True", "", "", now=now)
            self.context.tell("Job", job, "Completed", "Job completed", COMPONENT)
        elif retries > limit:
            message = "Job has reached the specified backoff limit"
            status["conditions"] = with_condition(
                status["conditions"], "Failed", "True", "BackoffLimitExceeded", message, now=now
            )
            self.context.tell("Job", job, "BackoffLimitExceeded", message, COMPONENT, warn=True)
            status |= {"active": 0, "ready": 0}
            for pod in active:
                await self.context.delete("Pod", pod)
        else:
            room = min(int(job["spec"].get("parallelism", 1)), completions - succeeded) - len(active)
            for _ in range(max(0, room)):
                await self._make(job)
            status["active"] = len(active) + max(0, room)
        if {**old, **status} != old:
            current = self.jobs.get(key) or job
            await self.context.replace("Job", {**current, "status": status}, subresource="status")
        return None

    async def _make(self, job: JSON) -> None:
        name = f"{job['metadata']['name']}-{random_suffix()}"
        pod = pod_from_template(job, "batch/v1", "Job", job["spec"]["template"], name)
        pod["metadata"]["labels"] |= {
            "job-name": job["metadata"]["name"],
            "controller-uid": job["metadata"]["uid"],
            "batch.kubernetes.io/job-name": job["metadata"]["name"],
        }
        await self.context.create("Pod", pod)
        self.context.tell("Job", job, "SuccessfulCreate", f"Created pod: {name}", COMPONENT)


def _restarts(pod: JSON) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(int(entry.get("restartCount", 0)) for entry in statuses)
