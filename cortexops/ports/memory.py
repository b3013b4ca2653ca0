"""Memory of solved incidents."""

from __future__ import annotations

from typing import Protocol

from cortexops.domain.case import Case, Recalled


class Memory(Protocol):
    """Cases by similarity. Raises `TemporaryError` when the store is out of reach; callers go on without."""

    async def remember(self, case: Case) -> None:
        """Store the case; the same incident again replaces it."""
        ...

    async def recall(self, text: str, *, cluster: str, most: int = 3) -> list[Recalled]:
        """The most similar cases, best first."""
        ...

    async def health(self) -> str | None: ...

    async def close(self) -> None: ...
