"""Every metric of the product in one place. docs/operations.md lists them; a test compares."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

EVENTS_INGESTED = Counter(
    "cortexops_events_ingested", "Signals accepted, by source and cluster", ["source", "cluster"]
)
SIGNALS_REJECTED = Counter(
    "cortexops_signals_rejected", "Signals refused at the gateway", ["source", "reason"]
)
SIGNALS_IGNORED = Counter(
    "cortexops_signals_ignored",
    "Items of payloads that tell of no beginning and no end, and so are no signals",
    ["source", "reason"],
)
SIGNAL_FATES = Counter("cortexops_signal_fates", "What became of signals, and why", ["fate", "reason"])
SIGNALS_DROPPED = Counter(
    "cortexops_signals_dropped", "Signals the stream discarded at its limit before they were read"
)
STREAM_BACKLOG = Gauge("cortexops_stream_backlog", "Signals in the stream that no correlator has read yet")
PARTITIONS_CONFIGURED = Gauge("cortexops_partitions_configured", "Partitions that the stream has")
PARTITIONS_OWNED = Gauge("cortexops_partitions_owned", "Partitions of the stream that this correlator reads")
CORRELATION_LATENCY = Histogram(
    "cortexops_correlation_latency_seconds",
    "From acceptance of a signal until its workflow knows it, the grouping window included; "
    "one observation a delivery, of its oldest signal",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
ACTIVE_INCIDENTS = Gauge("cortexops_active_incidents", "Incidents that have not ended", ["severity"])
WORKFLOW_OUTCOMES = Counter("cortexops_workflow_outcomes", "Incidents by final state", ["state"])
INVESTIGATION_SECONDS = Histogram(
    "cortexops_investigation_seconds",
    "Duration of investigations",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 180),
)
RUNBOOK_STEPS = Counter("cortexops_runbook_steps", "Steps of runbooks by kind and status", ["kind", "status"])
RUNBOOK_FETCHES = Counter(
    "cortexops_runbook_fetches", "Runbooks asked for at addresses, by outcome", ["outcome"]
)
LLM_TOKENS = Counter(
    "cortexops_llm_tokens", "Tokens sent to and received from models", ["stage", "model", "direction"]
)
LLM_CALLS = Counter("cortexops_llm_calls", "Calls of models, by outcome", ["stage", "outcome"])
LLM_COST = Counter(
    "cortexops_llm_cost", "Cost of models in the currency of the configured prices", ["stage", "model"]
)
LLM_CUT = Counter("cortexops_llm_cut", "Parts of models' answers that were not taken", ["what"])
LLM_BREAKER = Gauge(
    "cortexops_llm_breaker_open", "1 while a model is not asked because it failed lately", ["model"]
)
APPROVALS = Counter("cortexops_approvals", "Approvals by result", ["result"])
VOTES_REFUSED = Counter(
    "cortexops_votes_refused", "Votes of known people that do not count, and why", ["reason", "via"]
)
REQUESTS_REFUSED = Counter(
    "cortexops_requests_refused",
    "Requests about approvals that were turned away before a vote was read, and why",
    ["channel", "reason"],
)
APPROVAL_NEWS = Counter(
    "cortexops_approval_news", "Messages about waiting approvals: voted, reminder, silence", ["kind"]
)
POLICY_DECISIONS = Counter("cortexops_policy_decisions", "Decisions of policy by effect", ["effect"])
POLICY_RELOADS = Counter(
    "cortexops_policy_reloads", "Changed policy bundles, by whether they were taken or refused", ["result"]
)
REMEDIATIONS = Counter(
    "cortexops_remediations", "Changes made to clusters, by action and result", ["action", "result"]
)
NOTIFICATIONS_FAILED = Counter(
    "cortexops_notifications_failed", "Failed attempts to deliver a message, by notifier", ["notifier"]
)
OUTBOX_WAITING = Gauge("cortexops_outbox_waiting", "Messages that are not delivered yet")
CASES_WAITING = Gauge("cortexops_cases_waiting", "Solved incidents that memory does not have yet")
MEMORY_FAILURES = Counter(
    "cortexops_memory_failures", "Failed calls of the memory of solved incidents", ["operation"]
)
REDACTIONS = Counter("cortexops_redactions", "Values masked before they left, by kind", ["kind"])
INJECTION_ATTEMPTS = Counter(
    "cortexops_injection_attempts", "Texts seen that try to steer their reader, by kind", ["kind"]
)
UNHEALTHY = Gauge(
    "cortexops_component_unhealthy", "1 while a component of this process is unhealthy", ["component"]
)

ORPHANS = Counter(
    "cortexops_orphans",
    "Incidents and changes whose workflow ended before they did, by what was found",
    ["outcome"],
)
AUDIT_ANCHORS = Counter("cortexops_audit_anchors", "Anchors of the audit trail that were written")
AUDIT_ANCHORED = Gauge(
    "cortexops_audit_anchored_timestamp_seconds", "End of the newest day of the audit trail that is anchored"
)
AUDIT_EXPORT_LAG = Gauge(
    "cortexops_audit_export_lag", "Audit events recorded after the last one that was exported over the API"
)

BURN_RATE = Gauge("cortexops_slo_burn_rate", "Error budget burn rate of incident resolution", ["window"])
ERROR_BUDGET = Gauge("cortexops_slo_error_budget_remaining", "Share of the error budget that is left, 0 to 1")
SLA_COMPLIANCE = Gauge(
    "cortexops_sla_compliance_percentage", "Incidents resolved in time over 30 days, percent"
)


def count_masked(kind: str, number: int) -> None:
    """Count values that were masked; what `cortexops.domain.outgoing` tells."""
    REDACTIONS.labels(kind=kind).inc(number)
