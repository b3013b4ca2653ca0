"""What the console works with. One object, built once, so that every route sees the same world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from starlette.requests import HTTPConnection

from console.identity import Gate
from cortexops.contracts.incident import VoteResult
from cortexops.domain.approval import Decision, Person
from cortexops.ports.store import Store
from cortexops.settings import Settings

Components = Callable[[], Awaitable[dict[str, str | None]]]
"""Component → what is wrong with it, or None."""


class Votes(Protocol):
    """Where votes go (`cortexops.adapters.votes.VoteBox`)."""

    async def cast(
        self, approval_id: str, person: Person, decision: Decision, reason: str, digest: str
    ) -> VoteResult: ...


@dataclass(frozen=True)
class Desk:
    settings: Settings
    store: Store
    votes: Votes
    gate: Gate
    components: Components
    clock: Callable[[], datetime]


def desk_of(connection: HTTPConnection) -> Desk:
    desk: Desk = connection.app.state.desk
    return desk
