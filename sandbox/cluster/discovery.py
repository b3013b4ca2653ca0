"""What the server offers: API groups, resources, version, OpenAPI."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from cortexops.domain.resource import JSON
from sandbox.cluster.kinds import RESOURCES, Resource

GIT_VERSION = "v1.31.0+cortexops.sandbox"
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_REVIEW_GROUP = "authorization.k8s.io"
_REVIEWS = ("SelfSubjectAccessReview", "SelfSubjectRulesReview")
_AUTHENTICATION_GROUP = "authentication.k8s.io"


def version() -> JSON:
    """The answer to `/version`."""
    return {
        "major": "1",
        "minor": "31",
        "gitVersion": GIT_VERSION,
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "2024-08-13T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": "linux/amd64",
    }


def group_versions() -> list[str]:
    """Every `group/version` under `/apis`."""
    named = {resource.api_version for resource in RESOURCES if resource.group}
    return sorted(named | {f"{_REVIEW_GROUP}/v1", f"{_AUTHENTICATION_GROUP}/v1"})


def core_versions(address: str) -> JSON:
    """The answer to `/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def _group(name: str, versions: list[str]) -> JSON:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def groups() -> JSON:
    """The answer to `/apis`."""
    pairs = [tuple(item.split("/")) for item in group_versions()]
    found = [_group(name, [version for _, version in both]) for name, both in groupby(pairs, lambda p: p[0])]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(name: str) -> JSON | None:
    """The answer to `/apis/<group>`."""
    found: list[JSON] = [entry for entry in groups()["groups"] if entry["name"] == name]
    return {"kind": "APIGroup", "apiVersion": "v1"} | found[0] if found else None


def _entries(resource: Resource) -> list[JSON]:
    entry: JSON = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _VERBS,
    }
    if resource.short:
        entry["shortNames"] = list(resource.short)
    if resource.everything:
        entry["categories"] = ["all"]
    result = [entry]

    def sub(name: str, kind: str, verbs: list[str], group: str = "", api: str = "") -> None:
        item: JSON = {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": kind,
            "verbs": verbs,
        }
        if group:
            item |= {"group": group, "version": api}
        result.append(item)

    if resource.status:
        sub("status", resource.kind, ["get", "patch", "update"])
    if resource.scale:
        sub("scale", "Scale", ["get", "patch", "update"], "autoscaling", "v1")
    if resource.kind == "Pod":
        sub("log", "Pod", ["get"])
        sub("eviction", "Eviction", ["create"], "policy", "v1")
        sub("binding", "Binding", ["create"])
    return result


def resources(group_version: str) -> JSON | None:
    """The answer to `/api/v1` or `/apis/<group>/<version>`; None when it is not served."""
    entries = [e for r in RESOURCES if r.api_version == group_version for e in _entries(r)]
    if group_version == f"{_REVIEW_GROUP}/v1":
        entries = [_review(kind) for kind in _REVIEWS]
    elif group_version == f"{_AUTHENTICATION_GROUP}/v1":
        entries = [_review("SelfSubjectReview")]
    if not entries:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": entries,
    }


def _review(kind: str) -> JSON:
    return {
        "name": f"{kind.lower()}s",
        "singularName": kind.lower(),
        "namespaced": False,
        "kind": kind,
        "verbs": ["create"],
    }


# -- OpenAPI: enough for clients to learn which query parameters a mutation takes -----------------------


def openapi_paths() -> JSON:
    """The answer to `/openapi/v3`."""
    places = {"api/v1": "/openapi/v3/api/v1"}
    places |= {f"apis/{gv}": f"/openapi/v3/apis/{gv}" for gv in group_versions()}
    return {"paths": {name: {"serverRelativeURL": url} for name, url in places.items()}}


def openapi(group_version: str) -> JSON | None:
    """The OpenAPI 3 document of one group version; None when it is not served."""
    served = [resource for resource in RESOURCES if resource.api_version == group_version]
    if not served and resources(group_version) is None:
        return None
    root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    paths: JSON = {}
    schemas: JSON = {}
    for resource in served:
        middle = "/namespaces/{namespace}" if resource.namespaced else ""
        gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        schema = f"{resource.group or 'core'}.{resource.version}.{resource.kind}"
        schemas[schema] = {"type": "object", "x-kubernetes-group-version-kind": [gvk]}
        operation: JSON = {
            "x-kubernetes-group-version-kind": gvk,
            "parameters": [_parameter(name) for name in ("dryRun", "fieldManager", "fieldValidation")],
            "responses": {
                "200": {
                    "description": "OK",
                    "content": {
                        "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}},
                    },
                },
            },
        }
        paths[f"{root}{middle}/{resource.plural}"] = {"post": operation | _action("post")}
        paths[f"{root}{middle}/{resource.plural}/{{name}}"] = {
            "put": operation | _action("put"),
            "patch": operation | _action("patch"),
        }
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _action(name: str) -> dict[str, Any]:
    return {"x-kubernetes-action": name}


def _parameter(name: str) -> JSON:
    return {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}


def swagger() -> JSON:
    """The answer to `/openapi/v2`: no definitions, so clients skip their own schema check."""
    info = {"title": "Kubernetes", "version": GIT_VERSION}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}
