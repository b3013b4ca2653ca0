"""People: who may be believed to be whom, and what somebody is told whose vote does not count.

A person is known by a secret that only they hold (a token, of which we keep the hash) or by a user id in a
payload whose signature was checked before. Nothing else makes a `Person`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Protocol

from cortexops.domain.approval import Person, VoteRefusal
from cortexops.domain.errors import PermanentError


class PersonRecord(Protocol):
    """What is configured of somebody (`settings.PersonSettings` has this shape)."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def token_sha256(self) -> str | None: ...
    @property
    def slack_user_id(self) -> str | None: ...


class People:
    """Everybody who is configured."""

    def __init__(self, records: Sequence[PersonRecord]) -> None:
        self._records = tuple(records)

    @property
    def with_tokens(self) -> bool:
        """Whether anybody can identify themselves with a token."""
        return any(record.token_sha256 for record in self._records)

    def by_token(self, token: str) -> Person | None:
        """Whose token this is. Every hash is compared, each in constant time: timing tells nothing."""
        shown = hashlib.sha256(token.encode()).hexdigest()
        found: PersonRecord | None = None
        for record in self._records:
            kept = (record.token_sha256 or "").strip().lower()
            if hmac.compare_digest(shown.encode(), kept.encode()) and found is None:
                found = record
        return _person(found, "token") if found is not None and token else None

    def by_slack(self, user_id: str) -> Person | None:
        """Who this Slack user is. Only for ids from a payload whose signature was checked."""
        for record in self._records:
            if user_id and record.slack_user_id == user_id:
                return _person(record, "slack")
        return None

    def by_id(self, person_id: str, *, via: str) -> Person | None:
        """Somebody who identified themselves earlier (a web session), as they are configured now."""
        for record in self._records:
            if record.id == person_id:
                return _person(record, via)
        return None


def _person(record: PersonRecord, via: str) -> Person:
    return Person(id=record.id, name=record.name, roles=record.roles, via=via)


REFUSAL_TEXTS: dict[VoteRefusal, str] = {
    VoteRefusal.NO_SUCH_APPROVAL: "There is no such approval.",
    VoteRefusal.NOT_PENDING: "The approval is already decided, or its incident has moved on.",
    VoteRefusal.EXPIRED: "The approval has expired. Nothing was done; it will not be done any more.",
    VoteRefusal.VOID: "The approval is void: the change has changed, or the trouble is over.",
    VoteRefusal.CHANGED_DIFF: "Void: the change has changed, it is not the one that you saw. Look again,"
    " and decide anew.",
    VoteRefusal.WRONG_ROLE: "You have none of the roles that the policy asks for.",
    VoteRefusal.PROPOSER: "Whoever proposed a change cannot approve it.",
    VoteRefusal.ALREADY_VOTED: "You have approved this change already; somebody else is needed.",
    VoteRefusal.ANONYMOUS: "Your identity could not be verified.",
}
"""What the voter is told."""


class VoteNotCounted(PermanentError):
    """The vote was understood and does not count; `refusal` says why."""

    def __init__(self, refusal: VoteRefusal, detail: str = "") -> None:
        super().__init__(f"{REFUSAL_TEXTS[refusal]}{f' {detail}' if detail else ''}")
        self.refusal = refusal
