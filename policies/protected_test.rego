package cortexops_test

test_protected_namespace_is_denied if {
	refused(ask({"namespace": "kube-system"}), "protected_namespace")
	refused(ask({"namespace": "mesh"}), "protected_namespace")
}

test_protected_prefix_is_denied if refused(ask({"namespace": "kube-flannel"}), "protected_namespace")

test_protection_is_of_the_target_too if {
	refused(ask({"action": {"target": {"namespace": "kube-system"}}}), "protected_namespace")
}

test_protection_has_no_exception_for_critical if {
	ask({"namespace": "kube-system", "severity": "critical"}).effect == "deny"
}

test_other_namespaces_are_not_protected if {
	ask({"namespace": "meshed"}).effect == "allow"
	ask({"namespace": "my-kube-system"}).effect == "allow"
}

test_cluster_wide_object_is_in_no_protected_namespace if {
	ask({"action": {"target": {"kind": "Node", "namespace": "", "name": "n1"}}}).effect == "allow"
}
