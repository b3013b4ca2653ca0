"""The console over a real Postgres, with votes that are counted by the domain's own rules."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
from temporalio.client import Client

from console.app import create_console
from cortexops.adapters.held import Silencing
from cortexops.contracts.incident import VoteResult
from cortexops.domain.approval import Decision, Person, Vote, VoteOutcome, VoteRefusal, refuse, tally
from cortexops.domain.errors import CortexError, TemporaryError
from cortexops.domain.people import VoteNotCounted
from cortexops.ports.store import Store
from cortexops.settings import Settings
from tests.support.case import ANA_TOKEN, BO_TOKEN, START, VIEWER_TOKEN

BASE = "http://127.0.0.1:8090"
ANA, BO, VIEWER = ({"authorization": f"Bearer {t}"} for t in (ANA_TOKEN, BO_TOKEN, VIEWER_TOKEN))


def sha(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


PEOPLE = (
    {
        "id": "ana",
        "name": "Ana",
        "roles": ("oncall",),
        "token_sha256": sha(ANA_TOKEN),
        "slack_user_id": "U0ANA",
    },
    {
        "id": "bo",
        "name": "Bo",
        "roles": ("sre-lead",),
        "token_sha256": sha(BO_TOKEN),
        "slack_user_id": "U0BO",
    },
    {
        "id": "vi",
        "name": "Vi",
        "roles": ("viewer",),
        "token_sha256": sha(VIEWER_TOKEN),
        "slack_user_id": "U0VI",
    },
)


class Clock:
    def __init__(self, now: datetime = START + timedelta(seconds=60)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


class FakeVotes:
    """Counts as the workflow does: the domain's rules, and one vote per (approval, person, decision)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.counted: list[Vote] = []
        self.failure: CortexError | None = None
        self._answers: dict[tuple[str, str, str], VoteResult] = {}

    async def cast(
        self, approval_id: str, person: Person, decision: Decision, reason: str, digest: str
    ) -> VoteResult:
        if self.failure is not None:
            raise self.failure
        known = self._answers.get((approval_id, person.id, decision.value))
        if known is not None:
            return known.model_copy(update={"outcome": VoteOutcome.ALREADY_VOTED})
        record = await self.store.approval(approval_id)
        vote = Vote(approval_id=approval_id, person=person, decision=decision, reason=reason, digest=digest)
        mine = [v for v in self.counted if v.approval_id == approval_id]
        refusal = refuse(record.request if record else None, mine, vote, now=self.clock())
        if refusal is not None:
            raise VoteNotCounted(VoteRefusal(refusal))
        assert record is not None
        self.counted.append(vote)
        mine.append(vote)
        result = VoteResult(
            approval_id=approval_id,
            state=tally(record.request, mine, now=self.clock()),
            approvals=len({v.person.id for v in mine if v.decision is Decision.APPROVE}),
            quorum=record.request.quorum,
        )
        self._answers[approval_id, person.id, decision.value] = result
        return result


async def _no_temporal() -> Client:
    raise TemporaryError("Temporal does not answer")


class World:
    """Console, store, clock and votes of one test."""

    def __init__(
        self, store: Store, *, connect: Callable[[], Awaitable[Client]] | None = None, **settings: Any
    ) -> None:
        self.store = store
        self.clock = Clock()
        self.votes = FakeVotes(store, self.clock)
        self.components: dict[str, str | None] = {"postgres": None, "temporal": None}
        self.settings = Settings(**{"people": PEOPLE, **settings})
        silencing = Silencing(store, connect or _no_temporal)
        self.app = create_console(self.settings, store, self.votes, self._health, silencing, clock=self.clock)

    async def _health(self) -> dict[str, str | None]:
        return self.components

    def client(self, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app),
            base_url=BASE,
            headers=headers,
            follow_redirects=False,
        )


async def sign_in(client: httpx.AsyncClient, token: str = ANA_TOKEN) -> None:
    answer = await client.post("/login", data={"token": token})
    assert answer.status_code == 303, answer.text


def csrf_in(page: str) -> str:
    return page.split('name="csrf" value="')[1].split('"', maxsplit=1)[0]
