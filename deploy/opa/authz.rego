# Who may talk to this OPA server. Whoever can load a rule can allow anything, so nobody can: the pack is mounted
# read-only, and over HTTP the bearer of OPA_TOKEN may only ask and read. `/health` is open for the health check.
package system.authz

default allow := false

allow if {
	input.method == "GET"
	input.path == ["health"]
}

allow if {
	known
	asks_or_reads
}

known if {
	token := opa.runtime().env.OPA_TOKEN
	count(token) >= 16
	input.identity == token
}

# the decision
asks_or_reads if {
	input.method == "POST"
	input.path == ["v1", "data", "cortexops", "decision"]
}

# what an approval is bound to: the modules and the pack's settings
asks_or_reads if {
	input.method == "GET"
	input.path == ["v1", "policies"]
}

asks_or_reads if {
	input.method == "GET"
	input.path == ["v1", "data", "cortexops", "config"]
}
