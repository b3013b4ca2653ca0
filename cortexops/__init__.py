"""CortexOps: durable incident response for Kubernetes.

domain     pure types and every decision; no I/O, time is passed in
contracts  typed activity signatures, all that a workflow may call
ports      protocols of the outside systems; `adapters` implements them, one module each
settings   one frozen tree, read once at process start
cli        the command line, the top layer
"""

__version__ = "0.1.0"
