package cortexops_test

without(key) := answer if {
	answer := data.cortexops.decision with input as object.remove(question, [key]) with data.cortexops.config as config
}

test_missing_field_is_denied if {
	every key in ["schema", "now", "severity", "verdict", "cluster", "namespace", "environment", "risk"] {
		refused(without(key), "input_unreadable")
	}
	every key in ["action", "reversible", "confidence", "attempt", "blast_radius"] {
		refused(without(key), "input_unreadable")
	}
}

test_fields_that_no_rule_reads_may_be_missing if {
	every key in ["diff", "actor", "proposed_by", "proposed_by_person", "risk_score", "category", "drill"] {
		without(key).effect == "allow"
	}
}

test_other_schema_is_denied if refused(ask({"schema": "cortexops.policy_input/v2"}), "input_unreadable")

test_impossible_values_are_denied if {
	refused(ask({"confidence": 1.5}), "input_unreadable")
	refused(ask({"confidence": -0.1}), "input_unreadable")
	refused(ask({"attempt": -1}), "input_unreadable")
	refused(ask({"risk": "none"}), "input_unreadable")
	refused(ask({"blast_radius": {"replicas": -1}}), "input_unreadable")
	refused(ask({"blast_radius": {"disruptions_allowed": "many"}}), "input_unreadable")
	refused(ask({"blast_radius": {"traffic": "much"}}), "input_unreadable")
	refused(ask({"blast_radius": {"traffic": -1}}), "input_unreadable")
	refused(ask({"reversible": "yes"}), "input_unreadable")
}

test_empty_question_is_denied if {
	answer := data.cortexops.decision with input as {} with data.cortexops.config as config
	refused(answer, "input_unreadable")
}

test_missing_settings_are_denied if {
	answer := data.cortexops.decision with input as question with data.cortexops.config as {}
	refused(answer, "settings_unreadable")
	refused(answer, "freeze_window_unreadable")
}

test_spoilt_settings_are_denied if {
	refused(ask_with({}, {"confidence": {"least": "half"}}), "settings_unreadable")
	refused(ask_with({}, {"autonomy": {"production": "yes"}}), "settings_unreadable")
	refused(ask_with({}, {"approval": {"roles": []}}), "settings_unreadable")
	refused(ask_with({}, {"approval": {"quorum": 0}}), "settings_unreadable")
	refused(ask_with({}, {"protected": {"namespaces": "kube-system"}}), "settings_unreadable")
	refused(ask_with({}, {"blast_radius": {"replicas": null}}), "settings_unreadable")
	refused(ask_with({}, {"blast_radius": {"traffic": "much"}}), "settings_unreadable")
	refused(ask_with({}, {"approval": {"proposers": "model"}}), "settings_unreadable")
}
