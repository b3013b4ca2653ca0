"""Earlier values of ConfigMap keys that our own ledger knows: those with which a verified change left it well."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import AwareDatetime

from cortexops.domain.change import Verb, lookup, pointer
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.manifest import Proposal
from cortexops.domain.resource import Frozen, ResourceRef

KIND = "LedgerRow"
"""The kind under which a row stands among the objects that an action is given."""


class EarlierValue(Frozen):
    """What the key held when the operation was verified, and when that was."""

    target: ResourceRef
    key: str
    value: str
    operation_id: str
    at: AwareDatetime


def row_ref(cluster: str, operation_id: str) -> ResourceRef:
    """The name under which the row is handed to an action."""
    return ResourceRef(cluster=cluster, kind=KIND, namespace="", name=operation_id)


def earlier_value(rows: Sequence[LedgerRow], target: ResourceRef, key: str) -> EarlierValue | None:
    """By the newest verified change of the ConfigMap that says what the key held. What was undone, refused or
    never verified says nothing: nobody knows that it worked."""
    for row in sorted(rows, key=lambda one: (one.updated_at, one.operation_id), reverse=True):
        value = _held(row, key)
        if row.state is LedgerState.VERIFIED and row.change.target == target and value is not None:
            return EarlierValue(
                target=target, key=key, value=value, operation_id=row.operation_id, at=row.updated_at
            )
    return None


def _held(row: LedgerRow, key: str) -> str | None:
    """What the key held after the change; None when the row does not say, or the key was not there."""
    change = row.change
    if change.target.kind != "ConfigMap":
        return None
    if change.verb is Verb.PROPOSE:
        for proposed in Proposal.model_validate(change.body).edits:
            if proposed.steps == ("data", key):
                return None if proposed.remove or not isinstance(proposed.after, str) else proposed.after
    for field in change.edits:
        if field.path == "/data" and field.after_present and isinstance(field.after, dict):
            value = field.after.get(key)
            return value if isinstance(value, str) else None
        if field.path == pointer("data", key):
            return field.after if field.after_present and isinstance(field.after, str) else None
    present, value = lookup(row.snapshot, pointer("data", key))
    return value if present and isinstance(value, str) else None
