package cortexops_test

test_low_confidence_is_denied if {
	refused(ask({"confidence": 0.49}), "confidence_too_low")
	refused(ask({"confidence": 0, "environment": "production"}), "confidence_too_low")
}

test_moderate_confidence_is_asked if {
	asked(ask({"confidence": 0.5}), "confidence_moderate")
	asked(ask({"confidence": 0.69}), "confidence_moderate")
}

test_sufficient_confidence_passes if ask({"confidence": 0.7}).effect == "allow"

test_hypothesis_is_asked if {
	answer := ask({"verdict": "hypothesis"})
	asked(answer, "cause_is_hypothesis")
	answer.rule == "approval-confidence"
}

test_external_cause_is_asked if asked(ask({"verdict": "external"}), "cause_is_external")

test_without_a_cause_nothing_is_done if {
	refused(ask({"verdict": "healthy"}), "no_cause_to_mend")
	refused(ask({"verdict": "unknown"}), "no_cause_to_mend")
	refused(ask({"verdict": "certain"}), "no_cause_to_mend")
}
