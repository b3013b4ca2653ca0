"""What must hold after every run: one effect, the right ledger, the right end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from activities.actions import ACTIONS
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.audit import AuditType
from cortexops.domain.change import Verb, holds
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.verification import Phase
from tests.crash.cell import Left

_WRITES = {Verb.PATCH: 1, Verb.DELETE: 1, Verb.EVICT: 1, Verb.CREATE: 1, Verb.PROPOSE: 0, Verb.NOTHING: 0}


def faults(left: Left) -> list[str]:
    """Everything that is wrong with the run; empty when it is as it has to be."""
    if left.failure:
        return [left.failure]
    if left.plan.boundary is not None and not left.reached:
        return ["the boundary was never reached"]
    if left.ended is not None and left.ended.dry_run.reason is Reason.ESCALATION_CHOSEN:
        touched = left.rows or left.accepted or left.trail
        return ["something was done although nothing was to be changed"] if touched else []
    if left.ended is None or left.ended.apply is None:
        told = left.ended.dry_run.detail if left.ended else "no result"
        return [f"nothing was applied: {told}"]
    if not left.rows:
        return [f"nothing was applied: {left.ended.apply.outcome}, {left.ended.apply.detail}"]
    found = [*_ledger(left)]
    if len(left.rows) == 1:
        (row,) = left.rows
        judge = _meddled if left.plan.meddle else _applied
        found += [*judge(left, row)]
    return found


def _ledger(left: Left) -> Iterator[str]:
    if len(left.rows) != 1:
        yield f"{len(left.rows)} ledger rows instead of one"
    yield from (f"audit chain: {fault}" for fault in left.faults)
    types = [event.type for event in left.trail]
    if types.count(AuditType.INTENT) != 1:
        yield f"{types.count(AuditType.INTENT)} intents in the audit trail"
    answers = [type_ for type_ in types if type_ in (AuditType.ACTION_EXECUTED, AuditType.EFFECT_UNKNOWN)]
    if len(answers) != 1 or types.index(answers[0]) < types.index(AuditType.INTENT):
        yield f"the trail does not say once, after the intent, what became of it: {[str(t) for t in types]}"
    repeated = [str(type_) for type_, count in Counter(types).items() if count > 1]
    if repeated and not all(type_ == AuditType.PART_EXECUTED for type_ in repeated):
        yield f"recorded more than once: {', '.join(repeated)}"


def _applied(left: Left, row: LedgerRow) -> Iterator[str]:
    ended = left.ended
    assert ended is not None and ended.apply is not None
    wanted_outcome = ApplyOutcome.APPLIED
    if row.change.verb is Verb.PROPOSE:
        wanted_outcome = ApplyOutcome.HANDED_OVER
    if ended.apply.outcome is not wanted_outcome:
        yield f"apply answered {ended.apply.outcome} ({ended.apply.detail})"
        return
    verified = ended.verify is not None and ended.verify.phase is Phase.SUCCESSFUL
    undone = ended.compensate is not None and ended.compensate.done
    lasting = not ACTIONS[row.action.type].spec.reversible
    if ended.compensate is not None and undone is lasting:
        yield f"the undo answered {ended.compensate.detail}"
        return
    wanted = LedgerState.VERIFIED if verified else LedgerState.APPLIED
    wanted = LedgerState.COMPENSATED if undone else wanted
    if row.state is not wanted:
        yield f"the ledger says {row.state} instead of {wanted}"
    if lasting and ended.compensate and ended.compensate.reason is not Reason.NOT_REVERSIBLE:
        yield f"the undo of what cannot be undone answers {ended.compensate.reason}, ledger {row.state}"
        return
    expected = _WRITES.get(row.change.verb, 1 + len(row.change.pods))
    expected += 1 if undone and expected else 0
    if len(left.accepted) != expected:
        yield f"{len(left.accepted)} accepted writes instead of {expected}: {_told(left)}"
    yield from _object(left, row, undone)


def _object(left: Left, row: LedgerRow, undone: bool) -> Iterator[str]:
    change = row.change
    if change.verb is Verb.PROPOSE:
        if left.pulls != ["closed" if undone else "open"]:
            yield f"pull requests: {left.pulls}"
        if left.branches != (0 if undone else 1):
            yield f"{left.branches} branches"
    if change.verb in (Verb.PATCH, Verb.DRAIN):
        if left.after is None or left.before is None:
            yield "the object is gone"
            return
        notes = left.after["metadata"].get("annotations") or {}
        operation = f"{row.operation_id}.undo" if undone else row.operation_id
        if notes.get("cortexops.io/operation") != operation:
            yield "the object does not carry the operation's id"
        if change.target.kind == "Secret" and (left.after["data"] == left.before["data"]) is not undone:
            yield "the Secret does not hold what it should"
        for field in change.edits if change.target.kind != "Secret" else ():
            there, value = (
                (field.before_present, field.before) if undone else (field.after_present, field.after)
            )
            if not holds(left.after, field.path, there, value):
                yield f"{field.path} does not hold {'its earlier' if undone else 'the new'} value"
    going = {change.uid} if change.verb in (Verb.DELETE, Verb.EVICT) else {pod.uid for pod in change.pods}
    lost = left.pods_before - left.pods_after
    if change.verb is not Verb.CREATE and lost != going:
        yield f"{len(lost)} pods went instead of {len(going)}"
    if change.verb is Verb.CREATE and left.created != (0 if undone else 1):
        yield f"{left.created} objects carry the operation's id"


def _meddled(left: Left, row: LedgerRow) -> Iterator[str]:
    """Somebody else wrote over the field while the worker was dead: unknown, and hands off for good."""
    ended, after, theirs = left.ended, left.after, left.meddled
    assert ended is not None and ended.apply is not None
    if ended.apply.outcome is not ApplyOutcome.UNKNOWN:
        yield f"apply answered {ended.apply.outcome} although it cannot be told"
    if row.state is not LedgerState.UNKNOWN:
        yield f"the ledger says {row.state} instead of unknown"
    if ended.compensate is None or ended.compensate.done:
        yield "the undo claims to have restored something"
    if after is None or theirs is None or any(after.get(k) != theirs.get(k) for k in ("spec", "data")):
        yield "what somebody else wrote was changed"
    if len(left.accepted) > 1:
        yield f"{len(left.accepted)} accepted writes: {_told(left)}"


def _told(left: Left) -> str:
    return ", ".join(f"{one.method} {one.path.rpartition('/')[2]}" for one in left.accepted) or "none"
