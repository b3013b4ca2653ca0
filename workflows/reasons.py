"""Which reason a step that ended so leaves in the books."""

from __future__ import annotations

from cortexops.domain.approval import ApprovalState, Decision
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.verification import Phase

APPROVAL = {
    ApprovalState.APPROVED: Reason.APPROVED,
    ApprovalState.DENIED: Reason.APPROVAL_DENIED,
    ApprovalState.TAKEN_OVER: Reason.TAKEN_OVER,
    ApprovalState.EXPIRED: Reason.APPROVAL_EXPIRED,
    ApprovalState.VOID: Reason.APPROVAL_VOID,
}

VOTE = {
    Decision.APPROVE: Reason.APPROVED,
    Decision.DENY: Reason.APPROVAL_DENIED,
    Decision.TAKE_OVER: Reason.TAKEN_OVER,
}

STEP_FAILED = {
    IncidentState.POLICY_CHECK: Reason.POLICY_UNAVAILABLE,
    IncidentState.APPROVAL_PENDING: Reason.APPROVAL_UNAVAILABLE,
    IncidentState.DRY_RUNNING: Reason.DRY_RUN_REJECTED,
    IncidentState.REMEDIATING: Reason.EFFECT_UNKNOWN,
    IncidentState.VERIFYING: Reason.VERIFICATION_ERROR,
    IncidentState.ROLLING_BACK: Reason.COMPENSATION_FAILED,
}
"""A step of that state kept failing until nobody tries it any more."""

UNSUCCESSFUL = {
    Phase.FAILED: Reason.VERIFICATION_FAILED,
    Phase.INCONCLUSIVE: Reason.VERIFICATION_INCONCLUSIVE,
    Phase.ERROR: Reason.VERIFICATION_ERROR,
}
