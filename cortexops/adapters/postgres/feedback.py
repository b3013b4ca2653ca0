"""What people said of diagnoses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cortexops.adapters.postgres import audit
from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.domain.audit import AuditEntry
from cortexops.domain.errors import NotFound, PermanentError
from cortexops.domain.feedback import Feedback
from cortexops.telemetry import get_logger

_log = get_logger(__name__)

_ADD = """
INSERT INTO feedback (id, incident_id, cluster, undoes, body)
VALUES (:id, :incident, :cluster, :undoes, CAST(:body AS jsonb)) ON CONFLICT DO NOTHING
"""
_LIST = """
SELECT number, body FROM feedback
WHERE (:cluster = '' OR cluster = :cluster) AND (:incident = '' OR incident_id = :incident)
ORDER BY number DESC LIMIT :most
"""


class FeedbackBook:
    """The part of the store that keeps people's words on diagnoses."""

    _database: Database

    async def add_feedback(self, word: Feedback, entry: AuditEntry) -> Feedback:
        async with self._database.begin() as connection:
            incident = clean(word.incident_id)
            known = await row(connection, "SELECT 1 AS one FROM incidents WHERE id = :id", id=incident)
            if known is None:
                raise NotFound(f"incident {word.incident_id} was not found")
            await run(
                connection,
                _ADD,
                id=word.id,
                incident=incident,
                cluster=clean(word.target.cluster),
                undoes=word.undoes or None,
                body=document(word),
            )
            await audit.append(connection, [entry])
            found = await row(connection, "SELECT number, body FROM feedback WHERE id = :id", id=word.id)
        if found is None:
            raise PermanentError(f"{word.undoes} was taken back already")
        return _read(found)

    async def feedback(self, *, cluster: str = "", incident_id: str = "", most: int = 5000) -> list[Feedback]:
        async with self._database.begin() as connection:
            found = await rows(
                connection, _LIST, cluster=clean(cluster), incident=clean(incident_id), most=most
            )
        words = []
        for item in found:
            try:
                words.append(_read(item))
            except ValidationError as error:  # a word that cannot be read moves nothing
                _log.error("a feedback row cannot be read", number=item["number"], error=error.title)
        return words


def _read(item: Mapping[str, Any]) -> Feedback:
    return Feedback.model_validate(item["body"]).model_copy(update={"number": item["number"]})
