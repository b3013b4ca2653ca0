"""What keeps a request from being taken twice, whichever process it reaches."""

from __future__ import annotations

from typing import Protocol


class ReplayStore(Protocol):
    """Marks of requests that were taken. They can be added and run out; none can be changed or taken away."""

    async def first_time(self, mark: str, *, keep_seconds: float) -> bool:
        """Whether nobody has shown this mark yet; from now on somebody has, for at least so long.

        Of many that ask at once, one is told True. Raises `TemporaryError` when it cannot be known: then the
        request must not be taken.
        """
        ...
