"""What becomes of a pull request after it was opened: until somebody decides, and until the cluster follows.

Nothing was changed in the cluster by us, so closing it is the whole undo; merging it is verified only once the
cluster has the values and the object is well with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cortexops.domain.audit import AuditType
from cortexops.domain.change import Verb
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.manifest import Fate, ManifestEdit, Named, Proposal, Scalar, equal
from cortexops.domain.resource import JSON
from cortexops.domain.sweep import Finding, Outcome, begun, finding
from cortexops.domain.verification import Measurement, Phase

PATIENCE = timedelta(hours=1)
"""So long may controller and rollout take after the merge; then a person hears that they did not follow."""

STEPS: dict[LedgerState, tuple[AuditType, Reason]] = {
    LedgerState.APPLIED: (AuditType.ACTION_EXECUTED, Reason.PULL_REQUEST_OPENED),
    LedgerState.VERIFIED: (AuditType.VERIFIED, Reason.VERIFIED),
    LedgerState.COMPENSATED: (AuditType.COMPENSATION_EXECUTED, Reason.PULL_REQUEST_CLOSED),
    LedgerState.REFUSED: (AuditType.ACTION_REFUSED, Reason.APPLY_REFUSED),
    LedgerState.UNKNOWN: (AuditType.EFFECT_UNKNOWN, Reason.EFFECT_UNKNOWN),
}
_BEFORE_IT_IS_MADE = frozenset({Fate.NONE, Fate.HALF})


def proposal_of(row: LedgerRow) -> Proposal | None:
    """What the row proposed in Git; None when it did something else."""
    return Proposal.model_validate(row.change.body) if row.change.verb is Verb.PROPOSE else None


def undecided(row: LedgerRow, fate: Fate, where: str, *, quiet: bool) -> Finding | None:
    """The verdict where the fate alone tells it; None when it was merged: then the cluster is asked.

    `quiet`: no request of the workflow can be under way any more. `where` is the pull request or its branch.
    """
    if row.state is LedgerState.INTENT and fate in _BEFORE_IT_IS_MADE:
        if not quiet:
            return finding(row, Outcome.UNDER_WAY, "it may be about to be opened; it is looked at again")
        if fate is Fate.NONE:
            return finding(row, Outcome.NOT_DONE, "no pull request was opened", LedgerState.REFUSED)
    if row.state is LedgerState.INTENT and fate is Fate.FOREIGN:
        text = f"the branch of {where} holds something else: nobody can tell whose it is"
        return finding(row, Outcome.UNCLEAR, text, LedgerState.UNKNOWN)
    made = begun(row)
    if fate is Fate.CLOSED:
        text = f"{where} was closed without being merged; nothing was changed"
        return finding(row, Outcome.DECLINED, text, *made, LedgerState.COMPENSATED)
    if fate is Fate.NONE:
        text = f"the branch of {where} is gone and Git does not say what it proposed; nothing was changed"
        return finding(row, Outcome.DECLINED, text, *made, LedgerState.COMPENSATED)
    if fate is Fate.MERGED:
        return None
    text = f"{where} waits for a person to merge it" if fate is not Fate.HALF else (
        f"{where} is there without a pull request: a person opens one, or deletes it"
    )  # fmt: skip
    return finding(row, Outcome.WAITING, text, *made)


def merged(
    row: LedgerRow,
    proposal: Proposal,
    where: str,
    commit: str,
    live: JSON | None,
    measured: Sequence[Measurement],
    *,
    since: datetime,
    now: datetime,
) -> Finding:
    """The verdict on what was merged. `since`: when that was first seen. `measured`: the object's health."""
    made = begun(row)
    by_hand = (f"git revert {commit}",) if commit else ()
    if live is None:
        text = f"{where} was merged, and {row.change.target} is gone since"
        return finding(row, Outcome.UNCLEAR, text, *made, LedgerState.UNKNOWN, commands=by_hand)
    missing = [str(edit) for edit in proposal.edits if not _in_place(live, edit)]
    ill = [one for one in measured if one.phase is not Phase.SUCCESSFUL and not _none_wanted(live, one)]
    if not missing and not ill:
        how = "; ".join(one.detail for one in measured) or "the cluster has it"
        return finding(
            row, Outcome.VERIFIED, f"{where} was merged and has arrived: {how}", *made, LedgerState.VERIFIED
        )
    why = (
        f"the cluster does not have {', '.join(missing[:3])} yet"
        if missing
        else "; ".join(one.detail for one in ill)
    )
    if now - since < PATIENCE:
        return finding(row, Outcome.WAITING, f"{where} was merged; {why}", *made)
    text = f"{where} was merged, and after {PATIENCE.total_seconds() / 60:g} minutes {why}"
    return finding(row, Outcome.UNCLEAR, text, *made, LedgerState.UNKNOWN, commands=by_hand)


def _none_wanted(live: JSON, one: Measurement) -> bool:
    """Of a workload that is scaled to nothing no replica is ready, and that is well."""
    return one.check == "replicas_ready" and (live.get("spec") or {}).get("replicas") == 0


def _in_place(live: JSON, edit: ManifestEdit) -> bool:
    here: object = live
    for step in edit.steps:
        if isinstance(step, Named):
            items = here if isinstance(here, list) else []
            here = next(
                (one for one in items if isinstance(one, dict) and one.get("name") == step.name), None
            )
        else:
            here = here.get(step) if isinstance(here, dict) else None
        if here is None:
            return edit.remove
    return not edit.remove and not isinstance(here, dict | list) and equal(_scalar(here), edit.after)


def _scalar(value: object) -> Scalar:
    return value if isinstance(value, str | int | float | bool) else None
