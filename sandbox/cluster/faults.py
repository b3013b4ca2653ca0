"""Making the API server misbehave on command."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field


@dataclass
class Fault:
    """Requests whose path matches go wrong, `times` times (None: until cleared).

    `latency` (seconds) delays; `status` answers with that code at once (`retry_after` seconds go with it);
    `hang` never answers and does nothing; `hang_after_apply` does it but never answers.
    """

    path: str
    method: str = ""
    query: str = ""
    """Pattern that the query string must match too; for example `^(?!.*dryRun)` spares dry runs."""
    latency: float = 0.0
    status: int = 0
    retry_after: int | None = None
    hang: bool = False
    hang_after_apply: bool = False
    times: int | None = None
    hits: int = field(default=0, init=False)


class Faults:
    """The faults in force; the first that matches a request applies."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self.released = asyncio.Event()  # set when the server stops, so that hanging requests end

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force."""
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Take one out of force."""
        if fault in self._faults:
            self._faults.remove(fault)

    def clear(self) -> None:
        """Take all out of force."""
        self._faults.clear()

    def match(self, method: str, path: str, query: str = "") -> Fault | None:
        """The fault for a request, counted as used."""
        for fault in self._faults:
            spent = fault.times is not None and fault.hits >= fault.times
            if (
                not spent
                and fault.method in ("", method)
                and re.search(fault.path, path)
                and re.search(fault.query, query)
            ):
                fault.hits += 1
                return fault
        return None
