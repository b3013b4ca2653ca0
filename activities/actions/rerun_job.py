"""Run a failed Job once more, as a new Job made from the old one's template."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping
from datetime import datetime

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import Change, Verb
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import on_cause
from cortexops.domain.kubernetes.meta import condition
from cortexops.domain.kubernetes.pods import BAD_WAITING, container_states
from cortexops.domain.kubernetes.values import mapping, number, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import offered, refused

_ADDED = frozenset({
    "controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name",
})  # fmt: skip
"""Labels that the server gives to a Job's pods; they name the old Job."""
_OWNERS = (
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "app.kubernetes.io/instance",
)
"""A GitOps controller that finds these on an object which is not in Git removes it."""
_TRIED = 2
"""A job whose pods failed so often fails again: what is of the moment is over at the second try."""
_NEVER_RAN = (
    "Failed to pull image",
    "ErrImagePull",
    "FailedMount",
    "FailedScheduling",
    "CreateContainerConfigError",
)
_OLD = ("selector", "manualSelector", "suspend")
RERUN_OF = "cortexops.io/rerun-of"


class RerunJob:
    spec = ActionSpec(
        type="rerun_job",
        title="Run job again",
        description="Create a new Job from a failed Job's or a CronJob's template. The old one stays.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("Job", "CronJob"),
        params={},
        permissions=(
            Permission(group="batch", resource="jobs", verbs=("get", "create", "delete")),
            Permission(group="batch", resource="cronjobs", verbs=("get",)),
        ),
        criteria=("job_runs",),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        fits = (Category.JOB_FAILED, Category.JOB_DEADLINE_EXCEEDED)
        found = on_cause(self.spec, scene, diagnosis, *fits)
        if isinstance(found, list):
            return found
        action, live = found
        target = action.target
        if target.kind == "CronJob" and (why := _suspended(live)):
            return [refused(self.spec, action, Infeasible.BOUND_REACHED, f"{target} {why}")]
        if target.kind == "Job" and (why := _unfit(live)):
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, f"{target} {why}")]
        why = _in_vain(scene, target, diagnosis.cause.facts.get("job", "") if diagnosis.cause else "")
        if why:
            return [refused(self.spec, action, Infeasible.NOT_THE_CAUSE, why)]
        name = shlex.quote(f"{target.name[:50]}-again")
        command = (
            f"kubectl -n {shlex.quote(target.namespace)} create job {name} --from=cronjob/{shlex.quote(target.name)}"
            if target.kind == "CronJob"
            else f"kubectl -n {shlex.quote(target.namespace)} get job {shlex.quote(target.name)} -o yaml"
        )
        return [
            offered(
                self.spec,
                action,
                effect=0.35,
                why="it failed and is not tried again by itself; what failed may have been of the moment",
                radius=workload_radius(
                    scene, target, replicas=number(live, "spec", "parallelism", default=1)
                ),
                commands=(command,),
                caveats=(
                    "Mend what it failed on first: the same run fails the same way.",
                    "Only jobs that may run twice are safe to run again.",
                ),
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        target = action.target
        if target.kind == "Job":
            why = _unfit(live)
            if why:
                raise Rejected(f"{target} {why}")
            source = live
        else:
            why = _suspended(live) or _under_way(live)
            if why:  # asked again here: while people decide, its controller goes on
                raise Rejected(f"{target} {why}")
            source = mapping(live, "spec", "jobTemplate")
        spec = {
            key: value for key, value in copy.deepcopy(mapping(source, "spec")).items() if key not in _OLD
        }
        template = mapping(spec, "template")
        if not template:
            raise Rejected(f"{target} has no pod template to run")
        metadata = mapping(template, "metadata")
        metadata["labels"] = {k: v for k, v in mapping(metadata, "labels").items() if k not in _ADDED}
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "namespace": target.namespace,
                "labels": _kept(mapping(source, "metadata", "labels")),
                "annotations": {RERUN_OF: f"{target.kind}/{target.name}"},
            },
            "spec": spec,
        }
        template["metadata"] = {key: value for key, value in metadata.items() if key != "creationTimestamp"}
        change = Change(verb=Verb.CREATE, target=target, uid=live["metadata"]["uid"], body=body)
        return Prepared(action=action, change=change)


def _unfit(job: JSON) -> str:
    """Why a Job is not run again."""
    if condition(job, "Complete").status == "True":
        return "is complete: there is nothing to run again"
    if condition(job, "Failed").status != "True":
        return "has not failed (yet): its own controller tries again"
    return ""


def _suspended(cron_job: JSON) -> str:
    suspended = mapping(cron_job, "spec").get("suspend")
    return "is suspended: somebody does not want it to run" if suspended else ""


def _under_way(cron_job: JSON) -> str:
    """Why no run is started now, or nothing. Whatever its concurrency policy is: runs that it lets stand side by
    side are still two where people agreed to one."""
    if objects(cron_job, "status", "active"):
        return "has a run under way: another one would stand beside it"
    return ""


def _in_vain(scene: Scene, target: ResourceRef, job: str) -> str:
    """Why one more run would fail as the last one did, or stand beside one that is under way; or nothing."""
    ref = scene.ref("Job", target.namespace, job) if job else target
    live = scene.get(target) or {}
    if target.kind == "CronJob" and (why := _under_way(live)):
        return f"{target} {why}"
    pods = [pod for _, pod in scene.pods_of(ref)]
    failed = max(
        number(scene.get(ref) or {}, "status", "failed"),
        sum(text(pod, "status", "phase") == "Failed" for pod in pods),
    )
    if failed >= _TRIED:
        return f"{ref} was tried {failed} times and failed each time: the same run fails in the same way"
    waiting = next((s.waiting for pod in pods for s in container_states(pod) if s.waiting in BAD_WAITING), "")
    said = next(
        (
            word
            for event in scene.events
            if event.about.kind == "Pod" and event.about.name.startswith(f"{ref.name}-")
            for word in _NEVER_RAN
            if word in (event.reason, event.message[: len(word)])
        ),
        "",
    )
    if waiting or said:
        return f"pods of {ref} did not get to run ({waiting or said}): another run waits in the same way"
    return ""


def _kept(labels: JSON) -> JSON:
    return {k: v for k, v in labels.items() if k not in _ADDED and not k.startswith(_OWNERS)}


register(RerunJob())
