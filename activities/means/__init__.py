"""Means: one way of changing the world for each verb, with its own dry run, look, act and way back.

`activities.remediation` goes the same way with all of them: judge → write down the intent → look whether it
is done already → send → write down what became of it; later, perhaps, take it back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from cortexops.domain.change import Change, DiffLine, Verb
from cortexops.domain.errors import NotFound, PermanentError
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import Effect, LedgerRow, LedgerState
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.ports.cluster import ReadableCluster, WritableCluster


class Judged(NamedTuple):
    """What the other side answered to the dry run. `bare` is what an approval is bound to, `shown` what people
    see of it, `written` what the ledger keeps of the change."""

    bare: tuple[DiffLine, ...]
    shown: tuple[DiffLine, ...]
    written: Change


class StoredOtherwise(PermanentError):
    """The change is made, and what the API server stored is not what was agreed on. `stored`: the object of a
    patch, which commands by hand start from."""

    def __init__(self, change: Change, how: str, stored: JSON | None = None) -> None:
        super().__init__(f"the API server stored something else than its dry run answered: {how}")
        self.change = change
        self.stored: JSON = stored or {}


class Taken(NamedTuple):
    """What became of an undo. Without `done`, `commands` are for a person and `foreign` are others' edits."""

    done: bool
    reason: Reason
    detail: str
    commands: tuple[str, ...] = ()
    foreign: tuple[DiffLine, ...] = ()


Progress = Callable[[str, str], Awaitable[None]]
"""Told of each part that is done: its key (once written, never again) and its words."""


class Means(Protocol):
    def bound(self, change: Change, operation: str) -> Change:
        """The change under its operation's id."""
        ...

    async def judge(self, cluster: WritableCluster, change: Change, live: JSON) -> Judged:
        """Let the other side judge the change without storing it. Raises what the cluster's port raises."""
        ...

    async def effect(self, cluster: WritableCluster, row: LedgerRow) -> tuple[Effect, JSON | None]:
        """Whether it is done already, and the object as it is."""
        ...

    async def send(
        self, cluster: WritableCluster, row: LedgerRow, live: JSON | None, progress: Progress
    ) -> str:
        """Do it. Returns what is to be told besides the action itself, or nothing. Raises `StoredOtherwise`
        when it is done, and not as it was agreed on."""
        ...

    async def take_back(self, cluster: WritableCluster, row: LedgerRow) -> Taken:
        """Undo what is still ours. Repeatable."""
        ...


async def get(cluster: ReadableCluster, ref: ResourceRef) -> JSON:
    return await cluster.get(ref.kind, ref.namespace, ref.name)


async def find(cluster: ReadableCluster, ref: ResourceRef) -> JSON | None:
    """The object, or None when it is not there."""
    try:
        return await get(cluster, ref)
    except NotFound:
        return None


_LASTING = {
    Verb.DELETE: "what was deleted does not come back",
    Verb.EVICT: "a pod that was evicted does not come back, its controller makes another",
}


def not_reversible(row: LedgerRow) -> Taken:
    """Nothing is sent: the change stays, and a person hears why."""
    made = "may have been made" if row.state is LedgerState.UNKNOWN else "was made"
    why = row.change.lasting or _LASTING.get(row.change.verb, "there is no way back from it")
    detail = f"{row.action} {made} and cannot be taken back: {why}; it stays, a person decides what is next"
    return Taken(False, Reason.NOT_REVERSIBLE, detail)
