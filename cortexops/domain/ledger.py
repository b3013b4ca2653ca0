"""The ledger: every change is written down before it is made, and what became of it after.

intent ──► applied ──► verified
   │          ├──────► compensated
   │          └──────► unknown
   ├──► refused   (nothing was changed)          verified ──► compensated | unknown
   └──► unknown   (it cannot be told; a person must look)

A pull request stays applied while people decide on it (`cortexops.domain.proposals`): verified once it is merged
and the cluster is well with it, compensated when it was closed, unknown when it was merged and nothing followed.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime

from cortexops.domain.action import Action
from cortexops.domain.change import Change, Verb, carries, holds
from cortexops.domain.errors import PermanentError
from cortexops.domain.resource import JSON, Frozen


class LedgerState(StrEnum):
    INTENT = "intent"
    APPLIED = "applied"
    VERIFIED = "verified"
    COMPENSATED = "compensated"
    REFUSED = "refused"
    UNKNOWN = "unknown"


LEDGER_STEPS: dict[LedgerState, frozenset[LedgerState]] = {
    LedgerState.INTENT: frozenset({LedgerState.APPLIED, LedgerState.REFUSED, LedgerState.UNKNOWN}),
    LedgerState.APPLIED: frozenset({LedgerState.VERIFIED, LedgerState.COMPENSATED, LedgerState.UNKNOWN}),
    LedgerState.VERIFIED: frozenset({LedgerState.COMPENSATED, LedgerState.UNKNOWN}),
    LedgerState.COMPENSATED: frozenset(),
    LedgerState.REFUSED: frozenset(),
    LedgerState.UNKNOWN: frozenset({LedgerState.APPLIED, LedgerState.COMPENSATED, LedgerState.REFUSED}),
}
"""From unknown, only a person's finding leads on."""


def check_ledger_step(before: LedgerState, after: LedgerState) -> None:
    """Raise `PermanentError` unless the step is legal; staying where it is always is."""
    if after is not before and after not in LEDGER_STEPS[before]:
        raise PermanentError(f"a ledger row cannot go from {before} to {after}")


class LedgerRow(Frozen):
    """One change of one object by one attempt. `operation_id` is its idempotency key."""

    operation_id: str
    incident_id: str
    attempt: int
    step: int
    plan_hash: str
    action: Action
    change: Change
    snapshot: JSON
    state: LedgerState
    detail: str = ""
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Effect(StrEnum):
    """What a look at the object says about a change whose outcome is not recorded."""

    DONE = "done"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


def effect_of_patch(change: Change, live: JSON | None) -> Effect:
    """Done: the object carries the operation's id. Not done: every edited field is as it was before.

    Anything else (gone, replaced, changed by somebody else) cannot be told from here.
    """
    if live is None or live.get("metadata", {}).get("uid") != change.uid:
        return Effect.UNKNOWN
    if carries(live, change.operation_id):
        return Effect.DONE
    untouched = all(holds(live, f.path, f.before_present, f.before) for f in change.edits)
    return Effect.NOT_DONE if untouched else Effect.UNKNOWN


def effect_of_delete(change: Change, live: JSON | None) -> Effect:
    """Done when the very object is gone or going; its successor of the same name has another uid."""
    if live is None or live.get("metadata", {}).get("uid") != change.uid:
        return Effect.DONE
    return Effect.DONE if live["metadata"].get("deletionTimestamp") else Effect.NOT_DONE


def effect_of_create(change: Change, live: JSON | None) -> Effect:
    """Done when an object of that name carries the operation's id; somebody else's tells nothing."""
    if live is None:
        return Effect.NOT_DONE
    return Effect.DONE if carries(live, change.operation_id) else Effect.UNKNOWN


def effect_of(change: Change, live: JSON | None) -> Effect:
    """What a look at `change.target` says, whatever was sent. Of a drain it says whether it was begun;
    of a pull request nothing."""
    if change.verb in (Verb.PATCH, Verb.DRAIN):
        return effect_of_patch(change, live)
    if change.verb is Verb.CREATE:
        return effect_of_create(change, live)
    if change.verb in (Verb.DELETE, Verb.EVICT):
        return effect_of_delete(change, live)
    return Effect.UNKNOWN
