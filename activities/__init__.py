"""The only code that does I/O for a workflow.

Belongs here: implementations of `cortexops.contracts`, and the plug-ins below them: collectors, analyzers,
actions, notifiers. Does not: decisions (those are in `cortexops.domain`) and clients (those are built in
`workers.wiring` and handed in). Every activity is idempotent and heartbeats when it is long.
"""
