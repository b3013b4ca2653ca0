"""From what telemetry says to running incident workflows.

Belongs here: sources, the HTTP gateway, the cluster watcher, and the correlator with what it needs.
Does not: the decisions (`cortexops.domain`), and what happens to an incident afterwards (`workflows`).
"""
