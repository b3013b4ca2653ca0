# An incident that was not mended after this many attempts needs a person, not another attempt.
package cortexops

denials contains {"rule": "attempts", "reason": "attempts_exhausted"} if {
	input.attempt > settings.attempts.most
}
