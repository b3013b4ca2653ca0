# Who proposes the action: the diagnosis that evidence gives, a runbook, earlier incidents, a model or a person.
# What a model or the past put before the analyzers' own cause is a suggestion: people look at it first.
package cortexops

approvals contains {
	"rule": "approval-proposer",
	"reason": "proposed_by_model",
	"quorum": settings.approval.quorum,
} if {
	input.proposed_by.kind == "model"
	"model" in settings.approval.proposers
}

approvals contains {
	"rule": "approval-proposer",
	"reason": "proposed_from_memory",
	"quorum": settings.approval.quorum,
} if {
	input.proposed_by.kind == "memory"
	"memory" in settings.approval.proposers
}

approvals contains {
	"rule": "approval-proposer",
	"reason": "proposed_by_runbook",
	"quorum": settings.approval.quorum,
} if {
	input.proposed_by.kind == "runbook"
	"runbook" in settings.approval.proposers
}
