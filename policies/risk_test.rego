package cortexops_test

autonomous := {"autonomy": {"production": true}}

test_low_and_medium_risk_pass_outside_production if {
	ask({"risk": "low"}).effect == "allow"
	ask({"risk": "medium"}).effect == "allow"
}

test_high_risk_is_asked_outside_production if {
	answer := ask({"risk": "high"})
	asked(answer, "high_risk")
	answer.quorum == 1
	answer.rule == "approval-risk"
}

test_stateful_is_asked_outside_production if {
	answer := ask({"blast_radius": {"stateful": true}})
	asked(answer, "stateful")
	answer.quorum == 1
}

test_irreversible_is_always_asked if {
	asked(ask({"reversible": false}), "irreversible")
	asked(ask({"reversible": false, "environment": "production"}), "irreversible")
	asked(ask_with({"reversible": false, "environment": "production"}, autonomous), "irreversible")
}

test_high_risk_in_production_needs_two if {
	answer := ask({"environment": "production", "risk": "high"})
	answer.reasons == ["production", "production_high_risk"]
	answer.rule == "quorum-production"
	answer.quorum == 2
}

test_stateful_in_production_needs_two if {
	answer := ask({"environment": "production", "blast_radius": {"stateful": true}})
	answer.reasons == ["production", "production_stateful"]
	answer.rule == "quorum-production"
	answer.quorum == 2
}

test_medium_risk_in_production_needs_one if {
	answer := ask({"environment": "production", "risk": "medium"})
	answer.quorum == 1
	answer.rule == "approval-production"
}

test_production_is_asked_by_default_however_small if {
	ask({"environment": "production", "confidence": 1}).effect == "require_approval"
}

test_autonomy_lets_the_small_pass_in_production if {
	answer := ask_with(production, autonomous)
	answer.effect == "allow"
	answer.reasons == ["low_risk_autonomy"]
	answer.rule == "unasked-production"
}

test_autonomy_ends_where_it_is_not_small if {
	every changes in [
		{"risk": "medium"},
		{"risk": "high"},
		{"confidence": 0.89},
		{"verdict": "hypothesis"},
		{"reversible": false},
		{"blast_radius": {"replicas": 4}},
		{"blast_radius": {"namespaces": 2}},
		{"blast_radius": {"dependents": [{"name": "a"}, {"name": "b"}]}},
		{"blast_radius": {"disruptions_allowed": 0}},
		{"blast_radius": {"stateful": true}},
	] {
		asked(ask_with(object.union(production, changes), autonomous), "production")
	}
}

test_autonomy_is_not_for_unknown_environments if {
	asked(ask_with({"environment": "eu"}, autonomous), "production")
}

test_autonomy_does_not_outweigh_denials if {
	ask_with({"environment": "production", "namespace": "kube-system"}, autonomous).effect == "deny"
}
