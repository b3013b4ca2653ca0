package cortexops_test

window := {"name": "year end", "start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z"}

frozen_by(changes, window_changes) := answer if {
	answer := ask_with(changes, {"freezes": [object.union(window, window_changes)]})
}

test_change_in_a_freeze_is_denied if {
	answer := frozen_by({}, {})
	refused(answer, "change_freeze")
	answer.rule == "freeze"
}

test_change_outside_the_freeze_passes if {
	frozen_by({"now": "2026-03-09T23:59:59.999999Z"}, {}).effect == "allow"
	frozen_by({"now": "2026-03-11T00:00:00Z"}, {}).effect == "allow"
}

test_freeze_begins_at_its_start if refused(frozen_by({"now": "2026-03-10T00:00:00Z"}, {}), "change_freeze")

test_freeze_knows_time_zones if {
	frozen_by({"now": "2026-03-10T05:00:00+05:30"}, {}).effect == "allow"
	refused(frozen_by({"now": "2026-03-10T05:30:00+05:30"}, {}), "change_freeze")
}

test_critical_in_a_freeze_needs_two if {
	answer := frozen_by({"severity": "critical"}, {})
	answer.effect == "require_approval"
	answer.reasons == ["change_freeze_critical"]
	answer.rule == "freeze-critical"
	answer.quorum == 2
}

test_freeze_of_another_place_does_not_hold if {
	frozen_by({}, {"clusters": ["west"]}).effect == "allow"
	frozen_by({}, {"namespaces": ["bank"]}).effect == "allow"
	frozen_by({}, {"environments": ["production"]}).effect == "allow"
	frozen_by({}, {"clusters": ["east"], "namespaces": ["bank"]}).effect == "allow"
}

test_freeze_of_this_place_holds if {
	refused(frozen_by({}, {"clusters": ["west", "east"]}), "change_freeze")
	refused(frozen_by({}, {"namespaces": ["shop"]}), "change_freeze")
	refused(frozen_by({}, {"environments": ["staging"]}), "change_freeze")
	refused(frozen_by({}, {"clusters": ["east"], "namespaces": ["shop"], "environments": []}), "change_freeze")
}

test_freeze_of_the_target_holds if {
	target := {"action": {"target": {"namespace": "bank"}}}
	refused(frozen_by(target, {"namespaces": ["bank"]}), "change_freeze")
}

test_node_is_frozen_with_any_namespace if {
	node := {"action": {"target": {"kind": "Node", "namespace": "", "name": "n1"}}}
	refused(frozen_by(node, {"namespaces": ["bank"]}), "change_freeze")
}

test_unknown_environment_is_frozen_with_production if {
	refused(frozen_by({"environment": "eu"}, {"environments": ["production"]}), "change_freeze")
	not refused(frozen_by({"environment": "eu"}, {"environments": ["staging"]}), "change_freeze")
}

test_unreadable_window_is_closed if {
	every changes in [
		{"start": "tomorrow"},
		{"end": "2026-02-30T00:00:00Z"},
		{"end": null},
		{"start": "2026-03-12T00:00:00Z"},
		{"clusters": "east"},
		{"namespaces": [1]},
		{"namespace": ["bank"]},
	] {
		refused(frozen_by({}, changes), "freeze_window_unreadable")
	}
}

test_unreadable_window_is_closed_for_critical_too if {
	refused(frozen_by({"severity": "critical"}, {"start": "tomorrow"}), "freeze_window_unreadable")
}

test_unreadable_window_of_another_place_does_not_hold if {
	frozen_by({}, {"start": "tomorrow", "clusters": ["west"]}).effect == "allow"
}

test_window_that_is_no_object_is_closed if {
	refused(ask_with({}, {"freezes": ["december"]}), "freeze_window_unreadable")
	refused(ask_with({}, {"freezes": [{}]}), "freeze_window_unreadable")
}

test_list_of_windows_that_is_none_is_closed if {
	refused(ask_with({}, {"freezes": "december"}), "freeze_window_unreadable")
	refused(ask_with({}, {"freezes": null}), "freeze_window_unreadable")
}

test_one_open_window_among_many_is_enough if {
	past := object.union(window, {"start": "2025-01-01T00:00:00Z", "end": "2025-01-02T00:00:00Z"})
	refused(ask_with({}, {"freezes": [past, window]}), "change_freeze")
}

test_freeze_of_the_settings_comes_with_the_question if {
	refused(ask({"freezes": [window]}), "change_freeze")
	ask({"freezes": [object.union(window, {"clusters": ["west"]})]}).effect == "allow"
	refused(ask({"freezes": "never"}), "freeze_window_unreadable")
}
