# What the action declares about itself (risk, reversible) and what it touches (something with state).
package cortexops

# Outside production: not high risk, can be undone, cause fairly sure.
permits contains {"rule": "unasked-nonproduction", "reason": "low_risk_outside_production"} if {
	not production
	input.risk in {"low", "medium"}
	input.reversible
	not input.blast_radius.stateful
	input.verdict == "root_cause"
	input.confidence >= settings.confidence.unasked
}

# In production: only where the settings say so, and only what is small in every respect.
permits contains {"rule": "unasked-production", "reason": "low_risk_autonomy"} if unasked_in_production

unasked_in_production if {
	settings.autonomy.production
	production
	environment_known
	input.risk == "low"
	input.reversible
	not input.blast_radius.stateful
	input.verdict == "root_cause"
	input.confidence >= settings.confidence.unasked_production
	blast_radius_small
}

approvals contains {
	"rule": "quorum-production",
	"reason": "production_high_risk",
	"quorum": settings.approval.quorum_high_risk,
} if {
	production
	input.risk == "high"
}

# Databases and other things that keep state: restarting one is never a small matter.
approvals contains {
	"rule": "quorum-production",
	"reason": "production_stateful",
	"quorum": settings.approval.quorum_high_risk,
} if {
	production
	input.blast_radius.stateful
}

approvals contains {"rule": "approval-risk", "reason": "high_risk", "quorum": settings.approval.quorum} if {
	not production
	input.risk == "high"
}

approvals contains {"rule": "approval-risk", "reason": "stateful", "quorum": settings.approval.quorum} if {
	not production
	input.blast_radius.stateful
}

approvals contains {
	"rule": "approval-irreversible",
	"reason": "irreversible",
	"quorum": settings.approval.quorum,
} if {
	not input.reversible
}
