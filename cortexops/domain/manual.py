"""What a person can do about a cause, as commands with real names: for causes that no action here mends."""

from __future__ import annotations

import json
from shlex import quote

from pydantic import Field

from cortexops.domain.action import Risk
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis
from cortexops.domain.kubernetes import commands
from cortexops.domain.redaction import redact_value
from cortexops.domain.resource import Frozen, ResourceRef

_RESTARTABLE = ("Deployment", "StatefulSet", "DaemonSet")


class ManualStep(Frozen):
    """A proposal that nobody but a person carries out. `type` names the kind of change."""

    type: str
    target: ResourceRef
    params: dict[str, str] = Field(default_factory=dict)
    risk: Risk
    commands: tuple[str, ...]
    caveats: tuple[str, ...] = ()


def by_hand(diagnosis: Diagnosis, workload: ResourceRef | None) -> list[ManualStep]:
    """Steps for the leading cause; `workload` is the one that suffers. Looking again is always possible."""
    cause = diagnosis.cause
    if cause is None:
        return []
    if cause.category in (Category.CONFIGMAP_CHANGED, Category.SECRET_CHANGED, Category.CONFIG_MISSING):
        return [_configuration(cause, workload)]
    if cause.category in (Category.SCALED_TO_ZERO,):
        return [
            ManualStep(
                type="scale_workload",
                target=cause.resource,
                params={"replicas": "1"},
                risk=Risk.MEDIUM,
                commands=(f"kubectl {_in(cause.resource)}scale {_what(cause.resource)} --replicas=1",),
                caveats=("Ask who scaled it down, and why, before scaling it up.",),
            )
        ]
    if cause.facts.get("previous_image") and cause.container:
        pair = f"{cause.container}={cause.facts['previous_image']}"
        return [
            ManualStep(
                type="set_image",
                target=cause.resource,
                params={"container": cause.container, "image": cause.facts["previous_image"]},
                risk=Risk.MEDIUM,
                commands=(f"kubectl {_in(cause.resource)}set image {_what(cause.resource)} {quote(pair)}",),
                caveats=("The pods are rolled.",),
            )
        ]
    return [_look(diagnosis, cause)]


def _configuration(cause: Hypothesis, workload: ResourceRef | None) -> ManualStep:
    ref, key = cause.resource, cause.facts.get("key", "")
    previous = cause.facts.get("previous_value")
    if cause.category is Category.CONFIG_MISSING and not key:
        first = f"kubectl {_in(ref)}create {_create_word(ref)} {quote(ref.name)} --from-env-file=FILE"
    elif (
        previous is not None and redact_value(key, previous) == previous
    ):  # a secret is not put into a command
        patch = json.dumps({"data": {key: previous}}, ensure_ascii=False)
        first = f"kubectl {_in(ref)}patch {ref.kind.lower()} {quote(ref.name)} --type merge -p {quote(patch)}"
    else:
        first = f"kubectl {_in(ref)}edit {ref.kind.lower()} {quote(ref.name)}"
    then = []
    if workload is not None and workload.kind in _RESTARTABLE:
        then = [
            f"kubectl {_in(workload)}rollout restart {_what(workload)}",
            f"kubectl {_in(workload)}rollout status {_what(workload)}",
        ]
    params = {"key": key} if key else {}
    if previous is not None:
        params["value"] = previous
    return ManualStep(
        type="patch_config",
        target=ref,
        params=params,
        risk=Risk.MEDIUM,
        commands=(commands.history(ref), first, *then),
        caveats=(
            f"Check who else reads {ref} before changing it back.",
            "Pods read it when they start: nothing changes until they are restarted.",
        ),
    )


def _look(diagnosis: Diagnosis, cause: Hypothesis) -> ManualStep:
    """The commands that show the evidence again, for what only people can mend."""
    facts = {fact.id: fact for fact in diagnosis.evidence}
    shown = [facts[id].command for id in cause.evidence if id in facts and facts[id].command]
    outside = cause.category is Category.EXTERNAL_DEPENDENCY
    caveat = (
        f"{cause.resource.name} is outside the cluster: nothing that can be changed in here mends it."
        if outside
        else "No action of this product mends this cause; confirm it with these commands first."
    )
    return ManualStep(
        type="investigate_outside" if outside else "inspect",
        target=cause.resource,
        risk=Risk.LOW,
        commands=tuple(dict.fromkeys(shown))[:5],
        caveats=(caveat,),
    )


def _in(ref: ResourceRef) -> str:
    return f"-n {quote(ref.namespace)} " if ref.namespace else ""


def _what(ref: ResourceRef) -> str:
    return f"{ref.kind.lower()}/{quote(ref.name)}"


def _create_word(ref: ResourceRef) -> str:
    return "secret generic" if ref.kind == "Secret" else ref.kind.lower()
