"""What create, update, patch and delete do, from body to store."""

from __future__ import annotations

import copy
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cortexops.domain.resource import JSON
from sandbox.cluster import admission, defaults, managed, patches, shapes, validation
from sandbox.cluster.addresses import Addresses
from sandbox.cluster.errors import (
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
    stale,
)
from sandbox.cluster.kinds import Resource
from sandbox.cluster.store import Store

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_FIXED_METADATA = (
    "uid",
    "creationTimestamp",
    "generateName",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


class Options(NamedTuple):
    """How a mutation is to be made."""

    manager: str = "unknown"
    dry_run: bool = False


class Deletion(NamedTuple):
    """`DeleteOptions`."""

    grace_seconds: int | None = None
    propagation: str = "Background"
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def utc_now() -> datetime:
    return datetime.now(UTC)


def random_suffix(length: int = 5) -> str:
    """What the server appends to `generateName`."""
    return "".join(secrets.choice(_SUFFIX) for _ in range(length))


def tidied(obj: JSON) -> JSON:
    """Without nulls and without what is left out when empty."""
    result: JSON = defaults.tidy(obj)
    return result


class Verbs:
    """The mutations. Every method is atomic: it runs to its end on one event loop."""

    def __init__(self, store: Store, now: Callable[[], datetime] = utc_now) -> None:
        self.store = store
        self._now = now
        self._addresses = Addresses(store)

    def stamp(self, later_seconds: int = 0) -> str:
        """Now, as metadata holds it."""
        moment = datetime.fromtimestamp(self._now().timestamp() + later_seconds, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def read(self, resource: Resource, namespace: str, name: str) -> JSON:
        """The stored object. Raises `ApiError` (404)."""
        found = self.store.get(resource.key, namespace, name)
        if found is None:
            raise not_found(resource, name)
        return found

    # -- create ------------------------------------------------------------------------------------

    def create(self, resource: Resource, namespace: str, body: Any, options: Options) -> JSON:
        """Create from a request's body; returns the object as it is (or would be) stored."""
        obj: JSON = copy.deepcopy(shapes.check(resource, body))
        meta = obj["metadata"] = dict(obj.get("metadata") or {})
        obj.pop("apiVersion", None)
        obj.pop("kind", None)
        if resource.namespaced:
            if meta.setdefault("namespace", namespace) != namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        else:
            meta.pop("namespace", None)
        if meta.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{random_suffix()}"
        name = str(meta.get("name") or "")
        if resource.namespaced:
            admission.require_namespace(self.store, resource, namespace, name)
        obj = tidied(obj)
        self._stamp_new(resource, obj)
        defaults.fill(resource.kind, obj)
        if resource.kind == "Pod":
            admission.pod_defaults(self.store, obj)
        if resource.status or resource.kind == "Pod":
            status = defaults.initial_status(resource.kind, obj)
            if status is not None:
                obj["status"] = defaults.tidy(status)
        causes = validation.on_write(resource, obj)
        if causes:
            raise invalid(resource, name, causes)
        if resource.kind == "Pod":
            admission.check_limits(self.store, obj)
        if resource.namespaced:
            admission.check_quota(self.store, resource, obj)
        if self.store.get(resource.key, namespace, name) is not None:
            raise already_exists(resource, name)
        if resource.kind == "Service":
            self._addresses.assign(obj)
        self._record(resource, None, obj, options)
        if options.dry_run:
            return obj
        return self.store.put(resource.key, namespace if resource.namespaced else "", name, obj)

    def _stamp_new(self, resource: Resource, obj: JSON) -> None:
        meta = obj["metadata"]
        for field in ("selfLink", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds"):
            meta.pop(field, None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = self.stamp()
        meta.pop("generation", None)
        if resource.generation:
            meta["generation"] = 1

    def _record(
        self, resource: Resource, before: JSON | None, after: JSON, options: Options, subresource: str = ""
    ) -> None:
        entries = managed.record(
            before,
            after,
            manager=options.manager,
            api_version=resource.api_version,
            at=self.stamp(),
            subresource=subresource,
        )
        if entries:
            after["metadata"]["managedFields"] = entries
        else:
            after["metadata"].pop("managedFields", None)

    # -- update ------------------------------------------------------------------------------------

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        media_type: str,
        body: Any,
        options: Options,
        subresource: str = "",
    ) -> JSON:
        """Apply a patch to the stored object and update it."""
        current = self.read(resource, namespace, name)
        document = {"apiVersion": resource.api_version, "kind": resource.kind} | copy.deepcopy(current)
        patched = patches.apply(media_type, document, body)
        return self.update(resource, namespace, name, patched, options, subresource)

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        options: Options,
        subresource: str = "",
    ) -> JSON:
        """Replace the object, or with `subresource` "status" only its status."""
        obj = copy.deepcopy(shapes.check(resource, body))
        obj.pop("apiVersion", None)
        obj.pop("kind", None)
        obj = tidied(obj)
        meta = obj.setdefault("metadata", {})
        if meta.setdefault("name", name) != name:
            raise bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            )
        if resource.namespaced and meta.setdefault("namespace", namespace) != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        current = self.read(resource, namespace, name)
        self._check_preconditions(resource, current, meta)
        after = self._after(resource, current, obj, subresource)
        if subresource != "status":
            causes = validation.on_update(resource, current, after) + validation.on_write(resource, after)
            if causes:
                raise invalid(resource, name, causes)
        if resource.kind == "Service":
            self._addresses.assign(after)
        if self._unchanged(current, after):
            return current
        self._record(resource, current, after, options, subresource)
        if options.dry_run:
            return after
        meta = after["metadata"]
        graceful = resource.kind in ("Pod", "Namespace") and meta.get("deletionGracePeriodSeconds") != 0
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and not graceful:
            self.store.put(resource.key, namespace, name, after)
            return self.store.delete(resource.key, namespace, name) or after
        return self.store.put(resource.key, namespace, name, after)

    @staticmethod
    def _check_preconditions(resource: Resource, current: JSON, meta: JSON) -> None:
        has = current["metadata"]
        if meta.get("uid") and meta["uid"] != has["uid"]:
            raise conflict(
                resource,
                str(has["name"]),
                f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {has['uid']}",
            )
        if meta.get("resourceVersion") and str(meta["resourceVersion"]) != has["resourceVersion"]:
            raise stale(resource, str(has["name"]))

    def _after(self, resource: Resource, current: JSON, obj: JSON, subresource: str) -> JSON:
        """What will be stored: the client's fields over those that are not the client's to change."""
        has = current["metadata"]
        if subresource == "status":
            after = current | {"status": obj.get("status") or {}, "metadata": dict(has)}
            return after
        meta = obj["metadata"] | {key: has[key] for key in _FIXED_METADATA if key in has}
        for key in _FIXED_METADATA:
            if key not in has:
                meta.pop(key, None)
        meta.pop("selfLink", None)
        meta["resourceVersion"] = has["resourceVersion"]
        meta["managedFields"] = has.get("managedFields", [])
        if not meta["managedFields"]:
            meta.pop("managedFields")
        after = obj | {"metadata": meta}
        if resource.status:
            after.pop("status", None)
            if "status" in current:
                after["status"] = current["status"]
        if resource.kind == "Service":
            Addresses.keep(current, after)
        defaults.fill(resource.kind, after)
        if resource.generation:
            counted = ("spec", "endpoints", "ports") if resource.kind == "EndpointSlice" else ("spec",)
            different = any(current.get(part) != after.get(part) for part in counted)
            if resource.kind == "Deployment":  # its revision annotations count as well
                different = different or has.get("annotations") != meta.get("annotations")
            meta["generation"] = int(has.get("generation") or 1) + (1 if different else 0)
        return after

    @staticmethod
    def _unchanged(current: JSON, after: JSON) -> bool:
        def bare(obj: JSON) -> JSON:
            kept = {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "resourceVersion")}
            return obj | {"metadata": kept}

        return bare(current) == bare(after)

    # -- delete ------------------------------------------------------------------------------------

    def delete(self, resource: Resource, namespace: str, name: str, how: Deletion) -> tuple[JSON, bool]:
        """Delete, at once or gracefully; returns the object and whether it is gone."""
        current = self.read(resource, namespace, name)
        has = current["metadata"]
        if how.uid and how.uid != has["uid"]:
            raise conflict(
                resource,
                name,
                f"the UID in the precondition ({how.uid}) does not match the UID in record ({has['uid']}). "
                "The object might have been deleted and then recreated",
            )
        if how.resource_version and how.resource_version != has["resourceVersion"]:
            raise conflict(
                resource,
                name,
                f"the ResourceVersion in the precondition ({how.resource_version}) does not match the "
                f"ResourceVersion in record ({has['resourceVersion']}). The object might have been modified",
            )
        grace = self._grace(resource, current, how)
        finalizers = list(has.get("finalizers") or [])
        if how.propagation == "Foreground" and "foregroundDeletion" not in finalizers:
            finalizers.append("foregroundDeletion")
        elif how.propagation == "Orphan" and "orphan" not in finalizers:
            finalizers.append("orphan")
        waits = bool(finalizers) or grace > 0 or resource.kind == "Namespace"
        if not waits:
            if how.dry_run:
                return current, True
            return self.store.delete(resource.key, namespace, name) or current, True
        before_grace = has.get("deletionGracePeriodSeconds")
        no_sooner = before_grace is None or grace >= before_grace
        if has.get("deletionTimestamp") and no_sooner and finalizers == (has.get("finalizers") or []):
            return current, False
        marked = self._marked(resource, current, grace, finalizers)
        if how.dry_run:
            return marked, False
        return self.store.put(resource.key, namespace, name, marked), False

    @staticmethod
    def _grace(resource: Resource, current: JSON, how: Deletion) -> int:
        if resource.kind != "Pod":
            return 0
        spec, status = current.get("spec") or {}, current.get("status") or {}
        if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0  # no kubelet has to stop anything
        if how.grace_seconds is not None:
            return max(0, how.grace_seconds)
        before = current["metadata"].get("deletionGracePeriodSeconds")
        if before is not None:
            return int(before)
        return int(spec.get("terminationGracePeriodSeconds") or 0)

    def _marked(self, resource: Resource, current: JSON, grace: int, finalizers: list[str]) -> JSON:
        meta = dict(current["metadata"])
        meta["deletionTimestamp"] = self.stamp(grace)
        meta["deletionGracePeriodSeconds"] = grace
        if finalizers:
            meta["finalizers"] = finalizers
        if resource.generation and not current["metadata"].get("deletionTimestamp"):
            meta["generation"] = int(meta.get("generation") or 1) + 1
        marked = current | {"metadata": meta}
        if resource.kind == "Namespace":
            marked["status"] = (current.get("status") or {}) | {"phase": "Terminating"}
        return marked

    def remove_finalizer(self, resource: Resource, namespace: str, name: str, finalizer: str) -> None:
        """Take a finalizer off an object that is being deleted; the last one lets it go."""
        current = self.store.get(resource.key, namespace, name)
        if current is None:
            return
        rest = [item for item in current["metadata"].get("finalizers") or [] if item != finalizer]
        meta = {k: v for k, v in current["metadata"].items() if k != "finalizers"}
        if rest:
            meta["finalizers"] = rest
        self.store.put(resource.key, namespace, name, current | {"metadata": meta})
        if not rest and meta.get("deletionTimestamp"):
            self.store.delete(resource.key, namespace, name)
