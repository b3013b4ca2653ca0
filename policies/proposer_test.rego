package cortexops_test

test_what_the_analyzers_propose_passes if {
	ask({"proposed_by": {"kind": "analyzer", "name": ""}}).effect == "allow"
}

test_what_a_model_proposes_is_asked if {
	answer := ask({"proposed_by": {"kind": "model", "name": "any"}})
	asked(answer, "proposed_by_model")
	answer.rule == "approval-proposer"
	answer.quorum == 1
}

test_what_memory_proposes_is_asked if {
	answer := ask({"proposed_by": {"kind": "memory", "name": "INC-20260101-001"}})
	asked(answer, "proposed_from_memory")
	answer.rule == "approval-proposer"
}

test_what_the_teams_runbook_proposes_passes_unless_the_settings_say_otherwise if {
	by_runbook := {"proposed_by": {"kind": "runbook", "name": "api-crash"}}
	ask(by_runbook).effect == "allow"
	asked(ask_with(by_runbook, {"approval": {"proposers": ["runbook"]}}), "proposed_by_runbook")
}

test_a_setting_lets_a_model_propose_unasked if {
	ask_with({"proposed_by": {"kind": "model", "name": ""}}, {"approval": {"proposers": []}}).effect == "allow"
}

test_autonomy_in_production_ends_where_a_model_proposes if {
	answer := ask_with(
		{"environment": "production", "proposed_by": {"kind": "model", "name": ""}},
		{"autonomy": {"production": true}},
	)
	asked(answer, "proposed_by_model")
}

test_a_proposer_that_is_none_is_refused if {
	refused(ask({"proposed_by": {"kind": "oracle", "name": ""}}), "input_unreadable")
	refused(ask({"proposed_by": {"kind": 1, "name": ""}}), "input_unreadable")
}

test_an_older_question_names_no_proposer_and_no_traffic if {
	old := json.remove(question, ["/proposed_by", "/blast_radius/traffic"])
	answer := data.cortexops.decision with input as old with data.cortexops.config as config
	answer.effect == "allow"
}
