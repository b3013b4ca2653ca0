"""A Kubernetes cluster, as the product reads and changes it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from cortexops.domain.resource import JSON


class PatchType(StrEnum):
    """The patch media types that the product uses."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


class WatchEvent(NamedTuple):
    """ADDED, MODIFIED, DELETED or BOOKMARK, and the object. Of a BOOKMARK only the version counts: nothing
    that concerns this watch happened before it, so a watch may go on from there."""

    type: str
    object: JSON

    @property
    def version(self) -> str:
        """The version to go on from once this event is dealt with; empty when the server sent none."""
        return str((self.object.get("metadata") or {}).get("resourceVersion") or "")


class ObjectList(NamedTuple):
    """The items of one list call with the version to watch from. `cut` says the cap left some out."""

    items: list[JSON]
    resource_version: str
    cut: bool = False


class ReadableCluster(Protocol):
    """What the investigating identity may do. Kinds are names in `cortexops.domain.resource.KINDS`.

    Every method raises `Forbidden` (naming verb and resource), `NotFound`, `InvalidInput` for a kind
    that this server does not serve, or `TemporaryError` when the server cannot be reached, answers 429
    or 5xx, or exceeds the time-out.
    """

    @property
    def name(self) -> str:
        """The cluster's name, part of every identity."""
        ...

    @property
    def requests(self) -> int:
        """How many API requests this client has sent."""
        ...

    async def get(self, kind: str, namespace: str, name: str) -> JSON: ...

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
        """All objects, page by page of `limit`, at most `most`; an empty namespace means all of them."""
        ...

    def pages(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 500
    ) -> AsyncGenerator[ObjectList, None]:
        """All objects however many, one page held at a time; `cut` says that more follow.

        Every page shows the same moment, whose version is each page's. Raises `Conflict` when that moment
        was compacted away meanwhile (410): what was read is then no complete list.
        """
        ...

    def watch(
        self,
        kind: str,
        namespace: str = "",
        *,
        resource_version: str,
        timeout_seconds: int = 300,
        fields: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version`, with bookmarks, until the time-out (seconds).

        Raises `Conflict` when the version is too old (410), and `TemporaryError` when the server breaks off,
        or keeps silent for longer than it was asked to serve the watch.
        """
        ...

    async def logs(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        previous: bool = False,
        tail_lines: int = 200,
        limit_bytes: int = 262_144,
    ) -> str: ...

    async def version(self) -> str:
        """The server's gitVersion."""
        ...

    async def may(self, verb: str, kind: str, namespace: str = "", *, subresource: str = "") -> bool:
        """SelfSubjectAccessReview: whether this identity may do it."""
        ...

    async def close(self) -> None: ...


class WritableCluster(ReadableCluster, Protocol):
    """What the remediating identity may do besides. `dry_run` sends `dryRun=All`.

    Besides the reading errors: `Conflict` for 409 and for a JSON Patch whose `test` failed,
    `Rejected` for 422, admission and quota refusals.
    """

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
        """Create an object, or POST to `name`'s `subresource` (for example `eviction`)."""
        ...

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
    ) -> JSON: ...

    async def replace(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: JSON,
        *,
        dry_run: bool = False,
        subresource: str = "",
    ) -> JSON: ...

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
        """Delete; with `uid` only that very object (precondition, `Conflict` when it is another)."""
        ...
