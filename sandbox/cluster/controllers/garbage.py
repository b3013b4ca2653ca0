"""Cascading deletion: what an owner leaves behind goes too."""

from __future__ import annotations

from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.base import Controller
from sandbox.cluster.controllers.objects import key_of, owner_uids

_OWNERS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "Service")
_OWNED = ("ReplicaSet", "Pod", "EndpointSlice", "ControllerRevision")


class GarbageCollector(Controller):
    """Deletes the dependents of owners that were deleted while we watched."""

    workers = 1

    def register(self) -> None:
        for kind in _OWNED:
            self.context.informers[kind].add_index("owner", owner_uids)
            self.context.informers[kind].on_change(self._dependent_changed)
        self._gone: set[str] = set()
        for kind in _OWNERS:
            self.context.informers[kind].on_change(self._owner_changed)

    def _owner_changed(self, old: JSON | None, new: JSON | None) -> None:
        replaced = old is not None and new is not None and old["metadata"]["uid"] != new["metadata"]["uid"]
        if old is not None and (new is None or replaced):
            self._gone.add(old["metadata"]["uid"])
            self.queue.add(old["metadata"]["uid"])

    def _dependent_changed(self, old: JSON | None, new: JSON | None) -> None:
        if old is None and new is not None:
            for uid in owner_uids(new):
                if uid in self._gone:
                    self.queue.add(uid)

    async def reconcile(self, key: str) -> float | None:
        for kind in _OWNED:
            for obj in self.context.informers[kind].find("owner", key):
                if not obj["metadata"].get("deletionTimestamp") and self.context.informers[kind].get(
                    key_of(obj)
                ):
                    await self.context.delete(kind, obj)
        return None
