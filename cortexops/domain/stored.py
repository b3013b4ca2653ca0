"""What the API server stored, held against what it answered to the dry run.

Admission may treat the two unlike: a webhook is told that a request is a dry run, and may have come or
changed since. Then the effect is not what people were shown, and that must not pass for success.
"""

from __future__ import annotations

from typing import Any

from cortexops.domain.change import Change, DiffLine, FieldEdit, holds, lookup
from cortexops.domain.ids import digest
from cortexops.domain.redaction import BY_NAME
from cortexops.domain.resource import JSON
from cortexops.domain.snapshot import foreign_lines

_MOST_TOLD = 8
_REST = "/spec"


def outcome_of(change: Change, answered: JSON) -> str:
    """The digest of the whole spec as the dry run answered it, to compare with what is stored.

    Empty where nothing guards the rest of the object: without a generation to test, others may have
    changed it in between, so only the edited fields can be compared.
    """
    return digest(answered.get("spec")) if change.generation is not None else ""


def settled_since(change: Change, live: JSON) -> bool:
    """Whether nobody has changed the spec after our patch, so that it can still be compared."""
    generation = live.get("metadata", {}).get("generation")
    return change.generation is not None and generation is not None and generation <= change.generation + 1


def strayed(change: Change, stored: JSON) -> tuple[FieldEdit, ...]:
    """The fields that hold something else than was agreed on; empty when all is as it should be.

    In each, `before` is what is stored and `after` what was agreed on. Where no edited field differs and
    something else of the spec does, one line stands for it.
    """
    found = []
    for field in change.edits:
        if not holds(stored, field.path, field.after_present, field.after):
            present, now = lookup(stored, field.path)
            found.append(field.model_copy(update={"before": now, "before_present": present}))
    if not found and change.outcome and digest(stored.get("spec")) != change.outcome:
        found.append(FieldEdit(path=_REST, before_present=False, after_present=False))
    return tuple(found)


def strayed_text(change: Change, fields: tuple[FieldEdit, ...]) -> str:
    """What people are told of it, secrets masked."""
    secret = change.target.kind == "Secret"
    lines = [
        DiffLine(path=field.path, before=BY_NAME, after=BY_NAME) if secret else _line(field)
        for field in fields[:_MOST_TOLD]
    ]
    return "; ".join(_words(line, secret) for line in lines)


def _line(field: FieldEdit) -> DiffLine:
    lines = foreign_lines((field,))
    return lines[0] if len(lines) == 1 else DiffLine(path=field.path)


def _words(line: DiffLine, secret: bool) -> str:
    if secret or not (line.before or line.after):
        return f"{line.path} is not as the dry run answered"
    return f"{line.path}: agreed on {_said(line.before)}, stored {_said(line.after)}"


def _said(text: Any) -> str:
    return str(text)[:120] or "nothing"
