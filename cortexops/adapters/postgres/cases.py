"""Cases on their way to memory: one row an incident, waiting until it is remembered or refused."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.domain.case import Case
from cortexops.ports.cases import PendingCase

_LONGEST_DETAIL = 500
_ADD = """
INSERT INTO cases (incident_id, body) VALUES (:id, CAST(:body AS jsonb)) ON CONFLICT (incident_id) DO NOTHING
"""
_TAKE = """
WITH taken AS (
    SELECT incident_id FROM cases
    WHERE state = 'waiting' AND not_before <= clock_timestamp()
    ORDER BY not_before LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE cases SET not_before = clock_timestamp() + make_interval(secs => :lease), attempts = attempts + 1
FROM taken WHERE cases.incident_id = taken.incident_id
RETURNING cases.incident_id, body, attempts
"""
_SETTLE = "UPDATE cases SET state = :state, detail = :detail WHERE incident_id = :id AND state = 'waiting'"
_RETRY = """
UPDATE cases SET not_before = clock_timestamp() + make_interval(secs => :delay), detail = :detail
WHERE incident_id = :id AND state = 'waiting'
"""


class CaseBook:
    """The part of the store that holds cases until memory has them."""

    _database: Database

    async def add_case(self, case: Case) -> None:
        async with self._database.begin() as connection:
            await run(connection, _ADD, id=case.incident_id, body=document(case))

    async def take_cases(self, *, most: int, lease_seconds: float) -> list[PendingCase]:
        async with self._database.begin() as connection:
            found = await rows(connection, _TAKE, most=most, lease=lease_seconds)
        return [PendingCase(item["incident_id"], _read(item["body"]), item["attempts"]) for item in found]

    async def case_remembered(self, incident_id: str) -> None:
        await self._settle(incident_id, "remembered", "")

    async def case_refused(self, incident_id: str, detail: str) -> None:
        await self._settle(incident_id, "refused", detail)

    async def _settle(self, incident_id: str, state: str, detail: str) -> None:
        async with self._database.begin() as connection:
            await run(
                connection, _SETTLE, id=incident_id, state=state, detail=clean(detail)[:_LONGEST_DETAIL]
            )

    async def retry_case(self, incident_id: str, *, delay_seconds: float, detail: str) -> None:
        async with self._database.begin() as connection:
            await run(
                connection,
                _RETRY,
                id=incident_id,
                delay=delay_seconds,
                detail=clean(detail)[:_LONGEST_DETAIL],
            )

    async def cases_waiting(self) -> int:
        async with self._database.begin() as connection:
            found = await row(connection, "SELECT count(*) AS n FROM cases WHERE state = 'waiting'")
        return int(found["n"]) if found else 0


def _read(body: Any) -> Case | None:
    try:
        return Case.model_validate(body)
    except ValidationError:
        return None
