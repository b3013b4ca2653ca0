"""The servers that CortexOps stands on, as supervised child processes of one Python process.

Temporal, NATS JetStream and Postgres come from pip (`cortexops[embedded]`), listen on loopback only, keep
their data under one folder and die with the process that started them. Nothing here knows what the product
stores in them.
"""
