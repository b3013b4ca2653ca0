"""Who is asking, and what they may do: tokens, simple rules, and RBAC objects."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from cortexops.domain.resource import JSON
from sandbox.cluster.errors import ApiError, unauthorized
from sandbox.cluster.store import Store

_RBAC = "rbac.authorization.k8s.io"
_READ = ("get", "list", "watch")
_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
_SELF_REVIEWS = frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"})


class Rule(NamedTuple):
    """Verbs on resources (`pods`, `pods/log`, `*`) of API groups, in namespaces (empty: everywhere)."""

    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    groups: tuple[str, ...] = ("*",)
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Request(NamedTuple):
    """What somebody asks for."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""  # for what is no resource

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True)
class Identity:
    """A user with a bearer token."""

    name: str
    groups: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)


ANONYMOUS = Identity("system:anonymous", ("system:unauthenticated",))


def default_identities() -> tuple[Identity, ...]:
    """admin, investigator (reads all but secrets), remediator (also mends workloads), nobody."""
    reads = (
        Rule(
            _READ,
            (
                "pods",
                "pods/log",
                "services",
                "endpoints",
                "configmaps",
                "events",
                "serviceaccounts",
                "persistentvolumeclaims",
                "persistentvolumes",
                "resourcequotas",
                "limitranges",
                "namespaces",
                "nodes",
                "replicationcontrollers",
            ),
            ("",),
        ),
        Rule(
            _READ,
            ("*",),
            (
                "apps",
                "batch",
                "autoscaling",
                "policy",
                "networking.k8s.io",
                "discovery.k8s.io",
                "coordination.k8s.io",
                "storage.k8s.io",
            ),
        ),
    )
    workloads = ("deployments", "statefulsets", "daemonsets", "replicasets")
    scales = tuple(f"{name}/scale" for name in workloads)
    writes = (
        Rule(("patch", "update"), (*workloads, *scales), ("apps",)),
        Rule(("patch", "update", "create", "delete"), ("configmaps", "pods"), ("",)),
        Rule(("create",), ("pods/eviction", "events"), ("",)),
        Rule(("patch", "update"), ("nodes", "services"), ("",)),
        Rule(("patch", "update"), ("horizontalpodautoscalers",), ("autoscaling",)),
    )
    return (
        Identity("admin", ("system:masters",)),
        Identity("investigator", ("cortexops-readers",), reads),
        Identity("remediator", ("cortexops-writers",), reads + writes),
        Identity("nobody"),
    )


class Authorizer:
    """Decides for the identities it was given, by their rules and by the RBAC objects in the store."""

    def __init__(self, store: Store, identities: tuple[Identity, ...]) -> None:
        self._store = store
        self._identities = list(identities)

    def add(self, identity: Identity) -> None:
        """Accept another identity."""
        self._identities.append(identity)

    def identity(self, name: str) -> Identity:
        """The identity of that name. Raises `KeyError`."""
        for identity in self._identities:
            if identity.name == name:
                return identity
        raise KeyError(name)

    def authenticate(self, header: str | None) -> Identity:
        """The identity behind an Authorization header. Raises `ApiError` (401) for a wrong token."""
        if not header:
            return ANONYMOUS
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer":
            for identity in self._identities:
                if hmac.compare_digest(identity.token.encode(), token.strip().encode()):
                    return identity
        raise unauthorized()

    def allows(self, who: Identity, request: Request) -> bool:
        """Whether that identity may do it."""
        if "system:masters" in who.groups:
            return True
        if request.path:
            if request.path.startswith(_PUBLIC):
                return True
            return who is not ANONYMOUS and request.path.startswith(("/api", "/openapi"))
        if who is not ANONYMOUS and request.resource in _SELF_REVIEWS:
            return True
        rules = (*who.rules, *self._bound(who, request.namespace))
        return any(_covers(rule, request) for rule in rules)

    def rules_of(self, who: Identity, namespace: str) -> list[JSON]:
        """Everything that identity may do in a namespace, as a rules review lists it."""
        if "system:masters" in who.groups:
            return [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        return [
            {
                "verbs": list(rule.verbs),
                "apiGroups": list(rule.groups),
                "resources": list(rule.resources),
                "resourceNames": list(rule.names),
            }
            for rule in (*who.rules, *self._bound(who, namespace))
            if not rule.namespaces or namespace in rule.namespaces
        ]

    def _bound(self, who: Identity, namespace: str) -> Iterator[Rule]:
        for binding in self._store.objects(f"clusterrolebindings.{_RBAC}"):
            if _binds(binding, who):
                yield from self._role(binding, "")
        if namespace:
            for binding in self._store.objects(f"rolebindings.{_RBAC}", namespace):
                if _binds(binding, who):
                    yield from self._role(binding, namespace)

    def _role(self, binding: JSON, namespace: str) -> Iterator[Rule]:
        reference = binding.get("roleRef") or {}
        name = str(reference.get("name"))
        if reference.get("kind") == "ClusterRole":
            role = self._store.get(f"clusterroles.{_RBAC}", "", name)
        else:
            role = self._store.get(f"roles.{_RBAC}", namespace, name)
        for rule in (role or {}).get("rules") or []:
            yield Rule(
                tuple(rule.get("verbs") or ()),
                tuple(rule.get("resources") or ()),
                tuple(rule.get("apiGroups") or ()),
                (namespace,) if namespace else (),
                tuple(rule.get("resourceNames") or ()),
            )


def _binds(binding: JSON, who: Identity) -> bool:
    for subject in binding.get("subjects") or []:
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == who.name:
            return True
        if kind == "Group" and (
            name in who.groups or (name == "system:authenticated" and who is not ANONYMOUS)
        ):
            return True
        if (
            kind == "ServiceAccount"
            and who.name == f"system:serviceaccount:{subject.get('namespace')}:{name}"
        ):
            return True
    return False


def _covers(rule: Rule, request: Request) -> bool:
    resources = {"*", request.full_resource}
    if request.subresource:
        resources.add(f"*/{request.subresource}")
    return (
        bool({"*", request.verb} & set(rule.verbs))
        and bool({"*", request.group} & set(rule.groups))
        and bool(resources & set(rule.resources))
        and (not rule.namespaces or request.namespace in rule.namespaces)
        and (not rule.names or request.name in rule.names)
    )


def refusal(who: Identity, request: Request) -> ApiError:
    """The 403 in RBAC's words."""
    user = f'User "{who.name}" cannot {request.verb}'
    if request.path:
        details: JSON = {}
        return ApiError(403, "Forbidden", f'forbidden: {user} path "{request.path}"', details)
    where = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    key = f"{request.resource}.{request.group}" if request.group else request.resource
    name = f' "{request.name}"' if request.name else ""
    message = (
        f'{key}{name} is forbidden: {user} resource "{request.full_resource}" '
        f'in API group "{request.group}" {where}'
    )
    details = {"kind": request.resource}
    if request.name:
        details = {"name": request.name} | details
    if request.group:
        details["group"] = request.group
    return ApiError(403, "Forbidden", message, details)
