"""Cases on their way from the books to memory."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from cortexops.domain.case import Case


class PendingCase(NamedTuple):
    """A case that memory does not have yet; None where this version cannot read what is stored. `attempts`
    counts the one that it was taken for."""

    incident_id: str
    case: Case | None
    attempts: int


class CaseStore(Protocol):
    """Who takes a case holds it for a lease; what was not remembered until then comes back."""

    async def add_case(self, case: Case) -> None:
        """Once an incident: a repeated call changes nothing."""
        ...

    async def take_cases(self, *, most: int, lease_seconds: float) -> list[PendingCase]: ...

    async def case_remembered(self, incident_id: str) -> None: ...

    async def case_refused(self, incident_id: str, detail: str) -> None:
        """It is not tried again."""
        ...

    async def retry_case(self, incident_id: str, *, delay_seconds: float, detail: str) -> None: ...

    async def cases_waiting(self) -> int:
        """How many memory does not have yet."""
        ...
