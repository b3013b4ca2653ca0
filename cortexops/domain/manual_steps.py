"""The steps for each category of cause that only a person can take, with the commands for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from shlex import quote

from pydantic import Field

from cortexops.domain.action import Risk
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.kubernetes import commands
from cortexops.domain.resource import KINDS, Frozen, ResourceRef

_CLUSTER_WIDE = frozenset(kind.plural for kind in KINDS.values() if not kind.namespaced)


class ManualStep(Frozen):
    """A proposal that nobody but a person carries out. `type` names the kind of change."""

    type: str
    target: ResourceRef
    params: dict[str, str] = Field(default_factory=dict)
    risk: Risk
    commands: tuple[str, ...]
    caveats: tuple[str, ...] = ()


Make = Callable[[Hypothesis, ResourceRef | None], ManualStep | None]


def step(
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


def at(ref: ResourceRef) -> str:
    """The option that names the object's namespace, with a space behind it."""
    return f"-n {quote(ref.namespace)} " if ref.namespace else ""


def what(ref: ResourceRef) -> str:
    return f"{ref.kind.lower()}/{quote(ref.name)}"


def merge(ref: ResourceRef, patch: object) -> str:
    """A merge patch as a command."""
    body = quote(json.dumps(patch, ensure_ascii=False, separators=(",", ":")))
    return f"kubectl {at(ref)}patch {commands.word(ref)} {quote(ref.name)} --type merge -p {body}"


def edit(ref: ResourceRef) -> str:
    return f"kubectl {at(ref)}edit {commands.word(ref)} {quote(ref.name)}"


def doubled(quantity: str) -> str:
    """Twice a quantity such as 10Gi or 200m; empty when it is none."""
    digits = quantity.rstrip("KMGTPEikm")
    return f"{int(digits) * 2}{quantity[len(digits) :]}" if digits.isdigit() else ""


def _uncordon(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    if taint := cause.facts.get("taint"):
        return step(
            "untaint_node", cause.resource,
            f"kubectl taint nodes {quote(cause.resource.name)} {quote(taint)}-", taint=taint,
            caveat="Ask who tainted it, and why, before anything else; else let the pods tolerate the taint.",
        )  # fmt: skip
    return step(
        "uncordon_node", cause.resource, f"kubectl uncordon {quote(cause.resource.name)}",
        caveat="Ask who cordoned it: it may be about to be replaced.",
    )  # fmt: skip


def _grow_volume(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    size = doubled(cause.facts.get("size", ""))
    patch = {"spec": {"resources": {"requests": {"storage": size}}}}
    return step(
        "expand_volume", cause.resource, "kubectl get storageclass",
        merge(cause.resource, patch) if size else edit(cause.resource), size=size,
        caveat="Works where the storage class allows expansion, and cannot be undone; clean up first where data may"
        " go.",
    )  # fmt: skip


def _recreate(cause: Hypothesis, workload: ResourceRef | None) -> ManualStep:
    done = [f"kubectl {at(cause.resource)}get pods -o wide", commands.describe(cause.resource)]
    if workload is not None and workload.kind == "Deployment":
        done.append(merge(workload, {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}))
    return step(
        "release_volume", cause.resource, *done,
        caveat="The old pod must end before the new one can have the volume; never force its deletion while its"
        " node may still run it.",
    )  # fmt: skip


def _renew(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    ref = cause.resource
    if cause.facts.get("issued"):
        space, name = quote(ref.namespace), quote(ref.name)
        return step(
            "renew_certificate", ref, f"kubectl -n {space} describe certificate {name}",
            f"kubectl -n {space} get certificaterequests,orders,challenges", f"cmctl renew -n {space} {name}",
            caveat="Mend first what the issuer complains about: it would fail in the same way again.",
        )  # fmt: skip
    create = f"kubectl {at(ref)}create secret tls {quote(ref.name)} --cert=tls.crt --key=tls.key"
    return step(
        "renew_certificate", ref, f"{create} --dry-run=client -o yaml | kubectl apply -f -",
        caveat="tls.crt and tls.key are the files of the new certificate. Where cert-manager issues it, look at its"
        " Certificate first: it would overwrite this.",
    )  # fmt: skip


def _grant(cause: Hypothesis, workload: ResourceRef | None) -> ManualStep:
    ref, facts = cause.resource, cause.facts
    verb, resource = facts.get("verb", ""), facts.get("resource", "")
    done = [edit(ref)] if ref.kind in ("Role", "ClusterRole") else []
    if ref.kind == "ServiceAccount":
        done += [
            f"kubectl {at(ref)}get roles,rolebindings -o wide",
            "kubectl get clusterrolebindings -o wide",
        ]
    account = facts.get("account", "")
    space = ref.namespace or (workload.namespace if workload else "")
    if account and space and verb and resource:
        within = "" if resource in _CLUSTER_WIDE else f" -n {quote(space)}"
        done.append(
            f"kubectl auth can-i {quote(verb)} {quote(resource)}{within}"
            f" --as=system:serviceaccount:{quote(space)}:{quote(account)}"
        )
    return step(
        "grant_permission", ref, *done, verb=verb, resource=resource,
        caveat="Put back the binding or the rule that went missing: this verb on this resource only, and only if the"
        " program should have it.",
    )  # fmt: skip


def _raise_maximum(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    most = cause.facts.get("max_replicas", "")
    new = str(int(most) + max(1, int(most) // 2)) if most.isdigit() else ""
    done = (merge(cause.resource, {"spec": {"maxReplicas": int(new)}}),) if new else (edit(cause.resource),)
    return step(
        "raise_autoscaler_maximum", cause.resource, *done, max_replicas=new,
        caveat="More pods need room on the nodes and may ask more of databases than they can give.",
    )  # fmt: skip


def _more_cpu(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    new = doubled(cause.facts.get("cpu_limit", ""))
    ref = cause.resource
    command = f"kubectl {at(ref)}set resources {what(ref)} -c {quote(cause.container)} --limits=cpu={new}"
    return step(
        "adjust_cpu_limit", ref, command if new else edit(ref), cpu_limit=new, caveat="The pods are rolled."
    )


def _more_memory(cause: Hypothesis, _: ResourceRef | None) -> ManualStep | None:
    """For what the product itself does not change: templates of CronJobs, and containers without a limit."""
    ref, container = cause.resource, quote(cause.container)
    limit = cause.facts.get("limit", "")
    new = doubled(limit)
    if volume := cause.facts.get("memory_volume"):
        return step(
            "bound_volume", ref, edit(ref), volume=volume,
            caveat=f"Give emptyDir {volume} a sizeLimit well below the memory limit, or take medium Memory from it,"
            " so that it is kept on disk. The pods are rolled.",
        )  # fmt: skip
    if ref.kind == "CronJob" and new:
        return step(
            "adjust_memory_limit", ref,
            f"kubectl {at(ref)}set resources {what(ref)} -c {container} --limits=memory={new}", memory_limit=new,
            caveat="Holds for runs that start from now on. Find out first whether what it works on grew, or it leaks.",
        )  # fmt: skip
    if not limit and ref.kind in ("Deployment", "StatefulSet", "DaemonSet"):
        return step(
            "declare_resources", ref, edit(ref),
            caveat=f"Give container {cause.container} a memory request and limit: without a limit it takes what its"
            " neighbours need. The pods are rolled.",
        )  # fmt: skip
    return None


def _requests(cause: Hypothesis, _: ResourceRef | None) -> ManualStep | None:
    """An autoscaler measures use as a share of what containers request."""
    ref = cause.resource
    if ref.kind not in ("Deployment", "StatefulSet"):
        return None
    return step(
        "declare_resources", ref, edit(ref),
        caveat="Each of its containers, sidecars too, has to request what the autoscaler measures. Pods are rolled.",
    )  # fmt: skip


def _resume_cronjob(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    return step(
        "resume_cronjob", cause.resource, merge(cause.resource, {"spec": {"suspend": False}}), risk=Risk.LOW,
        caveat="Ask why it was suspended.",
    )  # fmt: skip


def _resume(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    ref = cause.resource
    return step(
        "resume_rollout", ref, f"kubectl {at(ref)}rollout resume {what(ref)}",
        caveat="What waited is rolled out then.",
    )  # fmt: skip


def _account(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    ref = cause.resource
    return step(
        "create_service_account", ref, f"kubectl {at(ref)}create serviceaccount {quote(ref.name)}",
        caveat="Its bindings are needed, too.",
    )  # fmt: skip


def _run_again(cause: Hypothesis, _: ResourceRef | None) -> ManualStep | None:
    ref, job = cause.resource, cause.facts.get("job", "")
    if ref.kind != "CronJob":
        return None
    name = quote(f"{(job or ref.name)[:50]}-again")
    return step(
        "run_job_again", ref, f"kubectl {at(ref)}create job {name} --from=cronjob/{quote(ref.name)}",
        caveat="Mend what it failed on first, and only where it may run twice.",
    )  # fmt: skip


def _stuck(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    ref = cause.resource
    return step(
        "inspect", ref, f"kubectl {at(ref)}get {commands.word(ref)} {quote(ref.name)} -o yaml", commands.events(ref),
        risk=Risk.LOW,
        caveat="Where finalizers hold it, their controller has to finish and take them off; taken off by hand, what"
        " they stand for (a backup, a detach) never happens. Force no deletion while its node may still run it.",
    )  # fmt: skip


def _namespace(cause: Hypothesis, _: ResourceRef | None) -> ManualStep:
    ref = cause.resource
    return step(
        "inspect", ref, commands.describe(ref), "kubectl get apiservices", risk=Risk.LOW,
        caveat="Its conditions say what is left, or which API does not answer: mend that. Taking the finalizer off"
        " leaves behind what nobody removes any more.",
    )  # fmt: skip


def _change(cause: Hypothesis, workload: ResourceRef | None) -> ManualStep:
    """Back to what it was: the history says who changed what, a person edits it."""
    ref = cause.resource
    if cause.facts.get("absent"):
        return step(
            "create_object", ref, f"kubectl {at(ref)}get {commands.word(ref)}",
            caveat=f"{ref} does not exist: create it again, or change who asks for it.",
        )  # fmt: skip
    if cause.facts.get("undeclared") and workload is not None:
        return step(
            "declare_resources", workload, edit(workload),
            f"kubectl {at(workload)}get limitrange",
            caveat=f"Each container has to declare {cause.facts['undeclared']}, or a LimitRange of the namespace"
            f" has to give it as a default; else change {ref}.",
        )  # fmt: skip
    if cause.facts.get("other_budget"):
        other = quote(cause.facts["other_budget"])
        return step(
            "change_object", ref, edit(ref), f"kubectl {at(ref)}get poddisruptionbudget {other} -o yaml",
            caveat="One budget a pod: narrow the selector of one of the two.",
        )  # fmt: skip
    look = commands.describe(ref) if cause.category in _CAREFUL else commands.history(ref)
    caveat = _CAREFUL.get(cause.category, "Ask who changed it, and why, before changing it back.")
    return step("change_object", ref, look, edit(ref), caveat=caveat)


_CAREFUL = {
    Category.QUOTA_EXCEEDED: "It is used up: free what nobody needs, or have it raised by whoever grants it.",
    Category.PDB_BLOCKS_EVICTION: "Get the pods ready that it guards, or add a replica: then it lets go by itself."
    " Loosen it only where the application bears one pod less, and do not delete it.",
    Category.ADMISSION_WEBHOOK: "Mend the server behind it first: loosened or deleted, it lets everything in that"
    " it is there to refuse.",
}


STEPS: dict[Category, Make] = {
    Category.NODE_UNSCHEDULABLE: _uncordon,
    Category.VOLUME_FULL: _grow_volume,
    Category.VOLUME_MULTI_ATTACH: _recreate,
    Category.CERTIFICATE_EXPIRED: _renew,
    Category.RBAC_DENIED: _grant,
    Category.HPA_MAXED_OUT: _raise_maximum,
    Category.CPU_THROTTLING: _more_cpu,
    Category.OOM_LIMIT_TOO_LOW: _more_memory,
    Category.HPA_NO_METRICS: _requests,
    Category.CRONJOB_SUSPENDED: _resume_cronjob,
    Category.ROLLOUT_PAUSED: _resume,
    Category.SERVICE_ACCOUNT_MISSING: _account,
    Category.JOB_FAILED: _run_again,
    Category.JOB_DEADLINE_EXCEEDED: _run_again,
    Category.STUCK_POD: _stuck,
    Category.NAMESPACE_TERMINATING: _namespace,
    Category.NETWORK_POLICY: _change,
    Category.LIMIT_RANGE: _change,
    Category.QUOTA_EXCEEDED: _change,
    Category.SERVICE_MISROUTED: _change,
    Category.EDGE_SETTING: _change,
    Category.PDB_BLOCKS_EVICTION: _change,
    Category.ADMISSION_WEBHOOK: _change,
}
