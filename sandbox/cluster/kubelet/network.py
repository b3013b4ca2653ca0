"""Which addresses a pod can reach: Services by their ready endpoints, the rest by declaration."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from cortexops.domain.resource import JSON

Find = Callable[[str, str], JSON | None]
"""Kind and `namespace/name`."""


def reach(address: str, namespace: str, find: Find, down: frozenset[str]) -> str:
    """Why `address` (`host:port`) cannot be reached from `namespace`, in Go's wording, or nothing."""
    host, _, port = address.rpartition(":")
    if not host:
        host, port = address, "80"
    if down.intersection((address, host)):
        return f"dial tcp {_public_address(host)}:{port}: i/o timeout"
    parts = host.split(".")
    where = parts[1] if len(parts) > 1 else namespace
    in_cluster = len(parts) == 1 or (len(parts) > 2 and parts[2] == "svc") or find("Namespace", f"/{where}")
    if not in_cluster:
        return ""
    service = find("Service", f"{where}/{parts[0]}")
    if service is None:
        return f"dial tcp: lookup {host} on 10.96.0.10:53: no such host"
    if not service["spec"].get("selector"):
        return ""
    endpoints = find("Endpoints", f"{where}/{parts[0]}") or {}
    if any(subset.get("addresses") for subset in endpoints.get("subsets") or ()):
        return ""
    return f"dial tcp {service['spec'].get('clusterIP') or '10.96.0.1'}:{port}: connect: connection refused"


def _public_address(host: str) -> str:
    return f"203.0.113.{zlib.crc32(host.encode()) % 254 + 1}"  # the range kept for documentation
