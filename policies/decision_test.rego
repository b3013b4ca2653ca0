package cortexops_test

test_allowed_answer_is_complete if {
	ask({}) == {
		"effect": "allow",
		"reasons": ["low_risk_outside_production"],
		"rule": "unasked-nonproduction",
		"quorum": 1,
		"roles": [],
		"expires_seconds": 900,
	}
}

test_approval_answer_is_complete if {
	ask(production) == {
		"effect": "require_approval",
		"reasons": ["production"],
		"rule": "approval-production",
		"quorum": 1,
		"roles": ["oncall", "sre-lead"],
		"expires_seconds": 900,
	}
}

test_denial_answer_is_complete if {
	ask({"attempt": 6}) == {
		"effect": "deny",
		"reasons": ["attempts_exhausted"],
		"rule": "attempts",
		"quorum": 1,
		"roles": [],
		"expires_seconds": 900,
	}
}

test_denial_outweighs_approval if ask({"attempt": 6, "environment": "production"}).effect == "deny"

test_reasons_are_sorted if {
	answer := ask({"environment": "production", "risk": "high", "reversible": false, "verdict": "hypothesis"})
	answer.reasons == ["cause_is_hypothesis", "irreversible", "production", "production_high_risk"]
}

test_the_largest_quorum_names_the_rule if {
	answer := ask({"environment": "production", "risk": "high", "reversible": false})
	answer.quorum == 2
	answer.rule == "quorum-production"
}

test_what_nothing_speaks_for_is_denied if {
	answer := data.cortexops.decision with input as question
		with data.cortexops.config as config
		with data.cortexops.permits as set()
	answer.effect == "deny"
	answer.reasons == ["no_rule_matched"]
}

test_a_drill_loosens_nothing if {
	ask({"drill": true, "environment": "production"}) == ask(production)
	ask({"drill": true, "attempt": 6}) == ask({"attempt": 6})
	ask({"drill": true, "namespace": "kube-system"}) == ask({"namespace": "kube-system"})
}
