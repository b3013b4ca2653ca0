# How sure the cause is. A guess may be acted upon by people, a poor guess by nobody.
package cortexops

denials contains {"rule": "confidence", "reason": "confidence_too_low"} if {
	input.confidence < settings.confidence.least
}

# "healthy" and "unknown" name no cause, so there is nothing that an action could mend.
denials contains {"rule": "confidence", "reason": "no_cause_to_mend"} if {
	not input.verdict in {"root_cause", "hypothesis", "external"}
}

approvals contains {
	"rule": "approval-confidence",
	"reason": "confidence_moderate",
	"quorum": settings.approval.quorum,
} if {
	input.confidence >= settings.confidence.least
	input.confidence < settings.confidence.unasked
}

approvals contains {
	"rule": "approval-confidence",
	"reason": "cause_is_hypothesis",
	"quorum": settings.approval.quorum,
} if {
	input.verdict == "hypothesis"
}

approvals contains {
	"rule": "approval-confidence",
	"reason": "cause_is_external",
	"quorum": settings.approval.quorum,
} if {
	input.verdict == "external"
}
