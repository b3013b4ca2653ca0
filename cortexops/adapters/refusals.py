"""What was refused on the way to an approval, as rows of the audit trail.

A row says who, by which means, and why. Repetitions of one refusal make one row: an outsider can fill neither
the trail nor the disk. A refusal stands whether or not its row could be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from cortexops.domain.approval import Decision, Person, VoteRefusal
from cortexops.domain.audit import PLATFORM, AuditEntry, AuditEvent, AuditType
from cortexops.domain.errors import CortexError
from cortexops.domain.ids import digest as sha256
from cortexops.metrics import REQUESTS_REFUSED, VOTES_REFUSED
from cortexops.telemetry import get_logger

_log = get_logger(__name__)
_LONGEST = 100
"""Characters of an outsider's text that a row keeps."""


class RequestRefusal(StrEnum):
    """Why a request was turned away before anybody's vote was read from it."""

    NOT_CONFIGURED = "not_configured"
    FORGED = "forged_signature"
    STALE = "outside_replay_window"
    REPLAYED = "replayed"
    WRONG_WORKSPACE = "wrong_workspace"
    WRONG_APP = "wrong_app"
    MALFORMED = "malformed"
    STRANGER = "unknown_person"
    NOT_THE_OPENER = "form_of_somebody_else"
    UNAUTHENTICATED = "unauthenticated"


class Trail(Protocol):
    """What is needed of the store."""

    async def append(self, entries: Sequence[AuditEntry]) -> list[AuditEvent]: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class Refusals:
    """Writes refusals down and counts them."""

    def __init__(self, trail: Trail, clock: Callable[[], datetime] = utc_now) -> None:
        self._trail = trail
        self._clock = clock

    async def vote(
        self,
        approval_id: str,
        person: Person,
        decision: Decision,
        refusal: VoteRefusal,
        *,
        incident_id: str = "",
        digest: str = "",
    ) -> None:
        """One row an approval, person, means, answer and reason; of approvals that are not ours one a minute."""
        VOTES_REFUSED.labels(reason=refusal, via=person.via or "nobody").inc()
        now = self._clock()
        about = [approval_id] if incident_id else [f"{now:%Y%m%d%H%M}"]
        key = sha256([*about, person.id, person.via, decision.value, refusal.value])[:32]
        await self._write(
            AuditEntry(
                chain=incident_id or PLATFORM,
                type=AuditType.VOTE_REFUSED,
                reason=refusal.value,
                detail=f"{approval_id[:_LONGEST]}: {decision.value} does not count: {refusal.value}",
                actor=person.id if person.via else "anonymous",
                at=now,
                data={"via": person.via, "digest": digest[:_LONGEST], "approval": approval_id[:_LONGEST]},
                idempotency_key=f"refused-vote:{key}",
            )
        )

    async def request(self, channel: str, refusal: RequestRefusal, *, actor: str = "unknown") -> None:
        """One row a minute for each channel and reason."""
        REQUESTS_REFUSED.labels(channel=channel, reason=refusal).inc()
        now = self._clock()
        await self._write(
            AuditEntry(
                chain=PLATFORM,
                type=AuditType.REQUEST_REFUSED,
                reason=refusal.value,
                detail=f"a request by {channel} was refused: {refusal.value}",
                actor=actor[:_LONGEST],
                at=now,
                data={"via": channel},
                idempotency_key=f"refused-request:{channel}:{refusal.value}:{now:%Y%m%d%H%M}",
            )
        )

    async def _write(self, entry: AuditEntry) -> None:
        try:
            await self._trail.append([entry])
        except CortexError as error:
            _log.error("a refusal is not in the audit trail", reason=entry.reason, problem=str(error))
