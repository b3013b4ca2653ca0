package cortexops_test

test_production_needs_one_approval if {
	answer := ask(production)
	asked(answer, "production")
	answer.quorum == 1
	answer.rule == "approval-production"
}

test_named_environments_outside_production_do_not if {
	ask({"environment": "dev"}).effect == "allow"
	ask({"environment": "staging"}).effect == "allow"
}

test_unknown_environment_is_production if {
	every name in ["", "unknown", "Staging", "staging ", "eu"] {
		answer := ask({"environment": name})
		answer.reasons == ["environment_unknown", "production"]
		answer.effect == "require_approval"
	}
}

test_environment_in_both_lists_is_production if {
	asked(ask_with({}, {"environments": {"production": ["staging"]}}), "production")
}
