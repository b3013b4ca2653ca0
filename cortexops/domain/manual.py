"""What a person can do about a cause, as commands with real names: for causes that no action here mends."""

from __future__ import annotations

import json
from collections.abc import Callable
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


_WHEN_READ = "Pods read it when they start: nothing changes until they are restarted."


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
    if cause.resource.kind == "Rollout" and cause.facts.get("previous_revision"):
        return [_with_evidence(diagnosis, _undo_rollout(cause), cause)]
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
    revision = cause.facts.get("previous_revision", "")
    undoes = cause.category not in _STEPS or cause.category is Category.RBAC_DENIED
    if revision and undoes and cause.resource.kind in _RESTARTABLE:
        back = f"kubectl {_in(cause.resource)}rollout undo {_what(cause.resource)} --to-revision={quote(revision)}"
        step = _step(
            "roll_back", cause.resource, back, to_revision=revision,
            caveat="What the present revision brought is gone until it is rolled out again.",
        )  # fmt: skip
        return [_with_evidence(diagnosis, step, cause)]
    make = _STEPS.get(cause.category)
    return [_with_evidence(diagnosis, make(cause, workload) if make else None, cause)]


def _undo_rollout(cause: Hypothesis) -> ManualStep:
    """An Argo Rollout goes back with a plug-in of its own: what kubectl has for Deployments does not know it."""
    ref, revision = cause.resource, cause.facts["previous_revision"]
    return _step(
        "roll_back", ref, f"kubectl argo rollouts {_in(ref)}abort {quote(ref.name)}",
        f"kubectl argo rollouts {_in(ref)}undo {quote(ref.name)} --to-revision={quote(revision)}",
        caveat="Needs kubectl's plug-in for Argo Rollouts. What the present revision brought is gone then.",
        to_revision=revision,
    )  # fmt: skip


def _with_evidence(diagnosis: Diagnosis, step: ManualStep | None, cause: Hypothesis) -> ManualStep:
    """The step with the command first that shows why; without a step, only those that show the evidence."""
    look = _look(diagnosis, cause)
    if step is None:
        return look
    return step.model_copy(update={"commands": tuple(dict.fromkeys((*look.commands[:1], *step.commands)))})


def _step(
    kind: str, ref: ResourceRef, *done: str, risk: Risk = Risk.MEDIUM, caveat: str = "", **params: str
) -> ManualStep:
    return ManualStep(
        type=kind,
        target=ref,
        params={key: value for key, value in params.items() if value},
        risk=risk,
        commands=done,
        caveats=(caveat,) if caveat else (),
    )


def _merge(ref: ResourceRef, patch: object) -> str:
    """A merge patch as a command."""
    body = quote(json.dumps(patch, ensure_ascii=False, separators=(",", ":")))
    return f"kubectl {_in(ref)}patch {ref.kind.lower()} {quote(ref.name)} --type merge -p {body}"


def _edit(ref: ResourceRef) -> str:
    return f"kubectl {_in(ref)}edit {ref.kind.lower()} {quote(ref.name)}"


def _doubled(quantity: str) -> str:
    """Twice a quantity such as 10Gi or 200m; empty when it is none."""
    digits = quantity.rstrip("KMGTPEikm")
    return f"{int(digits) * 2}{quantity[len(digits) :]}" if digits.isdigit() else ""


def _uncordon(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    if taint := cause.facts.get("taint"):
        return _step(
            "untaint_node", cause.resource,
            f"kubectl taint nodes {quote(cause.resource.name)} {quote(taint)}-", taint=taint, risk=Risk.LOW,
            caveat="Ask who tainted it, and why; else let the pods tolerate the taint.",
        )  # fmt: skip
    return _step(
        "uncordon_node", cause.resource, f"kubectl uncordon {quote(cause.resource.name)}", risk=Risk.LOW,
        caveat="Ask who cordoned it: it may be about to be replaced.",
    )  # fmt: skip


def _grow_volume(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    size = _doubled(cause.facts.get("size", ""))
    patch = {"spec": {"resources": {"requests": {"storage": size or "SIZE"}}}}
    return _step(
        "expand_volume", cause.resource, _merge(cause.resource, patch), size=size,
        caveat="Works where the storage class allows expansion; clean up first where data may go.",
    )  # fmt: skip


def _recreate(cause: Hypothesis, workload: ResourceRef | None) -> ManualStep:
    done = [f"kubectl {_in(cause.resource)}get pods -o wide", commands.describe(cause.resource)]
    if workload is not None and workload.kind == "Deployment":
        done.append(_merge(workload, {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}))
    return _step(
        "release_volume", cause.resource, *done,
        caveat="The old pod must end before the new one can have the volume.",
    )  # fmt: skip


def _renew(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    ref = cause.resource
    if cause.facts.get("issued"):
        space, name = quote(ref.namespace), quote(ref.name)
        return _step(
            "renew_certificate", ref, f"kubectl -n {space} describe certificate {name}",
            f"kubectl -n {space} get certificaterequests,orders,challenges", f"cmctl renew -n {space} {name}",
            caveat="Mend first what the issuer complains about: it would fail in the same way again.",
        )  # fmt: skip
    create = f"kubectl {_in(ref)}create secret tls {quote(ref.name)} --cert=FILE --key=FILE"
    return _step(
        "renew_certificate", ref, f"{create} --dry-run=client -o yaml | kubectl apply -f -",
        caveat="Where cert-manager issues it, look at its Certificate first: it would overwrite this.",
    )  # fmt: skip


def _grant(cause: Hypothesis, workload: ResourceRef | None) -> ManualStep:
    ref, facts = cause.resource, cause.facts
    verb, resource = quote(facts.get("verb", "VERB")), quote(facts.get("resource", "RESOURCE"))
    done = [_edit(ref)] if ref.kind in ("Role", "ClusterRole") else []
    account = facts.get("account", "")
    space = ref.namespace or (workload.namespace if workload else "")
    if account and space:
        done.append(
            f"kubectl auth can-i {verb} {resource} -n {quote(space)}"
            f" --as=system:serviceaccount:{quote(space)}:{quote(account)}"
        )
    return _step(
        "grant_permission", ref, *done, verb=facts.get("verb", ""), resource=facts.get("resource", ""),
        caveat="Grant this verb on this resource only, and only if the program should have it.",
    )  # fmt: skip


def _raise_maximum(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    most = cause.facts.get("max_replicas", "")
    new = str(int(most) + max(1, int(most) // 2)) if most.isdigit() else ""
    patch = {"spec": {"maxReplicas": int(new) if new else 0}}
    done = (_merge(cause.resource, patch),) if new else (_edit(cause.resource),)
    return _step(
        "raise_autoscaler_maximum", cause.resource, *done, max_replicas=new,
        caveat="More pods need room on the nodes and may ask more of databases than they can give.",
    )  # fmt: skip


def _more_cpu(cause: Hypothesis, workload: ResourceRef | None) -> ManualStep:
    new = _doubled(cause.facts.get("cpu_limit", ""))
    ref = cause.resource
    command = f"kubectl {_in(ref)}set resources {_what(ref)} -c {quote(cause.container)} --limits=cpu={new}"
    return _step(
        "adjust_cpu_limit", ref, command if new else _edit(ref), cpu_limit=new,
        caveat="The pods are rolled.",
    )  # fmt: skip


def _suspend(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    return _step(
        "resume_cronjob", cause.resource, _merge(cause.resource, {"spec": {"suspend": False}}), risk=Risk.LOW,
        caveat="Ask why it was suspended.",
    )  # fmt: skip


def _resume(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    ref = cause.resource
    return _step(
        "resume_rollout", ref, f"kubectl {_in(ref)}rollout resume {_what(ref)}",
        caveat="What waited is rolled out then.",
    )  # fmt: skip


def _account(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    ref = cause.resource
    return _step(
        "create_service_account", ref, f"kubectl {_in(ref)}create serviceaccount {quote(ref.name)}",
        caveat="Its bindings are needed, too.",
    )  # fmt: skip


def _run_again(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    ref, job = cause.resource, cause.facts.get("job", "")
    name = quote(f"{(job or ref.name)[:50]}-again")
    again = (
        f"kubectl {_in(ref)}create job {name} --from=cronjob/{quote(ref.name)}"
        if ref.kind == "CronJob"
        else f"kubectl {_in(ref)}get job {quote(ref.name)} -o yaml"
    )
    return _step("run_job_again", ref, again, caveat="Mend what it failed on first.")


def _change(cause: Hypothesis, workload: ResourceRef | None) -> ManualStep:
    """Back to what it was: the history says who changed what, a person edits it."""
    if cause.facts.get("absent"):
        ref = cause.resource
        return _step(
            "create_object", ref, f"kubectl {_in(ref)}get {ref.kind.lower()}",
            caveat=f"{ref} does not exist: create it again, or change who asks for it.",
        )  # fmt: skip
    if cause.facts.get("undeclared") and workload is not None:
        return _step(
            "declare_resources", workload, _edit(workload),
            f"kubectl {_in(workload)}get limitrange",
            caveat=f"Each container has to declare {cause.facts['undeclared']}, or a LimitRange of the namespace"
            f" has to give it as a default; else change {cause.resource}.",
        )  # fmt: skip
    if cause.facts.get("other_budget"):
        ref, other = cause.resource, quote(cause.facts["other_budget"])
        return _step(
            "change_object", ref, _edit(ref), f"kubectl {_in(ref)}get poddisruptionbudget {other} -o yaml",
            caveat="One budget a pod: narrow the selector of one of the two, or delete it.",
        )  # fmt: skip
    return _step(
        "change_object", cause.resource, commands.history(cause.resource), _edit(cause.resource),
        caveat="Ask who changed it, and why, before changing it back.",
    )  # fmt: skip


_STEPS: dict[Category, Callable[[Hypothesis, ResourceRef | None], ManualStep]] = {
    Category.NODE_UNSCHEDULABLE: _uncordon,
    Category.VOLUME_FULL: _grow_volume,
    Category.VOLUME_MULTI_ATTACH: _recreate,
    Category.CERTIFICATE_EXPIRED: _renew,
    Category.RBAC_DENIED: _grant,
    Category.HPA_MAXED_OUT: _raise_maximum,
    Category.CPU_THROTTLING: _more_cpu,
    Category.CRONJOB_SUSPENDED: _suspend,
    Category.ROLLOUT_PAUSED: _resume,
    Category.SERVICE_ACCOUNT_MISSING: _account,
    Category.JOB_FAILED: _run_again,
    Category.JOB_DEADLINE_EXCEEDED: _run_again,
    Category.NETWORK_POLICY: _change,
    Category.LIMIT_RANGE: _change,
    Category.QUOTA_EXCEEDED: _change,
    Category.SERVICE_MISROUTED: _change,
    Category.PDB_BLOCKS_EVICTION: _change,
    Category.ADMISSION_WEBHOOK: _change,
}


def _configuration(cause: Hypothesis, workload: ResourceRef | None) -> ManualStep:
    ref, key = cause.resource, cause.facts.get("key", "")
    previous = cause.facts.get("previous_value")
    if cause.facts.get("holder"):
        return _restart_holder(cause)
    absent = cause.category is Category.CONFIG_MISSING and not key
    if absent and cause.facts.get("tls"):
        first = f"kubectl {_in(ref)}create secret tls {quote(ref.name)} --cert=FILE --key=FILE"
    elif absent:
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
        commands=(first, *then) if absent else (commands.history(ref), first, *then),
        caveats=(
            f"Check who else reads {ref} before {'creating it' if absent else 'changing it back'}.",
            "Pods wait for it." if absent else _WHEN_READ,
        ),
    )


def _restart_holder(cause: Hypothesis) -> ManualStep:
    """The value is new, and those that still hold the old one have to read it."""
    facts = cause.facts
    ref = cause.resource.model_copy(update={"kind": facts.get("holder_kind", ""), "name": facts["holder"]})
    return ManualStep(
        type="restart_pods",
        target=ref,
        risk=Risk.LOW,
        commands=(
            commands.history(cause.resource),
            f"kubectl {_in(ref)}rollout restart {_what(ref)}",
            f"kubectl {_in(ref)}rollout status {_what(ref)}",
        ),
        caveats=(
            "Make sure first that the server expects the new value: the pods will use it from then on.",
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
