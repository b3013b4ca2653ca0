package cortexops_test

level(name) := {"autonomy": {"level": name}}

test_observe_and_suggest_do_nothing if {
	refused(ask(level("observe")), "observe_only")
	refused(ask(level("suggest")), "suggest_only")
}

test_approve_asks_people if {
	answer := ask(level("approve"))
	asked(answer, "autonomy_approve")
	answer.rule == "approval-autonomy"
}

test_auto_leaves_it_to_the_other_rules if {
	ask(level("auto")).effect == "allow"
	ask(object.union(level("auto"), production)).effect == "require_approval"
	refused(ask(object.union(level("auto"), {"attempt": 6})), "attempts_exhausted")
}

test_unknown_level_is_denied if {
	refused(ask(level("AUTO")), "input_unreadable")
	refused(ask(level(1)), "input_unreadable")
}

test_what_was_rolled_back_here_is_asked if {
	asked(ask({"history": {"target": {"rolled_back": 1}}}), "rolled_back_here")
	ask({"history": {"namespace": {"rolled_back": 5}}}).effect == "allow"
}

test_unreadable_history_is_denied if {
	refused(ask({"history": {"target": {"rolled_back": "none"}}}), "input_unreadable")
}

test_stop_is_denied if {
	refused(ask({"stops": [{"id": "stop-1"}]}), "stopped_by_person")
	refused(ask({"stops": null}), "input_unreadable")
}
