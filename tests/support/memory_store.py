"""The few store methods that the correlator needs, in memory, able to fail on command."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cortexops.domain.correlation import EndedIncident, Fate
from cortexops.domain.errors import CortexError
from cortexops.domain.signal import Signal


class MemoryStore:
    """Part of `cortexops.ports.store.IncidentStore`."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.ended: dict[str, EndedIncident] = {}
        self.known: dict[str, datetime] = {}
        self.rows: list[tuple[Signal, Fate, str]] = []
        self.failure: CortexError | None = None
        self.refuses: str = ""  # a signal name that makes record_fates fail for good

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def open_keys(self, keys: Sequence[str]) -> set[str]:
        self._check()
        return self.open & set(keys)

    async def last_ended(self, keys: Sequence[str]) -> dict[str, EndedIncident]:
        self._check()
        return {key: self.ended[key] for key in keys if key in self.ended}

    async def known_signals(self, ids: Sequence[str]) -> dict[str, datetime]:
        self._check()
        return {id_: self.known[id_] for id_ in ids if id_ in self.known}

    async def record_fates(self, records: Sequence[tuple[Signal, Fate, str]]) -> None:
        self._check()
        if self.refuses and any(signal.name == self.refuses for signal, _, _ in records):
            from cortexops.domain.errors import Rejected

            raise Rejected("this row cannot be stored")
        for signal, fate, key in records:
            self.rows.append((signal, fate, key))
            self.known[signal.id] = datetime.now(UTC)
