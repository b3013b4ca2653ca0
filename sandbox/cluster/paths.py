"""From a request's path to what it is about."""

from __future__ import annotations

from typing import NamedTuple

from sandbox.cluster.authz import Request
from sandbox.cluster.errors import method_not_allowed, no_such_path
from sandbox.cluster.kinds import BY_PATH, Resource

_REVIEWS = {
    "selfsubjectaccessreviews": "authorization.k8s.io",
    "selfsubjectrulesreviews": "authorization.k8s.io",
    "selfsubjectreviews": "authentication.k8s.io",
}
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Place(NamedTuple):
    """A resource path taken apart. `resource` is None for the self reviews."""

    group: str
    plural: str
    resource: Resource | None
    namespace: str | None
    name: str = ""
    subresource: str = ""

    def request(self, verb: str) -> Request:
        """What the authorizer is asked."""
        return Request(
            verb=verb,
            group=self.group,
            resource=self.plural,
            subresource=self.subresource,
            namespace=self.namespace or (self.name if self.plural == "namespaces" else ""),
            name=self.name,
        )


def parse(segments: list[str]) -> Place | None:
    """The place that path segments name; None when they are no resource path. Raises `ApiError` (404)."""
    if segments[:1] == ["api"] and len(segments) > 2:
        group, version, rest = "", segments[1], segments[2:]
    elif segments[:1] == ["apis"] and len(segments) > 3:
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        return None
    namespace: str | None = None
    if (
        rest[0] == "namespaces"
        and len(rest) > 2
        and not (len(rest) == 3 and rest[2] in ("status", "finalize"))
    ):
        namespace, rest = rest[1], rest[2:]
    plural = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if _REVIEWS.get(plural) == group and group:
        return Place(group, plural, None, None, name, subresource)
    resource = BY_PATH.get((group, version, plural))
    if resource is None or len(rest) > 3 or (namespace is not None and not resource.namespaced):
        raise no_such_path()
    if resource.namespaced and namespace is None and name:
        raise no_such_path()
    if not resource.namespaced:
        namespace = ""
    return Place(group, plural, resource, namespace, name, subresource)


def verb_of(method: str, place: Place, *, watching: bool) -> str:
    """The API verb. Raises `ApiError` (405)."""
    if method == "HEAD":
        method = "GET"
    if method not in _VERBS:
        raise method_not_allowed()
    if method == "GET" and not place.name:
        return "watch" if watching else "list"
    if method == "DELETE" and not place.name:
        return "deletecollection"
    has_body_target = bool(place.name)
    if (method in ("PUT", "PATCH") and not has_body_target) or (
        method == "POST" and has_body_target and not place.subresource
    ):
        raise method_not_allowed()
    return _VERBS[method]
