"""What people say of a diagnosis: accurate, partial or incorrect, and what the true cause was.

Rows are only ever added. Of one person's words on one incident the latest counts; a row that undoes another
takes that one out, and what was said before stands again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field

from cortexops.domain.approval import Person
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import InvalidInput
from cortexops.domain.ids import digest
from cortexops.domain.incident import Incident
from cortexops.domain.resource import KINDS, Frozen, ResourceRef

LONGEST_NOTE = 2000  # characters
_LONGEST_NAME = 253


class Rating(StrEnum):
    """How good the diagnosis was. The values are what people type."""

    ACCURATE = "accurate"
    PARTIAL = "partial"
    INCORRECT = "incorrect"

    @property
    def wrong(self) -> float:
        """How far the diagnosis was off, 0–1."""
        return {Rating.ACCURATE: 0.0, Rating.PARTIAL: 0.5, Rating.INCORRECT: 1.0}[self]


class Feedback(Frozen):
    """One row. `target`, `category` and `shape` are those of the diagnosis that was judged, kept with the word
    because a diagnosis may be made anew.

    `undoes` names the row that this one takes out; then `rating` repeats what that row said.
    """

    id: str
    number: int = 0
    """Place in the book, given when it is stored: the higher is the later."""
    incident_id: str
    rating: Rating
    person: str
    via: str
    at: AwareDatetime
    target: ResourceRef
    category: Category | None = None
    shape: str = ""
    true_resource: ResourceRef | None = None
    true_category: Category | None = None
    note: str = Field("", max_length=LONGEST_NOTE)
    undoes: str = ""

    @property
    def names_cause(self) -> bool:
        return self.true_resource is not None or self.true_category is not None


def spoken(
    incident: Incident,
    diagnosis: Diagnosis,
    rating: Rating,
    person: Person,
    *,
    at: datetime,
    true_resource: ResourceRef | None = None,
    true_category: Category | None = None,
    note: str = "",
    clean: Callable[[str], str],
) -> Feedback:
    """A word on the incident's diagnosis. `clean` masks the note; what it raises goes to the caller.

    Raises `InvalidInput` when somebody calls a diagnosis accurate and names another cause.
    """
    named = true_resource is not None or true_category is not None
    if rating is Rating.ACCURATE and named:
        raise InvalidInput("cause", "goes with partial or incorrect: an accurate diagnosis has named it")
    cause = diagnosis.cause
    note = clean(note.strip())[:LONGEST_NOTE]
    fingerprint = diagnosis.fingerprint
    body = [incident.id, person.id, rating, str(true_resource), true_category, note, at.isoformat()]
    return Feedback(
        id=f"fb-{digest(body)[:12]}",
        incident_id=incident.id,
        rating=rating,
        person=person.id,
        via=person.via,
        at=at,
        target=diagnosis.target,
        category=cause.category if cause else None,
        shape=fingerprint.shape if fingerprint else diagnosis.target.kind,
        true_resource=true_resource,
        true_category=true_category,
        note=note,
    )


def undone(word: Feedback, person: Person, at: datetime) -> Feedback:
    """The row that takes the word out."""
    return word.model_copy(
        update={
            "id": f"fb-{digest([word.id, 'undone'])[:12]}",
            "number": 0,
            "person": person.id,
            "via": person.via,
            "at": at,
            "note": "",
            "undoes": word.id,
        }
    )


def entry_of(word: Feedback) -> AuditEntry:
    """The audit row of the word. The note stays out of it: it is kept with the word."""
    cause = " ".join(str(part) for part in (word.true_category, word.true_resource) if part)
    detail = f"{word.rating}{f', the cause was {cause}' if cause else ''}"
    return AuditEntry(
        chain=word.incident_id,
        type=AuditType.FEEDBACK,
        reason="undone" if word.undoes else word.rating.value,
        detail=f"undone: {detail}" if word.undoes else detail,
        actor=word.person,
        at=word.at,
        data={"via": word.via, "feedback": word.id, "undoes": word.undoes},
        idempotency_key=f"feedback:{word.id}",
    )


def standing(rows: Iterable[Feedback]) -> list[Feedback]:
    """The words that count now, by incident and person. In whatever order the rows come."""
    kept = sorted(rows, key=_age)
    taken_out = {row.undoes for row in kept if row.undoes}
    latest: dict[tuple[str, str], Feedback] = {}
    for row in kept:
        if not row.undoes and row.id not in taken_out:
            latest[row.incident_id, row.person] = row
    return [latest[key] for key in sorted(latest)]


def latest_of(rows: Iterable[Feedback], incident_id: str, person: str) -> Feedback | None:
    """The word of this person on this incident that counts now."""
    words = standing(row for row in rows if row.incident_id == incident_id)
    return next((word for word in words if word.person == person), None)


def wrong_by_incident(rows: Iterable[Feedback]) -> Mapping[str, float]:
    """How far each incident's diagnosis was called wrong, the mean over people."""
    said: dict[str, list[float]] = defaultdict(list)
    for word in standing(rows):
        said[word.incident_id].append(word.rating.wrong)
    return {incident: sum(values) / len(values) for incident, values in said.items()}


def _age(row: Feedback) -> tuple[int, datetime, str]:
    return row.number, row.at, row.id


def parse_category(text: str, field: str = "category") -> Category | None:
    """Raises `InvalidInput` that lists the known ones."""
    if not text:
        return None
    try:
        return Category(text.strip().lower())
    except ValueError:
        known = ", ".join(sorted(c.value for c in Category if c is not Category.UNKNOWN))
        raise InvalidInput(field, f"{text!r} is not known; one of: {known}") from None


def parse_cause(text: str, cluster: str, field: str = "cause") -> ResourceRef | None:
    """`KIND/NAMESPACE/NAME`, or `KIND/NAME` for kinds that are in no namespace. Raises `InvalidInput`."""
    if not text:
        return None
    parts = [part.strip() for part in text.split("/")]
    kind = next((k for k in KINDS.values() if k.kind.lower() == parts[0].lower()), None)
    if kind is None:
        known = ", ".join(sorted(KINDS))
        raise InvalidInput(field, f"{parts[0]!r} is not a known kind; one of: {known}")
    wanted = 3 if kind.namespaced else 2
    if len(parts) != wanted or not all(parts) or any(len(part) > _LONGEST_NAME for part in parts):
        form = "KIND/NAMESPACE/NAME" if kind.namespaced else "KIND/NAME"
        raise InvalidInput(field, f"a {kind.kind} is named as {form}")
    namespace = parts[1] if kind.namespaced else ""
    return ResourceRef(cluster=cluster, kind=kind.kind, namespace=namespace, name=parts[-1])
