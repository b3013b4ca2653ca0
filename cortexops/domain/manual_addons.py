"""Steps that only a person can take for causes in objects of add-ons: experiments, meshes, operators."""

from __future__ import annotations

from shlex import quote

from cortexops.domain.action import Risk
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.kubernetes import chaos, commands
from cortexops.domain.manual_steps import ManualStep, at, edit, merge, step
from cortexops.domain.resource import ResourceRef

_CHANGED = "Ask who changed it, and why, before changing it back."


def addon_step(cause: Hypothesis) -> ManualStep | None:
    """What a person can do about the cause, where it lies in an object of an add-on."""
    ref = cause.resource
    if cause.category is Category.CHAOS_EXPERIMENT:
        return _stop_experiment(cause)
    if cause.category is Category.AUTOSCALER_PAUSED:
        return _resume_autoscaler(cause)
    if cause.category is Category.SECRET_NOT_SYNCED:
        return _sync_again(cause)
    if cause.category in (Category.MESH_ROUTE, Category.MESH_POLICY):
        return step("change_object", ref, commands.history(ref), edit(ref), caveat=_CHANGED)
    if ref.kind == "ScaledObject" and cause.category is Category.HPA_MAXED_OUT:
        most = cause.facts.get("max_replicas", "")
        new = int(most) + max(1, int(most) // 2) if most.isdigit() else 0
        return step(
            "raise_autoscaler_maximum", ref, merge(ref, {"spec": {"maxReplicaCount": new}}) if new else edit(ref),
            max_replicas=str(new or ""),
            caveat="More pods need room on the nodes and may ask more of databases than they can give.",
        )  # fmt: skip
    if cause.category is Category.DELIVERY_FAILED:
        return step(
            "mend_delivery", ref, commands.describe(ref),
            caveat="Mend what it complains about where it is kept, in the repository: by hand it would be undone.",
        )  # fmt: skip
    return None


def _stop_experiment(cause: Hypothesis) -> ManualStep:
    """Whoever runs the experiment may want to see just this: a person decides."""
    ref, schedule = cause.resource, cause.facts.get("schedule", "")
    remove = f"kubectl {at(ref)}delete {commands.word(ref)} {quote(ref.name)}"
    if ref.kind == chaos.ENGINE:
        first = merge(ref, {"spec": {"engineState": "stop"}})
    else:
        held = _schedule(ref, schedule) if schedule else ref
        first = f"kubectl {at(held)}annotate {commands.word(held)} {quote(held.name)} {chaos.PAUSE}=true --overwrite"
    return step(
        "stop_experiment", ref, first, remove, schedule=schedule,
        caveat="For a person to decide: ask who runs the experiment, and whether it is meant to show just this. The"
        " first command ends it and keeps it for later, the second removes it.",
    )  # fmt: skip


def _schedule(experiment: ResourceRef, name: str) -> ResourceRef:
    return experiment.model_copy(update={"kind": chaos.SCHEDULE, "name": name})


def _resume_autoscaler(cause: Hypothesis) -> ManualStep:
    ref = cause.resource
    marks = " ".join(f"{quote(mark)}-" for mark in cause.facts.get("annotations", "").split(",") if mark)
    done = f"kubectl {at(ref)}annotate {commands.word(ref)} {quote(ref.name)} {marks}" if marks else edit(ref)
    return step(
        "resume_autoscaler", ref, done,
        caveat="Ask who paused it, and why: it scales at once then.",
    )  # fmt: skip


def _sync_again(cause: Hypothesis) -> ManualStep:
    ref = cause.resource
    done = [commands.describe(ref)]
    if ref.kind == "ExternalSecret":
        mark = "force-sync=now --overwrite"
        done.append(f"kubectl {at(ref)}annotate {commands.word(ref)} {quote(ref.name)} {mark}")
    return step(
        "sync_secret", ref, *done, risk=Risk.LOW,
        caveat="Mend first what it complains about: it would fail in the same way again.",
    )  # fmt: skip
