"""Leases on the partitions of the stream, and the books of what was read from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol

from cortexops.domain.errors import PermanentError
from cortexops.domain.partitions import Account, Lease, Settlement


class Fenced(PermanentError):
    """Somebody else owns the partition now: nothing was written, and nothing may be done for it any more."""


class Shared(NamedTuple):
    """The outcome of a heartbeat."""

    taken: list[Lease]
    kept: list[int]
    release: list[int]  # partitions that others wait for


class PartitionStore(Protocol):
    """Raises `TemporaryError` while the database is away; the leases run out meanwhile."""

    async def share(self, stream: str, owner: str, partitions: int, ttl: timedelta) -> Shared:
        """Say that `owner` lives, prolong its leases by `ttl`, and take free partitions up to its fair share."""
        ...

    async def release(self, lease: Lease, owner: str) -> None:
        """Give a partition back at once; a negative epoch stands for whichever we have."""
        ...

    async def leave(self, owner: str) -> None:
        """`owner` takes no part any more: others may have its share."""
        ...

    async def record_settlement(self, lease: Lease, settlement: Settlement) -> None:
        """Record in one transaction. Raises `Fenced` when the lease has passed to somebody else."""
        ...

    async def discarded(self, stream: str, messages: int) -> None:
        """Write down messages of other programs that the stream discarded unread."""
        ...

    async def account(self, stream: str) -> Account: ...

    async def owners(self, stream: str) -> Sequence[tuple[int, str, int]]:
        """(partition, owner or empty, epoch) of every partition."""
        ...
