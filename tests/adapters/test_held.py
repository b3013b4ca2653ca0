"""After a silence was lifted, what it held is told; what is being held at that very moment as well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Client

from cortexops.adapters.held import Silencing
from cortexops.contracts.incident import LOOK_AGAIN
from cortexops.domain.incident import Incident
from tests.support.postgres import a_draft

_NOW = datetime.now(UTC)


def an_incident(name: str, *, held: bool) -> Incident:
    until = _NOW + timedelta(hours=1) if held else None
    return a_draft(name, f"run-{name}").model_copy(update={"id": name, "held_until": until})


class Books:
    """Answers with one page after the other; the last one stays."""

    def __init__(self, *pages: Sequence[Incident]) -> None:
        self.pages = list(pages)

    async def lift_silence(self, *_: Any) -> None:
        return None

    async def incidents(self, **_: Any) -> Sequence[Incident]:
        return self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]


class Temporal:
    """Remembers whom it was asked to tell."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._key = ""

    def get_workflow_handle(self, key: str, **_: Any) -> Temporal:
        self._key = key
        return self

    async def signal(self, name: str, **_: Any) -> None:
        assert name == LOOK_AGAIN
        self.told.append(self._key)


async def lifted(*pages: Sequence[Incident]) -> tuple[int, bool, list[str]]:
    books: Any = Books(*pages)
    temporal: Any = Temporal()

    async def connect() -> Client:
        client: Client = temporal
        return client

    done = await Silencing(books, connect, pause_seconds=0.01).lift("s1", "ana", _NOW, via="cli")
    return done.told, done.complete, temporal.told


async def test_what_becomes_held_while_the_silence_is_lifted_is_told_a_moment_later() -> None:
    before, after = an_incident("a", held=False), an_incident("a", held=True)
    assert await lifted([before], [after]) == (1, True, ["a"])


async def test_what_is_still_held_is_told_once_more_and_counted_once() -> None:
    held = an_incident("a", held=True)
    assert await lifted([held], [held]) == (1, True, ["a", "a"])


async def test_what_has_looked_again_is_left_alone() -> None:
    held, free = an_incident("a", held=True), an_incident("a", held=False)
    assert await lifted([held], [free]) == (1, True, ["a"])


async def test_nobody_is_asked_for_where_nothing_is_held() -> None:
    assert await lifted([an_incident("a", held=False)]) == (0, True, [])
