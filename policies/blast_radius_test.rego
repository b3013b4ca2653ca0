package cortexops_test

test_ordinary_blast_radius_passes if {
	ask({"blast_radius": {"replicas": 10, "namespaces": 1, "disruptions_allowed": 1}}).effect == "allow"
	ask({"blast_radius": {"dependents": [{"name": "a"}, {"name": "b"}]}}).effect == "allow"
}

test_many_replicas_are_asked if {
	answer := ask({"blast_radius": {"replicas": 11}})
	asked(answer, "many_replicas")
	answer.rule == "approval-blast-radius"
}

test_far_too_many_replicas_are_denied if {
	asked(ask({"blast_radius": {"replicas": 100}}), "many_replicas")
	refused(ask({"blast_radius": {"replicas": 101}}), "blast_radius_too_large")
}

test_several_namespaces_are_asked if asked(ask({"blast_radius": {"namespaces": 2}}), "several_namespaces")

test_far_too_many_namespaces_are_denied if {
	asked(ask({"blast_radius": {"namespaces": 5}}), "several_namespaces")
	refused(ask({"blast_radius": {"namespaces": 6}}), "blast_radius_too_large")
}

test_many_dependents_are_asked if {
	asked(ask({"blast_radius": {"dependents": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}}), "many_dependents")
}

test_exhausted_disruption_budget_is_asked if {
	asked(ask({"blast_radius": {"disruptions_allowed": 0}}), "disruption_budget_exhausted")
}

test_much_traffic_is_asked if {
	asked(ask({"blast_radius": {"traffic": 100.5}}), "much_traffic")
	ask({"blast_radius": {"traffic": 100}}).effect == "allow"
	ask({"blast_radius": {"traffic": 0}}).effect == "allow"
}

test_unknown_traffic_is_not_asked_for if ask({"blast_radius": {"traffic": null}}).effect == "allow"
