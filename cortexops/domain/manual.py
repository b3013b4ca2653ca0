"""What a person can do about a cause, as commands with real names: for causes that no action here mends."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from shlex import quote

from cortexops.domain.action import Candidate, Infeasible, Risk
from cortexops.domain.around import Around
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Verdict
from cortexops.domain.kubernetes import commands, complaints
from cortexops.domain.manual_addons import addon_step
from cortexops.domain.manual_steps import STEPS, ManualStep, at, step, what
from cortexops.domain.ownership import writes_again
from cortexops.domain.redaction import redact_value
from cortexops.domain.remedies import lock_words
from cortexops.domain.resource import ResourceRef

__all__ = ["ManualStep", "by_hand"]

_RESTARTABLE = ("Deployment", "StatefulSet", "DaemonSet")
_CONFIGURATION = (Category.CONFIGMAP_CHANGED, Category.SECRET_CHANGED, Category.CONFIG_MISSING)
_OUTSIDE = (
    Category.EXTERNAL_DEPENDENCY,
    Category.REGISTRY_UNREACHABLE,
    Category.REGISTRY_RATE_LIMITED,
)
"""What no change in the cluster mends."""
_NODE = (Category.NODE_NOT_READY, Category.NODE_PRESSURE)
_RELEASE = ("rollback_rollout", "roll_back", "set_image")
_SAME = {"roll_back": _RELEASE, "set_image": _RELEASE, "run_job_again": ("rerun_job",)}
"""Steps of people that do the same as an action: what speaks against the one speaks against the other."""
_FINAL = (Infeasible.NOT_THE_CAUSE, Infeasible.SET_BY_ANOTHER)
_CHANGING = frozenset({"edit", "patch", "apply", "create", "set", "scale", "delete", "rollout"})
_WHEN_READ = "Pods read it when they start: nothing changes until they are restarted."
_UNSURE = "The cause is a hypothesis: confirm it before anything is changed."
_GO_ON = "Pods that wait for it go on by themselves: nothing has to be restarted."
_LOCK = (
    "Find out who holds the lock: a migration that was killed leaves it behind. Release it with the migration tool's"
    " own command once nobody migrates; the pods then go on by themselves."
)
_ADVICE = {
    Category.CONNECTION_SATURATION: "More replicas take more connections: scale nothing up. Find who holds them.",
    Category.IMAGE_PULL_DENIED: "Have the credentials renewed where they come from; pods pull by themselves then.",
    Category.NODE_PRESSURE: "Find what uses it up, and bound that with limits, before the node takes pods again.",
    Category.DISK_EXHAUSTED: "Find what it writes there; give it a volume, or more ephemeral-storage, or less to keep.",
    Category.WRONG_ARCHITECTURE: "Have the image built for that architecture, or keep its pods to nodes it is built"
    " for (nodeSelector kubernetes.io/arch).",
    Category.MEMORY_LEAK: "Have a heap or memory profile taken before the next restart: that shows what grows.",
}


def by_hand(
    diagnosis: Diagnosis,
    workload: ResourceRef | None,
    around: Around | None = None,
    candidates: Sequence[Candidate] = (),
) -> list[ManualStep]:
    """Steps for the leading cause; `workload` is the one that suffers. Looking again is always possible.

    `around` is what was seen of the cause's object; `candidates` are what the catalogue said, whose refusals
    hold for people, too, where the remedy itself would do nothing or harm.
    """
    cause = diagnosis.cause
    if cause is None:
        return []
    seen = around if around is not None and around.about == cause.resource else Around(about=cause.resource)
    writer = cause.facts.get("changed_by", "")
    if not seen.owner and writes_again(writer):
        seen = seen.model_copy(update={"owner": writer, "reverts": True})
    made = _made(diagnosis, cause, workload, seen)
    against = [
        each.why
        for each in candidates
        if each.infeasible in _FINAL and each.action.type in _SAME.get(made.type, (made.type,))
    ]
    if against:
        look = _look(diagnosis, cause)
        made = look.model_copy(update={"caveats": (*against, *look.caveats)})
    if seen.finalizers:
        held = f"{cause.resource} waits for its finalizers: {', '.join(seen.finalizers)}."
        made = made.model_copy(update={"caveats": (held, *made.caveats)})
    if diagnosis.verdict is Verdict.HYPOTHESIS:
        made = made.model_copy(update={"caveats": (_UNSURE, *made.caveats)})
    return [_through_owner(made, seen)]


def _made(diagnosis: Diagnosis, cause: Hypothesis, workload: ResourceRef | None, seen: Around) -> ManualStep:
    if cause.category in _OUTSIDE:
        return _look(diagnosis, cause)
    if cause.category in _NODE:
        return _node(diagnosis, cause, seen)
    if cause.category in _CONFIGURATION:
        return _configuration(cause, workload, seen)
    if cause.category is Category.SCALED_TO_ZERO:
        command = f"kubectl {at(cause.resource)}scale {what(cause.resource)} --replicas=1"
        caveat = "Ask who scaled it down, and why, before scaling it up."
        return step("scale_workload", cause.resource, command, caveat=caveat, replicas="1")
    if cause.category is Category.SCALED_DOWN:
        before = cause.facts.get("replicas_before", "1")
        command = f"kubectl {at(cause.resource)}scale {what(cause.resource)} --replicas={before}"
        caveat = "Ask who scaled it down, and why, before scaling it up."
        return step("scale_workload", cause.resource, command, caveat=caveat, replicas=before)
    if cause.resource.kind == "Rollout" and cause.facts.get("previous_revision"):
        return _with_evidence(diagnosis, _undo_rollout(cause), cause)
    back = _back(cause)
    if back is not None:
        return _with_evidence(diagnosis, back, cause)
    brought = addon_step(cause)
    if brought is not None:
        return _with_evidence(diagnosis, brought, cause)
    make = STEPS.get(cause.category)
    return _with_evidence(diagnosis, make(cause, workload) if make else None, cause)


def _back(cause: Hypothesis) -> ManualStep | None:
    """To the revision, or else to the image, that was before the release that brought the cause."""
    ref, revision = cause.resource, cause.facts.get("previous_revision", "")
    own = STEPS.get(cause.category) is not None and cause.category not in (
        Category.RBAC_DENIED, Category.OOM_LIMIT_TOO_LOW, Category.CPU_THROTTLING,
    )  # fmt: skip
    if ref.kind not in _RESTARTABLE or own:
        return None
    if revision:
        done = [f"kubectl {at(ref)}rollout undo {what(ref)} --to-revision={quote(revision)}"]
        caveat = "What the present revision brought is gone until it is rolled out again."
        pod = cause.facts.get("pod", "")
        if ref.kind == "StatefulSet" and pod:
            done.append(f"kubectl {at(ref)}delete pod {quote(pod)}")
            caveat += (
                " A StatefulSet waits for a pod that never gets ready: that one is deleted by hand, once."
            )
        return step("roll_back", ref, *done, to_revision=revision, caveat=caveat)
    image = cause.facts.get("previous_image", "")
    if not image or not cause.container:
        return None
    command = f"kubectl {at(ref)}set image {what(ref)} {quote(f'{cause.container}={image}')}"
    return step(
        "set_image", ref, command, container=cause.container, image=image, caveat="The pods are rolled."
    )


def _undo_rollout(cause: Hypothesis) -> ManualStep:
    """An Argo Rollout goes back with a plug-in of its own: what kubectl has for Deployments does not know it."""
    ref, revision = cause.resource, cause.facts["previous_revision"]
    return step(
        "roll_back", ref, f"kubectl argo rollouts {at(ref)}abort {quote(ref.name)}",
        f"kubectl argo rollouts {at(ref)}undo {quote(ref.name)} --to-revision={quote(revision)}",
        caveat="Needs kubectl's plug-in for Argo Rollouts. What the present revision brought is gone then.",
        to_revision=revision,
    )  # fmt: skip


def _with_evidence(diagnosis: Diagnosis, made: ManualStep | None, cause: Hypothesis) -> ManualStep:
    """The step with the command first that shows why; without a step, only those that show the evidence."""
    look = _look(diagnosis, cause)
    if made is None:
        return look
    return made.model_copy(update={"commands": tuple(dict.fromkeys((*look.commands[:1], *made.commands)))})


def _through_owner(made: ManualStep, seen: Around) -> ManualStep:
    """Without commands that change what an owner puts back; where that is all there was, with the history."""
    if not seen.owner:
        return made
    if not seen.reverts:
        caveat = f"{seen.owner} wrote {seen.about}: change it there, too, or the next upgrade overwrites it."
        return made.model_copy(update={"caveats": (*made.caveats, caveat)})
    kept = [command for command in made.commands if not _changes(command, seen.about)]
    caveat = f"{seen.owner} writes {seen.about} and puts back what is changed here: change it there."
    if len(kept) == len(made.commands):
        return made.model_copy(update={"caveats": (*made.caveats, caveat)})
    kept = list(dict.fromkeys((*kept, commands.history(seen.about))))
    return made.model_copy(update={"commands": tuple(kept), "params": {}, "caveats": (caveat, *made.caveats)})


def _changes(command: str, ref: ResourceRef) -> bool:
    """Whether the command changes this object; to start a workload's pods anew is no change that is put back."""
    said = shlex.split(command)
    named = any(word in (ref.name, f"{ref.kind.lower()}/{ref.name}") for word in said)
    return named and bool(_CHANGING & set(said)) and "restart" not in said and "status" not in said


def _configuration(cause: Hypothesis, workload: ResourceRef | None, seen: Around) -> ManualStep:
    ref, key = cause.resource, cause.facts.get("key", "")
    if cause.facts.get("holder"):
        return _restart_holder(cause)
    if cause.category is Category.CONFIG_MISSING:
        return _missing(cause, key)
    previous = cause.facts.get("previous_value")
    first = f"kubectl {at(ref)}edit {commands.word(ref)} {quote(ref.name)}"
    if previous is not None and redact_value(key, previous) == previous:  # no secret is put into a command
        patch = json.dumps({"data": {key: previous}}, ensure_ascii=False)
        first = (
            f"kubectl {at(ref)}patch {commands.word(ref)} {quote(ref.name)} --type merge -p {quote(patch)}"
        )
    reader = workload
    if seen.readers and workload not in seen.readers:
        reader = seen.readers[0]  # the one that suffers may only depend on whoever reads it
    then = []
    if reader is not None and reader.kind in _RESTARTABLE and not seen.reverts:
        then = [
            f"kubectl {at(reader)}rollout restart {what(reader)}",
            f"kubectl {at(reader)}rollout status {what(reader)}",
        ]
    made = step(
        "patch_config", ref, commands.history(ref), first, *then, key=key,
        caveat=f"Check who else reads {ref} before changing it back.", value=previous or "",
    )  # fmt: skip
    writer = cause.facts.get("changed_by", "")
    hint = f"{writer} wrote it: the value has to be right where it has it from, or it comes again." if (
        writer and not writer.startswith("kubectl") and not seen.owner
    ) else ""  # fmt: skip
    return made.model_copy(update={"caveats": (*((hint,) if hint else ()), *made.caveats, _WHEN_READ)})


def _missing(cause: Hypothesis, key: str) -> ManualStep:
    """What is not there is made; whoever waits for it goes on by itself."""
    ref, name = cause.resource, quote(cause.resource.name)
    if key:
        done = (commands.history(ref), f"kubectl {at(ref)}edit {commands.word(ref)} {name}")
        caveat = f"Give {ref} the key {key} again, where it is made."
    elif cause.facts.get("tls"):
        done = (
            f"kubectl {at(ref)}get secrets",
            f"kubectl {at(ref)}create secret tls {name} --cert=tls.crt --key=tls.key",
        )
        caveat = "Look first whether it has another name, or is to be issued; else tls.crt and tls.key are its files."
    else:
        kind, plural = ("secret generic", "secrets") if ref.kind == "Secret" else ("configmap", "configmaps")
        file = quote(f"{ref.name}.env")
        done = (
            f"kubectl {at(ref)}get {plural}",
            f"kubectl {at(ref)}create {kind} {name} --from-env-file={file}",
        )
        caveat = (
            f"Look first whether it is called otherwise; else write what it has to hold to {ref.name}.env."
        )
    made = step("patch_config", ref, *done, key=key, caveat=caveat)
    return made.model_copy(update={"caveats": (*made.caveats, _GO_ON)})


def _restart_holder(cause: Hypothesis) -> ManualStep:
    """The value is new, and those that still hold the old one have to read it."""
    facts = cause.facts
    ref = cause.resource.model_copy(update={"kind": facts.get("holder_kind", ""), "name": facts["holder"]})
    return step(
        "restart_pods", ref, commands.history(cause.resource),
        f"kubectl {at(ref)}rollout restart {what(ref)}", f"kubectl {at(ref)}rollout status {what(ref)}",
        risk=Risk.LOW,
        caveat="Make sure first that the server expects the new value: the pods will use it from then on.",
    )  # fmt: skip


def _node(diagnosis: Diagnosis, cause: Hypothesis, seen: Around) -> ManualStep:
    """What contains a node's trouble does not mend it: its machine is for people."""
    look, name = _look(diagnosis, cause), quote(cause.resource.name)
    done = (
        commands.describe(cause.resource),
        f"kubectl get pods -A --field-selector spec.nodeName={name}",
    )
    if not seen.silent:
        return look.model_copy(update={"commands": tuple(dict.fromkeys((*done, *look.commands)))[:5]})
    fence = f"kubectl taint nodes {name} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    return step(
        "fence_node", cause.resource, *done, fence, risk=Risk.HIGH,
        caveat="The taint only once the machine is known to be off: it removes the pods by force and detaches their"
        " volumes, and two writers destroy a volume. Take it off again when the node is back.",
    )  # fmt: skip


def _look(diagnosis: Diagnosis, cause: Hypothesis) -> ManualStep:
    """The commands that show the evidence again, for what only people can mend."""
    facts = {fact.id: fact for fact in diagnosis.evidence}
    shown = [facts[id].command for id in cause.evidence if id in facts and facts[id].command]
    caveat = "No action of this product mends this cause; confirm it with these commands first."
    if cause.category is Category.EXTERNAL_DEPENDENCY:
        caveat = (
            f"{cause.resource.name} is outside the cluster: nothing that can be changed in here mends it."
        )
    elif cause.category in _OUTSIDE:
        then = "a Job that has ended is made anew" if cause.facts.get("job") else "pods pull by themselves"
        caveat = f"The registry has to answer again: nothing changed in here mends it, and {then} then."
    advice = _advice(cause)
    return ManualStep(
        type="investigate_outside" if cause.category in _OUTSIDE else "inspect",
        target=cause.resource,
        risk=Risk.LOW,
        commands=tuple(dict.fromkeys(shown))[:5],
        caveats=(caveat, *((advice,) if advice else ())),
    )


def _advice(cause: Hypothesis) -> str:
    if cause.category is Category.INIT_CONTAINER_FAILED and lock_words((cause.summary,)):
        return _LOCK
    if cause.category is Category.VOLUME_UNBOUND and cause.facts.get("storage_class"):
        return "A claim's storage class cannot be changed: make that class, or name another in a new claim."
    if cause.category is Category.CRASH and complaints.out_of_heap((cause.summary,)):
        return (
            "Raise its heap option together with the container's limit, or find what fills it (a heap dump)."
        )
    return _ADVICE.get(cause.category, "")
