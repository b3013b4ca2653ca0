"""News of an approval between asking and deciding, queued by whoever watches it and not by its workflow."""

from __future__ import annotations

from collections.abc import Sequence

from cortexops.adapters.postgres import audit, outbox
from cortexops.adapters.postgres.database import Database, row
from cortexops.domain.approval import ApprovalState
from cortexops.domain.audit import AuditEntry
from cortexops.domain.message import Message


class ApprovalNews:
    """The part of the store that tells people how an approval stands."""

    _database: Database
    _notifiers: tuple[str, ...]

    async def tell_of_approval(
        self, approval_id: str, state: ApprovalState, message: Message, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Queue the message unless the approval has left this state; it is queued once, whoever asks.

        Whoever decides the approval waits for this, so that no reminder comes after the decision.
        """
        async with self._database.begin() as connection:
            found = await row(
                connection, "SELECT state FROM approvals WHERE id = :id FOR SHARE", id=approval_id
            )
            if found is None or found["state"] != state.value:
                return False
            await outbox.queue(connection, self._notifiers, [message])
            await audit.append(connection, entries)
            return True
