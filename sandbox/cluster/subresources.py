"""Scale, eviction, binding and the reviews: what is posted beside an object."""

from __future__ import annotations

from typing import Any

from cortexops.domain.resource import JSON
from sandbox.cluster import budgets, selectors
from sandbox.cluster.authz import Authorizer, Identity, Request
from sandbox.cluster.errors import (
    ApiError,
    bad_request,
    bad_value,
    conflict,
    invalid,
    no_such_path,
    stale,
    too_many_requests,
)
from sandbox.cluster.kinds import POD, Resource
from sandbox.cluster.patches import MERGE_PATCH, apply
from sandbox.cluster.verbs import Deletion, Options, Verbs

_SCALE = Resource("autoscaling", "v1", "Scale", "scales")


def success(details: JSON | None = None, code: int | None = None) -> JSON:
    """A `Status` that says that it went well."""
    status: JSON = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = details
    if code:
        status["code"] = code
    return status


# -- scale -------------------------------------------------------------------------------------------


def scale_of(obj: JSON) -> JSON:
    """The Scale of a workload."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    keys = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = spec.get("selector")
    if selector and not ({"matchLabels", "matchExpressions"} & selector.keys()):
        selector = {"matchLabels": selector}  # a replication controller's plain form
    wanted = spec.get("replicas") or 0
    shown: JSON = {"replicas": status.get("replicas") or 0, "selector": selectors.render(selector)}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: obj["metadata"][key] for key in keys if key in obj["metadata"]},
        "spec": {"replicas": wanted} if wanted else {},
        "status": shown,
    }


def set_scale(
    verbs: Verbs, resource: Resource, namespace: str, name: str, body: Any, options: Options
) -> JSON:
    """Set the replicas of a workload from a Scale. Raises `ApiError`."""
    current = verbs.read(resource, namespace, name)
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type Scale)")
    meta, spec = body.get("metadata") or {}, body.get("spec") or {}
    if meta.get("name", name) != name:
        raise bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        )
    replicas = spec.get("replicas") or 0
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise bad_request('Scale in version "v1" cannot be handled as a Scale: spec.replicas: not an integer')
    if replicas < 0:
        cause = bad_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid(_SCALE, name, [cause])
    if meta.get("resourceVersion") and meta["resourceVersion"] != current["metadata"]["resourceVersion"]:
        raise stale(resource, name)
    change = {"spec": {"replicas": replicas}}
    return scale_of(verbs.patch(resource, namespace, name, MERGE_PATCH, change, options))


def patch_scale(
    verbs: Verbs, resource: Resource, namespace: str, name: str, media_type: str, body: Any, options: Options
) -> JSON:
    """Patch the Scale of a workload."""
    current = scale_of(verbs.read(resource, namespace, name))
    return set_scale(verbs, resource, namespace, name, apply(media_type, current, body), options)


# -- eviction ----------------------------------------------------------------------------------------


def evict(verbs: Verbs, namespace: str, name: str, body: Any, *, dry_run: bool) -> JSON:
    """Delete a pod unless a disruption budget forbids it (429). Raises `ApiError`."""
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type Eviction)")
    if (body.get("metadata") or {}).get("name", name) != name:
        raise bad_request("name in URL does not match name in Eviction object")
    pod = verbs.read(POD, namespace, name)
    given = body.get("deleteOptions") or {}
    how = deletion(given, dry_run=dry_run or given.get("dryRun") == ["All"])
    phase = (pod.get("status") or {}).get("phase")
    if phase not in ("Succeeded", "Failed", "Pending") and not pod["metadata"].get("deletionTimestamp"):
        _respect_budgets(verbs, pod)
    verbs.delete(POD, namespace, name, how)
    return success(code=201)


def _respect_budgets(verbs: Verbs, pod: JSON) -> None:
    found = budgets.budgets_for(verbs.store, pod)
    if len(found) > 1:
        text = (
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
        raise ApiError(500, "InternalError", text)
    for budget in found:
        status = budgets.status(verbs.store, budget)
        healthy, desired = status["currentHealthy"], status["desiredHealthy"]
        if status["disruptionsAllowed"] > 0:
            continue
        if not budgets.is_ready(pod) and healthy >= desired > 0:
            continue  # it is down already: taking it away disturbs nothing
        text = (
            f"The disruption budget {budget['metadata']['name']} needs {desired} healthy pods "
            f"and has {healthy} currently"
        )
        raise too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            None,
            [{"reason": "DisruptionBudget", "message": text}],
        )


def deletion(options: JSON, *, dry_run: bool) -> Deletion:
    """`DeleteOptions` from a body. Raises `ApiError` (400)."""
    preconditions = options.get("preconditions") or {}
    grace = options.get("gracePeriodSeconds")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise bad_request("gracePeriodSeconds: an integer is expected")
    propagation = options.get("propagationPolicy") or "Background"
    if options.get("orphanDependents"):
        propagation = "Orphan"
    if propagation not in ("Background", "Foreground", "Orphan"):
        raise bad_request(f"propagationPolicy: {propagation!r} is none of Background, Foreground, Orphan")
    return Deletion(
        grace_seconds=grace,
        propagation=propagation,
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
        dry_run=dry_run,
    )


# -- binding -----------------------------------------------------------------------------------------


def bind(verbs: Verbs, namespace: str, name: str, body: Any, *, dry_run: bool) -> JSON:
    """Assign a pod to a node, as the scheduler does. Raises `ApiError` (409 when it has one)."""
    pod = verbs.read(POD, namespace, name)
    node = ((body if isinstance(body, dict) else {}).get("target") or {}).get("name")
    if not node:
        raise bad_request("binding: target.name is required")
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if meta.get("deletionTimestamp"):
        raise conflict(POD, name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise conflict(POD, name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    kept = [c for c in status.get("conditions") or [] if c.get("type") != "PodScheduled"]
    condition = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": verbs.stamp(),
    }
    bound = pod | {"spec": spec | {"nodeName": node}, "status": status | {"conditions": [*kept, condition]}}
    if not dry_run:
        verbs.store.put(POD.key, namespace, name, bound)
    return success(code=201)


# -- reviews -----------------------------------------------------------------------------------------


def review(authorizer: Authorizer, who: Identity, plural: str, body: Any) -> JSON:
    """What an identity may ask about itself. Raises `ApiError`."""
    spec = (body if isinstance(body, dict) else {}).get("spec") or {}
    if plural == "selfsubjectaccessreviews":
        return _access_review(authorizer, who, spec)
    if plural == "selfsubjectrulesreviews":
        namespace = str(spec.get("namespace") or "")
        return {
            "kind": "SelfSubjectRulesReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {},
            "spec": {},
            "status": {
                "resourceRules": authorizer.rules_of(who, namespace),
                "nonResourceRules": [],
                "incomplete": False,
            },
        }
    if plural == "selfsubjectreviews":
        return {
            "kind": "SelfSubjectReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {},
            "status": {"userInfo": {"username": who.name, "groups": list(who.groups)}},
        }
    raise no_such_path()


def _access_review(authorizer: Authorizer, who: Identity, spec: JSON) -> JSON:
    attributes = spec.get("resourceAttributes")
    elsewhere = spec.get("nonResourceAttributes")
    if (attributes is None) == (elsewhere is None):
        resource = Resource(
            "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False
        )
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise invalid(resource, "", [bad_value("spec.resourceAttributes", None, text)])
    if attributes is not None:
        asked = Request(
            verb=str(attributes.get("verb") or ""),
            group=str(attributes.get("group") or ""),
            resource=str(attributes.get("resource") or ""),
            subresource=str(attributes.get("subresource") or ""),
            namespace=str(attributes.get("namespace") or ""),
            name=str(attributes.get("name") or ""),
        )
    else:
        elsewhere = elsewhere or {}
        asked = Request(verb=str(elsewhere.get("verb") or ""), path=str(elsewhere.get("path") or ""))
    status: JSON = {"allowed": authorizer.allows(who, asked)}
    return {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": spec,
        "status": status,
    }
