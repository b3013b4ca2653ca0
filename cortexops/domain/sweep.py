"""What is left when a workflow ends before its work does: judged by a look at the object, told to people.

Nothing in here assumes how far the workflow got. The ledger says what was begun, the object says whether it
was done, and what cannot be told stays for a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from cortexops.domain.audit import AuditType
from cortexops.domain.change import KEPT_BY_OTHERS, Undo, UndoPlan, Verb, carries, undo
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.ledger import Effect, LedgerRow, LedgerState, effect_of
from cortexops.domain.resource import JSON, Frozen
from cortexops.domain.snapshot import commands_by_hand
from cortexops.domain.words import counted


class RunState(StrEnum):
    """What Temporal says of a workflow run."""

    RUNNING = "running"
    TERMINATED = "terminated"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    COMPLETED = "completed"
    GONE = "gone"


REASONS: dict[RunState, Reason] = {
    RunState.TERMINATED: Reason.WORKFLOW_TERMINATED,
    RunState.FAILED: Reason.WORKFLOW_FAILED,
    RunState.TIMED_OUT: Reason.WORKFLOW_TIMED_OUT,
    RunState.CANCELED: Reason.WORKFLOW_CANCELED,
    RunState.COMPLETED: Reason.WORKFLOW_ENDED,
    RunState.GONE: Reason.WORKFLOW_GONE,
}
ENDED_BY_OTHERS = frozenset({Reason.TERMINATED, *REASONS.values()})
"""Reasons of ends that are not their workflow's own, so that nothing it says later counts."""
_ENDS = {
    RunState.TERMINATED: "was terminated",
    RunState.FAILED: "failed",
    RunState.TIMED_OUT: "timed out",
    RunState.CANCELED: "was cancelled",
    RunState.COMPLETED: "ended without saying so",
    RunState.GONE: "is gone",
}


class Outcome(StrEnum):
    """What became of one change that its workflow left behind."""

    NOT_DONE = "not_done"
    IN_PLACE = "in_place"
    UNDONE = "undone"
    COMPENSATED = "compensated"
    UNCLEAR = "unclear"
    UNDER_WAY = "under_way"  # a last request may still be on its way: looked at again later
    UNREACHABLE = "unreachable"  # the cluster does not answer: looked at again later
    WAITING = "waiting"  # of a pull request: for a person to decide, or for the cluster to follow
    VERIFIED = "verified"  # of a pull request: merged, and the object is well with it
    DECLINED = "declined"  # of a pull request: closed, nothing was changed

    @property
    def settled(self) -> bool:
        return self not in (Outcome.UNDER_WAY, Outcome.UNREACHABLE, Outcome.WAITING)


class Finding(Frozen):
    """The verdict on one row: through which states it goes, and what people are told."""

    operation_id: str
    outcome: Outcome
    steps: tuple[LedgerState, ...] = ()
    detail: str
    commands: tuple[str, ...] = ()
    """Commands that take the change back by hand, where there is something to take back."""
    reversible: bool = False
    """Only we changed what we changed: it can be taken back without trampling on others."""


STEP_REASONS: dict[LedgerState, tuple[AuditType, Reason]] = {
    LedgerState.APPLIED: (AuditType.ACTION_EXECUTED, Reason.APPLIED),
    LedgerState.REFUSED: (AuditType.ACTION_REFUSED, Reason.APPLY_REFUSED),
    LedgerState.UNKNOWN: (AuditType.EFFECT_UNKNOWN, Reason.EFFECT_UNKNOWN),
    LedgerState.COMPENSATED: (AuditType.COMPENSATION_EXECUTED, Reason.COMPENSATED),
}


def judge(row: LedgerRow, live: JSON | None, *, quiet: bool) -> Finding:
    """What a look at the object says about a row in intent or applied.

    `quiet`: so long has passed since the workflow ended that no request of it can be under way any more.
    Until then an object that was not changed yet says nothing, and nothing is taken back.
    """
    change = row.change
    if row.state is LedgerState.INTENT:
        effect = _effect(row, live)
        if effect is Effect.NOT_DONE and not quiet:
            text = "it may be about to be made; it is looked at again"
            return finding(row, Outcome.UNDER_WAY, text, commands=commands_by_hand(change))
        if effect is Effect.NOT_DONE:
            return finding(row, Outcome.NOT_DONE, "was not made; nothing was changed", LedgerState.REFUSED)
        if effect is Effect.UNKNOWN:
            text = _UNTOLD.get(change.verb, "the object was changed or replaced by others since")
            text = f"nobody can tell whether it was made: {text}"
            return finding(row, Outcome.UNCLEAR, text, LedgerState.UNKNOWN, commands=commands_by_hand(change))
    made = begun(row)
    if change.verb in KEPT_BY_OTHERS:
        text = _KEPT.get(change.verb, "was made and cannot be taken back in the cluster")
        return finding(row, Outcome.IN_PLACE, text, *made)
    plan = _undo(row, live)
    if plan.verdict is Undo.ALREADY or (live is not None and carries(live, f"{row.operation_id}.undo")):
        text = "was made, and the earlier values are back"
        return finding(row, Outcome.UNDONE, text, *made, LedgerState.COMPENSATED)
    if plan.verdict is Undo.GONE:
        text = "was made, and the object is gone or was replaced since"
        return finding(row, Outcome.UNCLEAR, text, *made, LedgerState.UNKNOWN)
    if plan.verdict is Undo.FOREIGN:
        text = f"was made, and others changed the object since ({counted(len(plan.foreign), 'field')})"
        return finding(
            row, Outcome.UNCLEAR, text, *made, LedgerState.UNKNOWN, commands=commands_by_hand(change)
        )
    if plan.verdict is Undo.LASTING:
        text = f"was made, and whether it helped was not verified; it cannot be taken back: {change.lasting}"
        return finding(row, Outcome.IN_PLACE, text, *made)
    text = "was begun; pods may have been moved" if change.verb is Verb.DRAIN else "was made"
    found = finding(
        row,
        Outcome.IN_PLACE,
        f"{text}, and whether it helped was not verified",
        *made,
        commands=commands_by_hand(change),
    )
    return found.model_copy(update={"reversible": quiet})


_KEPT = {Verb.PROPOSE: "the pull request was opened; no repository is configured here to follow it in"}
_UNTOLD = {
    Verb.PROPOSE: "the cluster does not know of the pull request; look for it where it would be",
    Verb.NOTHING: "it was for a person to do",
}


def _effect(row: LedgerRow, live: JSON | None) -> Effect:
    """A Secret's values are not in the ledger: without our mark only its version says that nothing happened."""
    if not _secret(row) or live is None or live.get("metadata", {}).get("uid") != row.change.uid:
        return effect_of(row.change, live)
    if carries(live, row.operation_id):
        return Effect.DONE
    same = live["metadata"].get("resourceVersion") == row.snapshot.get("resourceVersion")
    return Effect.NOT_DONE if same else Effect.UNKNOWN


def _undo(row: LedgerRow, live: JSON | None) -> UndoPlan:
    """How it could be taken back. A Secret's values are compared by the one who takes it back."""
    undoing = f"{row.operation_id}.undo"
    if not _secret(row) or live is None or live.get("metadata", {}).get("uid") != row.change.uid:
        return undo(row.change, live, operation=undoing)
    return UndoPlan(verdict=Undo.POSSIBLE if carries(live, row.operation_id) else Undo.FOREIGN)


def _secret(row: LedgerRow) -> bool:
    return row.change.target.kind == "Secret" and row.change.verb is Verb.PATCH


def unreachable(row: LedgerRow, why: str, *, whom: str = "the cluster") -> Finding:
    """What would tell cannot be read now."""
    text = f"may have been made; {whom} cannot be asked: {why}"
    return finding(row, Outcome.UNREACHABLE, text, commands=commands_by_hand(row.change))


def begun(row: LedgerRow) -> tuple[LedgerState, ...]:
    """The state that the row goes through first when what it intended turns out to be made."""
    return (LedgerState.APPLIED,) if row.state is LedgerState.INTENT else ()


def finding(
    row: LedgerRow, outcome: Outcome, text: str, *steps: LedgerState, commands: Sequence[str] = ()
) -> Finding:
    """A verdict on the row, told as being about its action."""
    return Finding(
        operation_id=row.operation_id,
        outcome=outcome,
        steps=steps,
        detail=f"{row.action}: {text}",
        commands=tuple(commands),
    )


def told_of_row(row: LedgerRow) -> str:
    """One change in the words of the ledger, with the commands to take it back where it may be in place."""
    words = {
        LedgerState.INTENT: "may have been made; it is looked at again",
        LedgerState.APPLIED: "was made and not verified",
        LedgerState.VERIFIED: "was made and verified",
        LedgerState.COMPENSATED: "was made and taken back",
        LedgerState.REFUSED: "was not made",
        LedgerState.UNKNOWN: "may be half done",
    }
    text = f"• {row.action}: {words[row.state]}"
    if row.state in (LedgerState.INTENT, LedgerState.APPLIED, LedgerState.UNKNOWN):
        text += "".join(f"\n    {command}" for command in commands_by_hand(row.change))
    return text


def closing_text(
    incident: Incident, run: RunState, rows: Sequence[LedgerRow], void: Sequence[str], *, why: str = ""
) -> str:
    """What people hear when an incident is closed because nothing works on it any more."""
    first = why or f"Its workflow {_ENDS.get(run, 'ended')} while it was {incident.state}."
    lines = [f"{first} Nothing is automated any more: a person has to look."]
    lines += [told_of_row(row) for row in rows]
    lines += [f"{one} is void: nobody can approve it any more" for one in void]
    return "\n".join(lines)


def closed(incident: Incident, reason: Reason, now: datetime) -> Incident:
    """The incident as it ends: escalated, not before what was written of it last."""
    at = max(now, incident.updated_at)
    return incident.model_copy(
        update={
            "state": IncidentState.ESCALATED,
            "reason": reason,
            "updated_at": at,
            "ended_at": at,
            "held_until": None,
            "held_by": "",
        }
    )
