# Production or not. An environment that nobody has named is treated as production, and names are compared to
# the letter: "Staging" is not "staging".
package cortexops

production if not input.environment in settings.environments.nonproduction

# A name that somebody put into both lists is production.
production if input.environment in settings.environments.production

environment_known if input.environment in settings.environments.production

environment_known if input.environment in settings.environments.nonproduction

approvals contains {
	"rule": "approval-production",
	"reason": "production",
	"quorum": settings.approval.quorum,
} if {
	production
	not unasked_in_production
}

approvals contains {
	"rule": "approval-production",
	"reason": "environment_unknown",
	"quorum": settings.approval.quorum,
} if {
	not environment_known
}
