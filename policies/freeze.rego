# Change freezes: [{"name", "start", "end", "clusters", "namespaces", "environments"}], times in RFC 3339, from
# start up to but not including end. An absent or empty filter means all. The question's own time counts, not
# the engine's clock, so that a decision can be replayed.
package cortexops

denials contains {"rule": "freeze", "reason": "change_freeze"} if {
	frozen
	input.severity != "critical"
}

# During a freeze a critical incident may be mended if two people agree.
approvals contains {
	"rule": "freeze-critical",
	"reason": "change_freeze_critical",
	"quorum": settings.approval.quorum_freeze,
} if {
	frozen
	input.severity == "critical"
}

# A window that cannot be read counts as closed, for everything that it may be meant for.
denials contains {"rule": "freeze", "reason": "freeze_window_unreadable"} if not freezes_readable

denials contains {"rule": "freeze", "reason": "freeze_window_unreadable"} if {
	freezes_readable
	some window in windows
	not window_elsewhere(window)
	not window_readable(window)
}

freezes_readable if {
	is_array(settings.freezes)
	is_array(input.freezes)
}

# Those of the bundle's data, and those of the product's settings, which come with the question.
windows := array.concat(settings.freezes, input.freezes)

frozen if {
	freezes_readable
	readable_time(input.now)
	now := time.parse_rfc3339_ns(input.now)
	some window in windows
	window_readable(window)
	not window_elsewhere(window)
	time.parse_rfc3339_ns(window.start) <= now
	now < time.parse_rfc3339_ns(window.end)
}

window_readable(window) if {
	filters_readable(window)
	readable_time(window.start)
	readable_time(window.end)
	time.parse_rfc3339_ns(window.start) < time.parse_rfc3339_ns(window.end)
}

# A misspelt filter would make the window say something else than its author meant.
filters_readable(window) if {
	is_object(window)
	every key, _ in window { key in {"name", "start", "end", "clusters", "namespaces", "environments"} }
	every filter in {"clusters", "namespaces", "environments"} { texts(object.get(window, filter, [])) }
}

window_elsewhere(window) if {
	filters_readable(window)
	not clusters_match(object.get(window, "clusters", []))
}

window_elsewhere(window) if {
	filters_readable(window)
	not namespaces_match(object.get(window, "namespaces", []))
}

window_elsewhere(window) if {
	filters_readable(window)
	not environments_match(object.get(window, "environments", []))
}

clusters_match(clusters) if count(clusters) == 0

clusters_match(clusters) if {
	some cluster in clusters
	cluster in {input.cluster, input.action.target.cluster}
}

namespaces_match(namespaces) if count(namespaces) == 0

namespaces_match(namespaces) if {
	some namespace in namespaces
	namespace in touched_namespaces
}

# An object of the whole cluster, such as a node, is part of every namespace.
namespaces_match(_) if "" in touched_namespaces

environments_match(environments) if count(environments) == 0

environments_match(environments) if input.environment in environments

# An unknown environment is in every window that freezes production.
environments_match(environments) if {
	not environment_known
	some environment in environments
	environment in settings.environments.production
}
