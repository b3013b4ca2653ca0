"""All parts of the store over one pool."""

from __future__ import annotations

from collections.abc import Sequence

from cortexops.adapters.postgres.approval_news import ApprovalNews
from cortexops.adapters.postgres.audit import AuditTrail
from cortexops.adapters.postgres.autonomy import AutonomyBook
from cortexops.adapters.postgres.cases import CaseBook
from cortexops.adapters.postgres.database import Database, row
from cortexops.adapters.postgres.decisions import Approvals, Ledger, Postmortems
from cortexops.adapters.postgres.feedback import FeedbackBook
from cortexops.adapters.postgres.history import HistoryBook
from cortexops.adapters.postgres.incidents import IncidentBook
from cortexops.adapters.postgres.orphans import OrphanBook
from cortexops.adapters.postgres.outbox import MessageOutbox
from cortexops.adapters.postgres.partitions import Partitions
from cortexops.adapters.postgres.replays import Replays
from cortexops.adapters.postgres.signals import SignalBook
from cortexops.adapters.postgres.silences import SilenceBook
from cortexops.adapters.postgres.switches import Slots, Switches
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.ports.store import Store


class PostgresStore(
    IncidentBook,
    SignalBook,
    SilenceBook,
    Partitions,
    AuditTrail,
    Ledger,
    Approvals,
    ApprovalNews,
    Postmortems,
    MessageOutbox,
    CaseBook,
    Switches,
    Slots,
    AutonomyBook,
    HistoryBook,
    FeedbackBook,
    OrphanBook,
    Replays,
    Store,
):
    """Implements the port; what each method promises is written there."""

    def __init__(self, database: Database, notifiers: Sequence[str] = ()) -> None:
        self._database = database
        self._notifiers = tuple(notifiers)

    @classmethod
    async def connect(cls, dsn: str, *, notifiers: Sequence[str] = (), pool_size: int = 5) -> PostgresStore:
        """`notifiers` are the channels for which messages are queued; none, and nothing is queued.

        Raises `PermanentError` when the schema is not at head, `TemporaryError` when nobody answers.
        """
        return cls(await Database.connect(dsn, pool_size), notifiers)

    async def health(self) -> str | None:
        """None when the database answers, else what is wrong."""
        try:
            async with self._database.begin() as connection:
                await row(connection, "SELECT 1 AS one")
        except (TemporaryError, PermanentError) as error:
            return str(error)
        return None

    async def close(self) -> None:
        await self._database.close()
