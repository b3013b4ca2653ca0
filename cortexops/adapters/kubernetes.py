"""The cluster port on a Kubernetes API server, by generic paths rather than typed models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Self

from cortexops.adapters.kubernetes_discovery import Discovery
from cortexops.adapters.kubernetes_errors import Target, unserved
from cortexops.adapters.kubernetes_lists import (
    ALWAYS_SERVED,
    BUILT_IN,
    MOST_PAGES,
    NEW_EVENTS,
    can_narrow,
    goes_on,
    listed,
    narrowed,
    place_of,
    whole,
)
from cortexops.adapters.kubernetes_paths import known_kind, path_of
from cortexops.adapters.kubernetes_transport import Transport, UnservedPath, decode
from cortexops.adapters.kubernetes_watch import watch_event
from cortexops.domain.errors import Conflict, InvalidInput, Rejected, TemporaryError
from cortexops.domain.kubernetes.values import text
from cortexops.domain.resource import JSON, Kind
from cortexops.ports.cluster import ObjectList, PatchType, WatchEvent

_FIELD_MANAGER = "cortexops"
_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def _has_test(body: JSON | Sequence[JSON]) -> bool:
    """Whether a body is a JSON Patch that states what it expects to find."""
    return not isinstance(body, dict) and any(step.get("op") == "test" for step in body)


class KubernetesCluster:
    """One cluster seen by one identity. Implements `cortexops.ports.cluster.WritableCluster`."""

    def __init__(self, name: str, transport: Transport) -> None:
        self._name = name
        self._transport = transport
        self._served: dict[str, tuple[str, ...]] = {}  # kind -> versions of ours that the server has
        self._discovery = Discovery(transport)

    @classmethod
    async def connect(
        cls,
        name: str,
        kubeconfig: str | None = None,
        context: str | None = None,
        request_timeout: float = 10.0,
    ) -> Self:
        """Open a client; `request_timeout` is in seconds. No request is sent yet.

        Without `kubeconfig`: $KUBECONFIG, else the pod's service account, else ~/.kube/config.
        Raises `InvalidInput` when the configuration is unusable.
        """
        return cls(name, await Transport.open(kubeconfig, context, request_timeout))

    @property
    def name(self) -> str:
        return self._name

    @property
    def requests(self) -> int:
        return self._transport.requests

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # -- which version ---------------------------------------------------------------------------

    async def _versions(self, kind: Kind) -> tuple[str, ...]:
        """Our versions of a kind, those first that the server says it has.

        Others are tried all the same, in groups that every cluster has. Raises `InvalidInput` when none is left.
        """
        if kind.brought:
            offered = await self._discovery.offered()  # an add-on may be installed at any time: not kept here
            found = tuple(version for version in kind.versions if version in offered)
            if not found:
                raise unserved(kind.kind)
            return found
        if len(kind.versions) == 1:
            return kind.versions  # a server without it answers 404 for the path itself
        if kind.kind not in self._served:
            offered = await self._discovery.offered()
            tried = sorted(kind.versions, key=lambda version: version not in offered)
            built_in = kind.versions[0].startswith(BUILT_IN)
            self._served[kind.kind] = tuple(v for v in tried if not offered or built_in or v in offered)
        if not self._served[kind.kind]:
            raise unserved(kind.kind)
        return self._served[kind.kind]

    async def _on_kind(
        self,
        verb: str,
        method: str,
        kind: Kind,
        namespace: str,
        *,
        name: str = "",
        subresource: str = "",
        **options: Any,
    ) -> tuple[str, bytes]:
        """Send to the first version that has this kind; returns that version and the answer.

        A group version may be served without the kind (batch/v1 before CronJob moved there): the 404
        for the path then leads to the next version, and the choice is remembered.
        """
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        target = Target(verb, resource, namespace if kind.namespaced else "", name)
        versions = await self._versions(kind)
        for position, version in enumerate(versions):
            path = path_of(version, kind, namespace, name, subresource)
            try:
                answer = await self._transport.send(method, path, target, **options)
            except UnservedPath as missing:
                if position + 1 < len(versions):
                    continue
                if name or (method == "POST" and namespace):
                    raise missing.error from None  # an object, subresource or namespace is absent
                self._discovery.forget()
                self._served.pop(kind.kind, None)
                raise unserved(kind.kind) from None
            if position:
                self._served[kind.kind] = versions[position:]
            return version, answer
        raise unserved(kind.kind)

    @staticmethod
    def _require(kind: Kind, namespace: str, name: str = "x") -> None:
        if kind.namespaced and not namespace:
            raise InvalidInput("namespace", f"{kind.kind} needs a namespace")
        if not name:
            raise InvalidInput("name", f"{kind.kind} needs a name")

    # -- reading -----------------------------------------------------------------------------------

    async def get(self, kind: str, namespace: str, name: str) -> JSON:
        known = known_kind(kind)
        self._require(known, namespace, name)
        version, answer = await self._on_kind("get", "GET", known, namespace, name=name)
        found = decode(answer, Target("get", known.plural, namespace, name))
        return whole(found, known, version, namespace, name)

    async def list(
        self,
        kind: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 500,
        most: int = 10_000,
    ) -> ObjectList:
        try:
            return await self._list(kind, namespace, labels=labels, fields=fields, limit=limit, most=most)
        except Conflict:  # 410: the snapshot behind the continue token was compacted; start over once
            pass
        try:
            return await self._list(kind, namespace, labels=labels, fields=fields, limit=limit, most=most)
        except Conflict as error:
            raise TemporaryError(str(error)) from None

    async def _list(
        self, kind: str, namespace: str, *, labels: str, fields: str, limit: int, most: int
    ) -> ObjectList:
        items: dict[tuple[str, str], JSON] = {}
        resource_version = token = ""
        for number in range(1, MOST_PAGES + 1):
            size = max(1, min(limit, most - len(items)))
            page, following = await self._page(kind, namespace, labels, fields, size, token)
            resource_version = resource_version or page.resource_version
            items.update((place_of(item), item) for item in page.items)
            further = goes_on(token, following)
            if not further or len(items) >= most or number == MOST_PAGES:
                break
            token = following
        found = list(items.values())  # a server may ignore `limit`
        return ObjectList(found[:most], resource_version, cut=further or len(found) > most)

    async def _page(
        self, kind: str, namespace: str, labels: str, fields: str, limit: int, token: str
    ) -> tuple[ObjectList, str]:
        """One page and the token of the next; an empty token ends the list.

        What the server did not narrow is narrowed here.
        """
        known = known_kind(kind)
        query = {"limit": str(limit)}
        for name, value in (("labelSelector", labels), ("fieldSelector", fields), ("continue", token)):
            if value:
                query[name] = value
        version, answer = await self._listed(known, namespace, query)
        page = decode(answer, Target("list", known.plural, namespace))
        items = narrowed(listed(page, known, version, namespace), namespace, labels, fields)
        token = text(page, "metadata", "continue")
        return ObjectList(items, text(page, "metadata", "resourceVersion"), cut=bool(token)), token

    async def _listed(self, kind: Kind, namespace: str, query: dict[str, str]) -> tuple[str, bytes]:
        """From where it is served: some servers have a list only for the whole cluster, or only newer Events,
        or do not know a field to select by."""
        try:
            return await self._on_kind("list", "GET", kind, namespace, query=query)
        except Rejected:
            if not can_narrow(query.get("fieldSelector", "")):
                raise
            bare = {name: value for name, value in query.items() if name != "fieldSelector"}
            return await self._on_kind("list", "GET", kind, namespace, query=bare)
        except InvalidInput:
            if kind.kind == "Event" and kind.versions != NEW_EVENTS:
                bare = {name: value for name, value in query.items() if name != "fieldSelector"}
                return await self._listed(kind._replace(versions=NEW_EVENTS), namespace, bare)
            if not (namespace and kind.namespaced and kind.versions[0] in ALWAYS_SERVED):
                raise
        return await self._on_kind("list", "GET", kind, "", query=query)

    async def pages(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 500
    ) -> AsyncGenerator[ObjectList, None]:
        token = ""
        while True:
            page, following = await self._page(kind, namespace, labels, fields, limit, token)
            yield page
            if not goes_on(token, following):
                return
            token = following

    async def watch(
        self,
        kind: str,
        namespace: str = "",
        *,
        resource_version: str,
        timeout_seconds: int = 300,
        fields: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        known = known_kind(kind)
        target = Target("watch", known.plural, namespace if known.namespaced else "")
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        if fields:
            query["fieldSelector"] = fields
        versions = await self._versions(known)
        for position, version in enumerate(versions):
            path = path_of(version, known, namespace)
            lines = self._transport.lines(path, target, query=query, timeout_seconds=timeout_seconds)
            try:
                async with aclosing(lines):
                    async for line in lines:
                        if line.strip():
                            yield watch_event(line, target)
                return
            except UnservedPath:
                if position + 1 == len(versions):
                    raise unserved(kind) from None

    async def logs(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        previous: bool = False,
        tail_lines: int = 200,
        limit_bytes: int = 262_144,
    ) -> str:
        query = {"tailLines": str(tail_lines), "limitBytes": str(limit_bytes)}
        if container:
            query["container"] = container
        if previous:
            query["previous"] = "true"
        known = known_kind("Pod")
        self._require(known, namespace, pod)
        _, answer = await self._on_kind(
            "get",
            "GET",
            known,
            namespace,
            name=pod,
            subresource="log",
            query=query,
            accept="text/plain, */*",
            most_bytes=limit_bytes,
        )
        return answer.decode("utf-8", errors="replace")

    async def version(self) -> str:
        target = Target("get", "/version")
        try:
            answer = await self._transport.send_json("GET", "/version", target)
        except UnservedPath as missing:
            raise missing.error from None
        return str(answer.get("gitVersion") or "")

    async def may(self, verb: str, kind: str, namespace: str = "", *, subresource: str = "") -> bool:
        known = known_kind(kind)
        group = known.versions[0].rpartition("/")[0]
        attributes = {"verb": verb, "group": group, "resource": known.plural, "subresource": subresource}
        if known.namespaced:
            attributes["namespace"] = namespace
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        target = Target("create", "selfsubjectaccessreviews")
        try:
            answer = await self._transport.send_json("POST", _ACCESS_REVIEWS, target, body=body)
        except UnservedPath as missing:
            raise missing.error from None
        return bool((answer.get("status") or {}).get("allowed"))

    # -- writing -----------------------------------------------------------------------------------

    @staticmethod
    def _options(dry_run: bool) -> dict[str, str]:
        options = {"fieldManager": _FIELD_MANAGER}
        if dry_run:
            options["dryRun"] = "All"
        return options

    async def create(
        self,
        kind: str,
        namespace: str,
        body: JSON,
        *,
        dry_run: bool = False,
        subresource: str = "",
        name: str = "",
    ) -> JSON:
        known = known_kind(kind)
        self._require(known, namespace)
        if bool(subresource) != bool(name):
            raise InvalidInput("subresource", "name and subresource go together")
        if subresource == "eviction" and "apiVersion" not in body:
            budgets = await self._versions(known_kind("PodDisruptionBudget"))
            body = {"apiVersion": budgets[0], "kind": "Eviction"} | body
        elif not subresource and "apiVersion" not in body:
            body = {"apiVersion": (await self._versions(known))[0], "kind": kind} | body
        return await self._write(
            "create", "POST", known, namespace, name=name, subresource=subresource, body=body, dry_run=dry_run
        )

    async def replace(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: JSON,
        *,
        dry_run: bool = False,
        subresource: str = "",
    ) -> JSON:
        known = known_kind(kind)
        self._require(known, namespace, name)
        return await self._write(
            "update", "PUT", known, namespace, name=name, subresource=subresource, body=body, dry_run=dry_run
        )

    async def patch(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: JSON | Sequence[JSON],
        *,
        patch_type: PatchType = PatchType.JSON,
        dry_run: bool = False,
        subresource: str = "",
    ) -> JSON:
        known = known_kind(kind)
        self._require(known, namespace, name)
        return await self._write(
            "patch",
            "PATCH",
            known,
            namespace,
            name=name,
            subresource=subresource,
            body=body,
            dry_run=dry_run,
            content_type=patch_type.value,
        )

    async def _write(
        self,
        verb: str,
        method: str,
        kind: Kind,
        namespace: str,
        *,
        name: str,
        subresource: str,
        body: JSON | Sequence[JSON],
        dry_run: bool,
        content_type: str = "application/json",
    ) -> JSON:
        _, answer = await self._on_kind(
            verb,
            method,
            kind,
            namespace,
            name=name,
            subresource=subresource,
            query=self._options(dry_run),
            body=body,
            content_type=content_type,
            tests=_has_test(body),
        )
        return decode(answer, Target(verb, kind.plural, namespace, name))

    async def delete(
        self,
        kind: str,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> None:
        known = known_kind(kind)
        self._require(known, namespace, name)
        body: JSON = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        if dry_run:
            # in the body: a real server ignores the query of a DELETE that has a body, and would delete
            body["dryRun"] = ["All"]
        await self._on_kind("delete", "DELETE", known, namespace, name=name, body=body)
