"""What follows from a change: cascading deletion, emptied namespaces, quota and budget statuses."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict

from cortexops.domain.resource import JSON
from sandbox.cluster import admission, budgets, quantity
from sandbox.cluster.errors import ApiError
from sandbox.cluster.kinds import BY_KEY, BY_KIND, NAMESPACE, Resource
from sandbox.cluster.store import Change, Store
from sandbox.cluster.verbs import Deletion, Options, Verbs

_SOON = 0.1  # seconds: many changes, one recount
_QUOTA = BY_KIND["ResourceQuota"]
_BUDGET = BY_KIND["PodDisruptionBudget"]
_ACCOUNTS = BY_KIND["ServiceAccount"]

Place = tuple[str, str, str]  # resource key, namespace, name


class Collector:
    """Listens to the store. `settle` does at once what is due."""

    def __init__(self, store: Store, verbs: Verbs) -> None:
        self._store = store
        self._verbs = verbs
        self._owned: dict[str, set[Place]] = defaultdict(set)
        self._uids: dict[str, Place] = {}
        self._due: list[Change] = []
        self._recount: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        store.subscribe(self._changed)

    def rebuild(self) -> None:
        """Index what is already stored."""
        for key in self._store.resources():
            for obj in self._store.objects(key):
                place = (key, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
                self._index(place, obj)

    def close(self) -> None:
        """Stop what is scheduled."""
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()

    def _index(self, place: Place, obj: JSON) -> None:
        self._uids[obj["metadata"]["uid"]] = place
        for owner in obj["metadata"].get("ownerReferences") or []:
            self._owned[str(owner.get("uid"))].add(place)

    def _changed(self, change: Change) -> None:
        place = (change.resource, *change.key)
        if change.before is not None:
            for owner in change.before["metadata"].get("ownerReferences") or []:
                self._owned[str(owner.get("uid"))].discard(place)
        if change.after is not None:
            self._index(place, change.after)
        else:
            self._uids.pop(str(change.last["metadata"]["uid"]), None)
        namespace = change.key[0]
        counted = change.resource in ("pods", _QUOTA.key, _BUDGET.key)
        if namespace and (counted or change.before is None or change.after is None):
            self._recount.add(namespace)
        self._due.append(change)
        self._schedule()

    def _schedule(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # filled before it was started; `start` settles
            return
        if self._soon is None:
            self._soon = loop.call_soon(self.settle)

    def settle(self) -> None:
        """Carry out what follows from the changes so far."""
        self._soon = None
        due, self._due = self._due, []
        for change in due:
            self._follow(change)
        if self._recount and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SOON, self._recount_now)

    def _follow(self, change: Change) -> None:
        meta = change.last["metadata"]
        if change.resource == NAMESPACE.key and change.after is not None:
            if change.before is None:
                self._welcome(change.key[1])
            elif meta.get("deletionTimestamp"):
                self._empty(change.key[1])
        if change.after is None:
            self._orphaned(str(meta["uid"]))
            for owner in meta.get("ownerReferences") or []:
                self._finish_foreground(str(owner.get("uid")))
            if change.key[0]:
                self._close_namespace(change.key[0])
            return
        if meta.get("deletionTimestamp"):
            self._deleting(change)
        elif change.before is None and meta.get("ownerReferences"):
            alive = any(str(owner.get("uid")) in self._uids for owner in meta["ownerReferences"])
            if not alive:
                self._remove((change.resource, *change.key))

    def _welcome(self, namespace: str) -> None:
        if self._store.get(_ACCOUNTS.key, namespace, "default") is None:
            body = {"metadata": {"name": "default"}}
            with contextlib.suppress(ApiError):  # the namespace may be on its way out already
                self._verbs.create(_ACCOUNTS, namespace, body, Options("kube-controller-manager"))

    # -- owners ------------------------------------------------------------------------------------

    def _remove(self, place: Place, propagation: str = "Background") -> None:
        resource = BY_KEY[place[0]]
        with contextlib.suppress(ApiError):  # already gone
            self._verbs.delete(resource, place[1], place[2], Deletion(propagation=propagation))

    def _orphaned(self, uid: str) -> None:
        for place in sorted(self._owned.pop(uid, set())):
            obj = self._store.get(*place)
            if obj is None:
                continue
            owners = obj["metadata"].get("ownerReferences") or []
            alive = [owner for owner in owners if str(owner.get("uid")) in self._uids]
            if not alive:
                self._remove(place)

    def _deleting(self, change: Change) -> None:
        meta = change.last["metadata"]
        finalizers = meta.get("finalizers") or []
        place: Place = (change.resource, *change.key)
        if "foregroundDeletion" in finalizers:
            for dependent in sorted(self._owned.get(str(meta["uid"]), set())):
                self._remove(dependent, "Foreground" if dependent[0] != "pods" else "Background")
            self._finish_foreground(str(meta["uid"]))
        elif "orphan" in finalizers:
            for dependent in sorted(self._owned.pop(str(meta["uid"]), set())):
                self._disown(dependent, str(meta["uid"]))
            self._verbs.remove_finalizer(BY_KEY[place[0]], place[1], place[2], "orphan")

    def _disown(self, place: Place, uid: str) -> None:
        obj = self._store.get(*place)
        if obj is None:
            return
        meta = dict(obj["metadata"])
        rest = [owner for owner in meta.pop("ownerReferences", []) if owner.get("uid") != uid]
        if rest:
            meta["ownerReferences"] = rest
        self._store.put(*place, obj | {"metadata": meta})

    def _finish_foreground(self, uid: str) -> None:
        place = self._uids.get(uid)
        if place is None or self._owned.get(uid):
            return
        obj = self._store.get(*place)
        if obj is not None and "foregroundDeletion" in (obj["metadata"].get("finalizers") or []):
            self._verbs.remove_finalizer(BY_KEY[place[0]], place[1], place[2], "foregroundDeletion")

    # -- namespaces --------------------------------------------------------------------------------

    def _contents(self, namespace: str) -> list[tuple[Resource, str]]:
        return [
            (BY_KEY[key], str(obj["metadata"]["name"]))
            for key in self._store.resources()
            for obj in self._store.objects(key, namespace)
        ]

    def _empty(self, namespace: str) -> None:
        for resource, name in self._contents(namespace):
            with contextlib.suppress(ApiError):  # already gone
                self._verbs.delete(resource, namespace, name, Deletion())
        self._close_namespace(namespace)

    def _close_namespace(self, namespace: str) -> None:
        found = self._store.get(NAMESPACE.key, "", namespace)
        if found is None or not found["metadata"].get("deletionTimestamp"):
            return
        if not found["metadata"].get("finalizers") and not self._contents(namespace):
            self._store.delete(NAMESPACE.key, "", namespace)

    # -- counted statuses --------------------------------------------------------------------------

    def _recount_now(self) -> None:
        self._timer = None
        namespaces, self._recount = self._recount, set()
        for namespace in sorted(namespaces):
            for quota in self._store.objects(_QUOTA.key, namespace):
                self._set_status(_QUOTA, quota, self._quota_status(quota))
            for budget in self._store.objects(_BUDGET.key, namespace):
                fresh = (budget.get("status") or {}) | budgets.status(self._store, budget)
                self._set_status(_BUDGET, budget, fresh)

    def _quota_status(self, quota: JSON) -> JSON:
        hard = (quota.get("spec") or {}).get("hard") or {}
        used = admission.usage(self._store, quota["metadata"]["namespace"], hard)
        shown = {
            name: quantity.render(amount, binary=quantity.is_binary(hard[name]) or "memory" in name)
            for name, amount in used.items()
        }
        return {"hard": dict(hard), "used": shown}

    def _set_status(self, resource: Resource, obj: JSON, status: JSON) -> None:
        if obj.get("status") != status:
            meta = obj["metadata"]
            self._store.put(resource.key, meta["namespace"], meta["name"], obj | {"status": status})
