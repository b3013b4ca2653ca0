"""Following pull requests that were opened, until somebody has decided and the cluster has followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from activities.bookkeeping import part_entry
from activities.errors import told
from activities.health import measure, utc_now
from activities.means import find
from cortexops.domain.audit import AuditEntry, resting
from cortexops.domain.errors import CortexError
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerRow
from cortexops.domain.proposals import STEPS, merged, proposal_of, undecided
from cortexops.domain.redaction import redact
from cortexops.domain.sweep import Finding, unreachable
from cortexops.domain.workload import WORKLOADS
from cortexops.ports.cluster import ReadableCluster
from cortexops.ports.forge import Forge
from cortexops.ports.store import AuditStore

_MERGED = "merged"


class Following:
    """Reads Git, its provider and the cluster; of the books it writes when a merge was first seen."""

    def __init__(
        self,
        books: AuditStore,
        clusters: Mapping[str, ReadableCluster],
        forge: Forge,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._books = books
        self._clusters = clusters
        self._forge = forge
        self._clock = clock

    async def look(self, row: LedgerRow, *, quiet: bool) -> Finding:
        """What became of the row's pull request. What cannot be asked now is found out by a later look."""
        proposal = proposal_of(row)
        assert proposal is not None
        try:
            found = await self._forge.fate(row.operation_id, proposal)
            where = found.url or f"the pull request of {row.operation_id}"
            verdict = undecided(row, found.fate, where, quiet=quiet)
            if verdict is not None:
                return verdict
            cluster = self._clusters.get(row.change.target.cluster)
            if cluster is None:
                return unreachable(
                    row, f"no identity for cluster {row.change.target.cluster} is configured here"
                )
            since = await self._first_seen(row, where)
            live = await find(cluster, row.change.target)
            well = row.change.target.kind in WORKLOADS and live is not None
            measured = (
                await measure(cluster, row.change.target, since=since, clock=self._clock) if well else []
            )
        except CortexError as error:
            return unreachable(row, redact(told(error)).text, whom="Git or the cluster")
        return merged(row, proposal, where, found.commit, live, measured, since=since, now=self._clock())

    async def _first_seen(self, row: LedgerRow, where: str) -> datetime:
        """When the merge was first seen, which is written down at that moment."""
        entry = part_entry(row, _MERGED, f"{where} was merged").model_copy(
            update={"reason": Reason.PULL_REQUEST_MERGED, "at": self._clock()}
        )
        await self._books.append([entry])
        events = await self._books.events(row.incident_id)
        return next(one.at for one in events if one.idempotency_key == entry.idempotency_key)


def proposal_entries(row: LedgerRow, finding: Finding, at: datetime) -> list[AuditEntry]:
    """The steps of the ledger as audit rows."""
    entries = [
        AuditEntry(
            chain=row.incident_id,
            type=STEPS[step][0],
            reason=STEPS[step][1],
            detail=finding.detail,
            at=at,
            data={"operation": row.operation_id, "attempt": row.attempt, "commands": list(finding.commands)},
            idempotency_key=f"{row.operation_id}:{STEPS[step][0]}",
        )
        for step in finding.steps
    ]
    on = [row.model_dump(mode="json"), finding.model_dump(mode="json")]
    return [resting(entry, *on) for entry in entries]
