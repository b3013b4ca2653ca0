"""Where people's words on diagnoses are kept."""

from __future__ import annotations

from typing import Protocol

from cortexops.domain.audit import AuditEntry
from cortexops.domain.feedback import Feedback


class FeedbackStore(Protocol):
    """Rows are only added. Raises `TemporaryError` when the database cannot be reached."""

    async def add_feedback(self, word: Feedback, entry: AuditEntry) -> Feedback:
        """Store the row with its audit row; the same row again changes nothing. Returns it with its number.

        Raises `NotFound` when there is no such incident.
        """
        ...

    async def feedback(self, *, cluster: str = "", incident_id: str = "", most: int = 5000) -> list[Feedback]:
        """The newest rows of this cluster or incident (of all, when neither is named), newest first."""
        ...
