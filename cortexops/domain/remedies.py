"""What speaks for and against a remedy in what was seen: whether it touches the cause, or would not last."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from cortexops.domain.action import Candidate, Infeasible
from cortexops.domain.diagnosis import Diagnosis, Hypothesis, Verdict
from cortexops.domain.kubernetes import complaints, meta, pods
from cortexops.domain.kubernetes.schemas import migrates
from cortexops.domain.kubernetes.values import amount, mapping, objects, text, words
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation
from cortexops.domain.words import counted

_BLAMED_FOR = timedelta(hours=24)
_SLACK = timedelta(minutes=1)  # clocks, and alerts that name the minute
_GROWS = timedelta(minutes=10)
_TAKEN_UP_AGAIN = "deployment.kubernetes.io/revision-history"
_LOCK = re.compile(
    r"(?i)(chang\w* ?log|migrations?|advisory|schema|databasechangelog|exclusive|table)[\s_-]*lock|"
    r"lock\w*[^.;]{0,40}\b(held|taken|acquired) by|"
    r"(wait\w*|acquir\w*|obtain\w*|get)\b[^.;]{0,30}\block\b|\block timeout"
)
_HEAP = re.compile(r"(?:-Xmx|--max-old-space-size[= ])(\d+)([kKmMgG]?)")


def unconfirmed(candidate: Candidate, diagnosis: Diagnosis) -> Candidate:
    """Refused while the cause is a hypothesis only: a person confirms it first, and then has the commands."""
    if diagnosis.verdict is not Verdict.HYPOTHESIS or not candidate.feasible:
        return candidate
    return candidate.model_copy(
        update={
            "feasible": False,
            "infeasible": Infeasible.CAUSE_UNCONFIRMED,
            "why": f"the cause is a hypothesis only; once it is confirmed: {candidate.why}",
        }
    )


def beside_the_cause(candidate: Candidate, scene: Scene, diagnosis: Diagnosis) -> Candidate:
    """Refused where its target is neither the cause's object, nor what owns that, nor a workload that asks for it:
    who merely suffers is left alone."""
    cause, target = diagnosis.cause, candidate.action.target
    if cause is None or not candidate.feasible or _concerned(scene, cause.resource, target):
        return candidate
    return candidate.model_copy(
        update={
            "feasible": False,
            "infeasible": Infeasible.NOT_THE_CAUSE,
            "why": f"{target} suffers from {cause.resource} and does not ask for it: a change of it mends nothing",
        }
    )


def _concerned(scene: Scene, cause: ResourceRef, target: ResourceRef) -> bool:
    above, here = {cause}, [cause]
    while here:
        here = [up for ref in here for up in scene.topology.into(ref, Relation.OWNS) if up not in above]
        above.update(here)
    within = target.namespace == cause.namespace or not cause.namespace
    return target in above or (
        within and names(mapping(scene.get(target) or {}, "spec", "template"), cause.name)
    )


def not_of_the_release(scene: Scene, cause: Hypothesis, target: ResourceRef, live: JSON) -> str:
    """Why going back to an earlier revision would not touch the cause; empty where the release may have
    brought it. What the diagnosis established about the release is taken from it."""
    if cause.support.precedes_onset is False:
        return f"the trouble began before the present revision of {target} was released"
    if cause.facts.get("previous_revision"):
        return ""
    at = _rolled_out(scene, target, live)
    if at is None:
        return ""
    if at > scene.onset + _SLACK:
        return f"the trouble began before the present revision of {target} was released"
    if scene.onset - at > _BLAMED_FOR:
        served = counted((scene.onset - at).days, "day")
        return f"the present revision of {target} served for {served} before the trouble began"
    return ""


def _rolled_out(scene: Scene, target: ResourceRef, live: JSON) -> datetime | None:
    revisions = scene.revisions(target)
    if not revisions:
        return None
    newest = revisions[0][2]
    if _TAKEN_UP_AGAIN in meta.annotations_of(newest):
        write = meta.writes(live, "spec", "template")
        return write.at if write is not None else None
    return meta.created(newest)


def names(template: JSON, *said: str) -> bool:
    """Whether the pod template names all of these objects or keys somewhere."""
    quoted = json.dumps(mapping(template, "spec"), ensure_ascii=False)
    return all(json.dumps(one, ensure_ascii=False) in quoted for one in said if one)


def migrations(present: JSON, earlier: JSON) -> list[str]:
    """Names of init containers that seem to change a database's schema and are not the same in the earlier
    template: what they have done there stays when the template goes back."""
    before = {text(one, "name"): one for one in objects(earlier, "spec", "initContainers")}
    return [
        text(one, "name")
        for one in objects(present, "spec", "initContainers")
        if before.get(text(one, "name")) != one and migrates(one)
    ]


def waits_for_a_lock(scene: Scene, container: str) -> str:
    """The last line in which an init container that has not ended says that it waits for a lock; or nothing."""
    for log in scene.logs:
        pod = scene.get(log.pod)
        if log.container != container or log.previous or pod is None:
            continue
        states = [state for state in pods.container_states(pod) if state.name == container]
        if any(state.init and state.running_since is not None for state in states):
            return lock_words(log.lines)
    return ""


def lock_words(lines: Sequence[str]) -> str:
    """The last of the lines that speaks of a lock which is held or waited for."""
    return next((line for line in reversed(lines[-20:]) if _LOCK.search(line)), "")


def out_of_heap(scene: Scene, workload: ResourceRef, container: str) -> bool:
    """Whether the program says of itself that it used up the memory which its own runtime allows it."""
    own = {ref for ref, _ in scene.pods_of(workload)}
    return any(
        complaints.out_of_heap(log.lines)
        for log in scene.logs
        if log.pod in own and log.container == container
    )


def heap_of(container: JSON) -> tuple[Decimal, str] | None:
    """How large its own flags let the program's heap grow, in bytes, and the flag."""
    told = [text(each, "value") for each in objects(container, "env")]
    for word in (*told, *words(container, "args"), *words(container, "command")):
        if (found := _HEAP.search(word)) is not None:
            unit = (found.group(2) or ("m" if found.group(0).startswith("--") else "")).upper()
            return parse_quantity(f"{found.group(1)}{unit + 'i' if unit else ''}"), found.group(0)
    return None


def grows_slowly(scene: Scene, workload: ResourceRef, container: str) -> bool:
    """Whether every run of the container that ended had lasted a while: its memory grew, it did not start
    too large."""
    lived = [
        ended.seconds or 0.0
        for _, pod in scene.pods_of(workload)
        for state in pods.container_states(pod)
        if state.name == container
        for ended in (state.ended, state.last)
        if ended is not None
    ]
    return bool(lived) and min(lived) >= _GROWS.total_seconds()


def given_otherwise(scene: Scene, workload: ResourceRef, container: JSON, resource: str) -> str:
    """The limit that pods of the present template were given in place of its own, by admission or an autoscaler;
    empty where they have what it says."""
    declared = text(container, "resources", "limits", resource)
    for _, pod in scene.pods_of(workload):
        given = text(pods.spec_of(pod, text(container, "name")), "resources", "limits", resource)
        if given and declared and _amount(given) != _amount(declared) and _is_newest(scene, workload, pod):
            return given
    return ""


def _amount(quantity: str) -> Decimal | None:
    return amount({"of": quantity}, "of")


def _is_newest(scene: Scene, workload: ResourceRef, pod: JSON) -> bool:
    """Whether the pod is not of an earlier revision, as far as that can be told."""
    revisions = scene.revisions(workload)
    owner = meta.owner(pod)
    return not revisions or owner is None or owner[1] == revisions[0][1].name


def lowered_from(scene: Scene, target: ResourceRef, container: str, resource: str) -> str:
    """The limit that the container had in the revision before, where the present one lowered it."""
    limits = [
        text(pods.spec_of(mapping(one, "spec", "template"), container), "resources", "limits", resource)
        for _, _, one in scene.revisions(target)[:2]
    ]
    known = [found for limit in limits if (found := _amount(limit)) is not None]
    return limits[1] if len(known) == 2 and known[0] < known[1] else ""
