# Namespaces that are never touched: what the cluster itself, or this product, lives on.
package cortexops

denials contains {"rule": "protected", "reason": "protected_namespace"} if {
	some namespace in touched_namespaces
	namespace in settings.protected.namespaces
}

denials contains {"rule": "protected", "reason": "protected_namespace"} if {
	some namespace in touched_namespaces
	some prefix in settings.protected.namespace_prefixes
	startswith(namespace, prefix)
}

# The incident's namespace and the one of the object that is changed.
touched_namespaces := {input.namespace, input.action.target.namespace}
