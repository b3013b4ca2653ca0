# Who is hurt when the action goes wrong.
package cortexops

radius := input.blast_radius

limits := settings.blast_radius

denials contains {"rule": "blast-radius", "reason": "blast_radius_too_large"} if {
	radius.replicas > limits.replicas_most
}

denials contains {"rule": "blast-radius", "reason": "blast_radius_too_large"} if {
	radius.namespaces > limits.namespaces_most
}

approvals contains {
	"rule": "approval-blast-radius",
	"reason": "many_replicas",
	"quorum": settings.approval.quorum,
} if {
	radius.replicas > limits.replicas
}

approvals contains {
	"rule": "approval-blast-radius",
	"reason": "several_namespaces",
	"quorum": settings.approval.quorum,
} if {
	radius.namespaces > limits.namespaces
}

approvals contains {
	"rule": "approval-blast-radius",
	"reason": "many_dependents",
	"quorum": settings.approval.quorum,
} if {
	count(radius.dependents) > limits.dependents
}

# Unknown traffic is not low traffic, but nobody is asked for it: without Prometheus it is always unknown.
approvals contains {
	"rule": "approval-blast-radius",
	"reason": "much_traffic",
	"quorum": settings.approval.quorum,
} if {
	is_number(radius.traffic)
	radius.traffic > limits.traffic
}

# People decide rather than nobody: a workload whose pods all crash has no disruptions left either, and is
# the very one that needs mending.
approvals contains {
	"rule": "approval-blast-radius",
	"reason": "disruption_budget_exhausted",
	"quorum": settings.approval.quorum,
} if {
	disruption_budget_exhausted
}

disruption_budget_exhausted if {
	is_number(radius.disruptions_allowed)
	radius.disruptions_allowed <= 0
}

blast_radius_small if {
	radius.replicas <= settings.autonomy.replicas
	radius.namespaces <= 1
	count(radius.dependents) <= settings.autonomy.dependents
	not disruption_budget_exhausted
}
