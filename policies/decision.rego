# The one answer. Every other file of this package adds to three sets, and this file weighs them:
#
#   denials    {rule, reason}           one is enough to forbid the change
#   approvals  {rule, reason, quorum}   people must say yes; the largest quorum counts
#   permits    {rule, reason}           the change may be made without asking
#
# A denial outweighs an approval, an approval outweighs a permit, and a change that nothing speaks for is
# forbidden.
package cortexops

default decision := {
	"effect": "deny",
	"reasons": ["no_rule_matched"],
	"rule": "default-deny",
	"quorum": 1,
	"roles": [],
	"expires_seconds": 900,
}

decision := {
	"effect": "deny",
	"reasons": reasons(denials),
	"rule": first_rule(denials),
	"quorum": 1,
	"roles": [],
	"expires_seconds": 900,
} if {
	count(denials) > 0
}

decision := {
	"effect": "require_approval",
	"reasons": reasons(approvals),
	"rule": first_rule({approval | some approval in approvals; approval.quorum == quorum}),
	"quorum": quorum,
	"roles": settings.approval.roles,
	"expires_seconds": settings.approval.expires_seconds,
} if {
	count(denials) == 0
	count(approvals) > 0
}

decision := {
	"effect": "allow",
	"reasons": reasons(permits),
	"rule": first_rule(permits),
	"quorum": 1,
	"roles": [],
	"expires_seconds": 900,
} if {
	count(denials) == 0
	count(approvals) == 0
	count(permits) > 0
}

quorum := max({approval.quorum | some approval in approvals})

# Sorted, so that the same question has the same answer to the letter.
reasons(verdicts) := sort({verdict.reason | some verdict in verdicts})

first_rule(verdicts) := sort({verdict.rule | some verdict in verdicts})[0]
