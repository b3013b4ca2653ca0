"""What was decided, under which revision of the policy, and what became of the changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cortexops.adapters.postgres import audit
from cortexops.adapters.postgres.database import Database, row, rows, run, streamed
from cortexops.domain.audit import AuditEntry, AuditEvent
from cortexops.domain.autonomy import Outcome, Result
from cortexops.domain.ledger import LedgerState

_RESULTS = {
    LedgerState.VERIFIED: Result.VERIFIED,
    LedgerState.COMPENSATED: Result.ROLLED_BACK,
    LedgerState.UNKNOWN: Result.FAILED,
    LedgerState.APPLIED: Result.FAILED,  # asked for only when its incident has ended: nobody verified it
}
# What was refused changed nothing and is no outcome; what is under way has none yet, nor has an open pull request.
_OUTCOMES = """
SELECT l.state, l.updated_at, l.incident_id, l.body #>> '{action,target,cluster}' AS cluster,
       l.body #>> '{action,target,namespace}' AS namespace, l.body #>> '{action,target,kind}' AS kind,
       l.body #>> '{action,target,name}' AS name, l.body #>> '{action,type}' AS action
FROM ledger l JOIN incidents i ON i.id = l.incident_id
WHERE NOT i.drill AND l.updated_at >= :since
  AND (l.state IN ('verified', 'compensated', 'unknown') OR (l.state = 'applied' AND i.ended_at IS NOT NULL
       AND l.body #>> '{change,verb}' <> 'propose'))
  AND (CAST(:cluster AS text) IS NULL OR l.body #>> '{action,target,cluster}' = :cluster)
  AND (CAST(:namespace AS text) IS NULL OR l.body #>> '{action,target,namespace}' = :namespace)
  AND (CAST(:action AS text) IS NULL OR l.body #>> '{action,type}' = :action)
ORDER BY l.updated_at, l.operation_id
"""
_DECISIONS = """
SELECT body, hash FROM audit_events
WHERE type IN ('policy_decided', 'policy_violation') AND at >= :since
  AND (:incident = '' OR chain = :incident) ORDER BY at, cursor
"""
_NOTE = """
INSERT INTO policy_revisions (engine, revision) VALUES (:engine, :revision)
ON CONFLICT (engine) DO UPDATE SET revision = excluded.revision, since = now()
WHERE policy_revisions.revision <> excluded.revision
"""


class HistoryBook:
    """The part of the store that policy's memory is read from."""

    _database: Database

    async def outcomes(
        self,
        since: datetime,
        *,
        cluster: str | None = None,
        namespace: str | None = None,
        action: str | None = None,
    ) -> Sequence[Outcome]:
        async with self._database.begin() as connection:
            found = await rows(
                connection, _OUTCOMES, since=since, cluster=cluster, namespace=namespace, action=action
            )
        return [_outcome(item) for item in found]

    async def decisions(self, since: datetime, *, incident: str = "") -> AsyncIterator[AuditEvent]:
        async with (
            self._database.snapshot() as connection,
            streamed(connection, _DECISIONS, since=since, incident=incident) as found,
        ):
            async for item in found:
                yield AuditEvent(**json.loads(item["body"]), hash=item["hash"])

    async def note_revision(self, engine: str, revision: str, entry: AuditEntry) -> bool:
        async with self._database.begin() as connection:
            known = await row(
                connection, "SELECT revision FROM policy_revisions WHERE engine = :engine", engine=engine
            )
            if known is not None and known["revision"] == revision:
                return False  # nearly always: nothing is locked or written
            changed = await run(connection, _NOTE, engine=engine, revision=revision)
            if changed:
                await audit.append(connection, [entry])
        return bool(changed)

    async def revisions(self) -> Mapping[str, str]:
        async with self._database.begin() as connection:
            found = await rows(connection, "SELECT engine, revision FROM policy_revisions")
        return {item["engine"]: item["revision"] for item in found}


def _outcome(found: Mapping[str, Any]) -> Outcome:
    return Outcome(
        cluster=found["cluster"],
        namespace=found["namespace"] or "",
        workload=f"{found['kind']}/{found['name']}",
        action=found["action"],
        result=_RESULTS[LedgerState(found["state"])],
        at=found["updated_at"],
        incident_id=found["incident_id"],
    )
