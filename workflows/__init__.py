"""Deterministic code only: the story of an incident.

Belongs here: the order of things. Does not: I/O, clocks, randomness, decisions (those are pure functions
in `cortexops.domain`). A workflow imports contracts and domain, nothing else, and calls activities by
their contracts. Once released, a change of behaviour is guarded by `workflow.patched("name")`, or by a name in
`cortexops.contracts.records.Patch` where every run would pass it, and the recorded histories under tests/replay must
still replay.
"""
