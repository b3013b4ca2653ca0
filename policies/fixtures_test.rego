# What all the tests share: a harmless question, settings that do not depend on data.json, and the asking. Rules
# under test are named in full (data.cortexops...): an import would be evaluated before `with` takes effect in one
# of the engines.
package cortexops_test

question := {
	"schema": "cortexops.policy_input/v1",
	"now": "2026-03-10T12:00:00Z",
	"incident_id": "INC-20260310-001",
	"severity": "high",
	"risk_score": 40,
	"attempt": 1,
	"drill": false,
	"cluster": "east",
	"namespace": "shop",
	"environment": "staging",
	"action": {
		"type": "rollback_rollout",
		"target": {"cluster": "east", "kind": "Deployment", "namespace": "shop", "name": "api"},
		"params": {"revision": 4},
	},
	"risk": "low",
	"reversible": true,
	"category": "configmap_changed",
	"confidence": 0.92,
	"verdict": "root_cause",
	"blast_radius": {
		"replicas": 3,
		"namespaces": 1,
		"dependents": [],
		"stateful": false,
		"disruptions_allowed": null,
		"traffic": null,
	},
	"diff": [],
	"commands": [],
	"actor": "cortexops",
	"proposed_by": {"kind": "analyzer", "name": ""},
	"proposed_by_person": null,
	"autonomy": {
		"level": "auto",
		"cap": "auto",
		"why": "promoted",
		"successes": 12,
		"trials": 12,
		"lower_bound": 0.7575,
		"blocked_until": null,
		"override": "",
	},
	"history": {
		"days": 30,
		"target": {"verified": 2, "rolled_back": 0, "failed": 0},
		"namespace": {"verified": 4, "rolled_back": 0, "failed": 0},
	},
	"stops": [],
	"freezes": [],
}

config := {
	"environments": {"production": ["production"], "nonproduction": ["dev", "staging"]},
	"confidence": {"least": 0.5, "unasked": 0.7, "unasked_production": 0.9},
	"autonomy": {"production": false, "replicas": 3, "dependents": 1},
	"attempts": {"most": 5},
	"blast_radius": {
		"replicas": 10,
		"replicas_most": 100,
		"namespaces": 1,
		"namespaces_most": 5,
		"dependents": 2,
		"traffic": 100,
	},
	"protected": {"namespaces": ["kube-system", "mesh"], "namespace_prefixes": ["kube-"]},
	"approval": {
		"quorum": 1,
		"quorum_high_risk": 2,
		"quorum_freeze": 2,
		"roles": ["oncall", "sre-lead"],
		"proposers": ["model", "memory"],
		"expires_seconds": 900,
	},
	"freezes": [],
}

production := {"environment": "production"}

# The answer to the harmless question with these changes.
ask(changes) := ask_with(changes, {})

# The same under changed settings.
ask_with(changes, setting_changes) := answer if {
	answer := data.cortexops.decision with input as object.union(question, changes)
		with data.cortexops.config as object.union(config, setting_changes)
}

refused(answer, reason) if {
	answer.effect == "deny"
	reason in answer.reasons
}

asked(answer, reason) if {
	answer.effect == "require_approval"
	reason in answer.reasons
}
