# Whether the question and the settings can be read at all. In Rego a missing field is not an error: the rule
# that reads it just does not apply. So what the rules rely on is checked here, and a gap forbids the change.
package cortexops

settings := data.cortexops.config

denials contains {"rule": "input", "reason": "input_unreadable"} if not question_readable

denials contains {"rule": "settings", "reason": "settings_unreadable"} if not settings_readable

question_readable if {
	input.schema == "cortexops.policy_input/v1"
	readable_time(input.now)
	is_string(input.severity)
	is_string(input.verdict)
	is_string(input.cluster)
	is_string(input.namespace)
	is_string(input.environment)
	is_string(input.action.target.cluster)
	is_string(input.action.target.namespace)
	input.risk in {"low", "medium", "high"}
	is_boolean(input.reversible)
	is_boolean(input.blast_radius.stateful)
	is_array(input.blast_radius.dependents)
	share(input.confidence)
	amount(input.attempt)
	amount(input.blast_radius.replicas)
	amount(input.blast_radius.namespaces)
	budget_readable
	traffic_readable
	proposer_readable
	control_readable
}

# What the product adds: the level of autonomy, what was achieved before, stops and freezes.
control_readable if {
	input.autonomy.level in {"observe", "suggest", "approve", "auto"}
	amount(input.history.target.rolled_back)
	is_array(input.stops)
	is_array(input.freezes)
}

# No disruption budget covers the object, or it says how many pods may still go.
budget_readable if input.blast_radius.disruptions_allowed == null

budget_readable if is_number(input.blast_radius.disruptions_allowed)

# How many requests a second go to what is touched may be unknown: null, or not there in older questions.
traffic_readable if object.get(input.blast_radius, "traffic", null) == null

traffic_readable if amount(input.blast_radius.traffic)

# Older questions name no proposer.
proposer_readable if not proposer_named

proposer_readable if input.proposed_by.kind in {"analyzer", "runbook", "memory", "model", "person"}

proposer_named if input.proposed_by != null

settings_readable if {
	texts(settings.environments.production)
	texts(settings.environments.nonproduction)
	texts(settings.protected.namespaces)
	texts(settings.protected.namespace_prefixes)
	share(settings.confidence.least)
	share(settings.confidence.unasked)
	share(settings.confidence.unasked_production)
	is_boolean(settings.autonomy.production)
	amount(settings.autonomy.replicas)
	amount(settings.autonomy.dependents)
	amount(settings.attempts.most)
	amount(settings.blast_radius.replicas)
	amount(settings.blast_radius.replicas_most)
	amount(settings.blast_radius.namespaces)
	amount(settings.blast_radius.namespaces_most)
	amount(settings.blast_radius.dependents)
	amount(settings.blast_radius.traffic)
	approval_settings_readable
}

approval_settings_readable if {
	texts(settings.approval.roles)
	count(settings.approval.roles) > 0
	texts(settings.approval.proposers)
	settings.approval.quorum in quorums
	settings.approval.quorum_high_risk in quorums
	settings.approval.quorum_freeze in quorums
	settings.approval.expires_seconds >= 30
	settings.approval.expires_seconds <= 86400
	is_number(settings.approval.expires_seconds)
}

quorums := numbers.range(1, 10)

texts(value) if {
	is_array(value)
	every text in value { is_string(text) }
}

amount(value) if {
	is_number(value)
	value >= 0
}

share(value) if {
	amount(value)
	value <= 1
}
