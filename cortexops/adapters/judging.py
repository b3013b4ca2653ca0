"""People's words on diagnoses: said, taken back, and shown with their effect. One way for CLI, chat and console."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from cortexops.domain.approval import Person
from cortexops.domain.audit import AuditEntry
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import Conflict, InvalidInput, NotFound
from cortexops.domain.feedback import (
    Feedback,
    Rating,
    entry_of,
    latest_of,
    parse_category,
    parse_cause,
    spoken,
    undone,
)
from cortexops.domain.incident import Incident
from cortexops.domain.outgoing import Destination, outgoing


class JudgedStore(Protocol):
    """What is needed of the store."""

    async def incident(self, incident_id: str) -> Incident | None: ...

    async def diagnosis(self, incident_id: str) -> Diagnosis | None: ...

    async def add_feedback(self, word: Feedback, entry: AuditEntry) -> Feedback: ...

    async def feedback(
        self, *, cluster: str = "", incident_id: str = "", most: int = 5000
    ) -> list[Feedback]: ...


def _clean(text: str) -> str:
    return outgoing(text, Destination.AUDIT)


class Judging:
    """`clean` masks notes; when it raises nothing is stored."""

    def __init__(self, store: JudgedStore, clean: Callable[[str], str] = _clean) -> None:
        self._store = store
        self._clean = clean

    async def say(
        self,
        incident_id: str,
        person: Person,
        rating: str,
        *,
        now: datetime,
        cause: str = "",
        category: str = "",
        note: str = "",
    ) -> Feedback:
        """Keep the word. `cause` is `KIND/NAMESPACE/NAME`.

        Raises `InvalidInput` for what is not known, `NotFound` for an incident that is not there, `Conflict`
        when it has no diagnosis yet, `Withheld` when the note cannot be checked.
        """
        said = parse_rating(rating)
        true_category = parse_category(category)
        incident = await self._store.incident(incident_id)
        if incident is None:
            raise NotFound(f"incident {incident_id} was not found")
        true_resource = parse_cause(cause, incident.resource.cluster)
        diagnosis = await self._store.diagnosis(incident_id)
        if diagnosis is None:
            raise Conflict(f"{incident_id} has no diagnosis yet that could be judged")
        word = spoken(
            incident,
            diagnosis,
            said,
            person,
            at=now,
            true_resource=true_resource,
            true_category=true_category,
            note=note,
            clean=self._clean,
        )
        return await self._store.add_feedback(word, entry_of(word))

    async def undo(self, incident_id: str, person: Person, *, now: datetime) -> Feedback:
        """Take back this person's present word on the incident; what they said before stands again.

        Raises `NotFound` when there is none.
        """
        rows = await self._store.feedback(incident_id=incident_id)
        word = latest_of(rows, incident_id, person.id)
        if word is None:
            if await self._store.incident(incident_id) is None:
                raise NotFound(f"incident {incident_id} was not found")
            raise NotFound(f"there is no feedback of {person.id} on {incident_id}")
        row = undone(word, person, now)
        return await self._store.add_feedback(row, entry_of(row))


def parse_rating(text: str) -> Rating:
    """Raises `InvalidInput` that lists the known ones."""
    try:
        return Rating(text.strip().lower())
    except ValueError:
        raise InvalidInput("rating", f"{text!r} is not known; one of: {', '.join(Rating)}") from None
