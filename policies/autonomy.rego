# The autonomy ladder: how much the product may do by itself on this workload with this action, from what it
# achieved before. It only ever tightens: "auto" leaves the answer to the other rules.
package cortexops

denials contains {"rule": "autonomy", "reason": "observe_only"} if input.autonomy.level == "observe"

denials contains {"rule": "autonomy", "reason": "suggest_only"} if input.autonomy.level == "suggest"

approvals contains {
	"rule": "approval-autonomy",
	"reason": "autonomy_approve",
	"quorum": settings.approval.quorum,
} if {
	input.autonomy.level == "approve"
}

# What had to be taken back lately on this very object is not tried again without people.
approvals contains {
	"rule": "approval-history",
	"reason": "rolled_back_here",
	"quorum": settings.approval.quorum,
} if {
	input.history.target.rolled_back > 0
}

# The product denies such a change itself; here it is for whoever asks the bundle alone.
denials contains {"rule": "kill_switch", "reason": "stopped_by_person"} if {
	is_array(input.stops)
	count(input.stops) > 0
}
