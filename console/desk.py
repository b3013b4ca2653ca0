"""What the console works with. One object, built once, so that every route sees the same world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from starlette.requests import HTTPConnection

from console.identity import Gate
from cortexops.adapters.held import Lifted
from cortexops.contracts.incident import VoteResult
from cortexops.domain.approval import Decision, Person
from cortexops.domain.silence import Silence
from cortexops.ports.store import Store
from cortexops.settings import Settings

Components = Callable[[], Awaitable[dict[str, str | None]]]
"""Component → what is wrong with it, or None."""


class Votes(Protocol):
    """Where votes go (`cortexops.adapters.votes.VoteBox`)."""

    async def cast(
        self, approval_id: str, person: Person, decision: Decision, reason: str, digest: str
    ) -> VoteResult: ...


class Silencing(Protocol):
    """What adds and lifts silences (`cortexops.adapters.held.Silencing`)."""

    async def add(self, silence: Silence, now: datetime, *, via: str) -> Silence: ...

    async def lift(self, silence_id: str, actor: str, now: datetime, *, via: str) -> Lifted: ...


@dataclass(frozen=True)
class Desk:
    settings: Settings
    store: Store
    votes: Votes
    gate: Gate
    components: Components
    silencing: Silencing
    clock: Callable[[], datetime]


def desk_of(connection: HTTPConnection) -> Desk:
    desk: Desk = connection.app.state.desk
    return desk
