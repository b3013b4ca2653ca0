"""Ids and hashes. Everything that must be the same after a redelivery is computed, never drawn."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cortexops.domain.resource import ResourceRef


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value that hashes are taken over: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def incident_key(resource: ResourceRef) -> str:
    """The workflow id of the one open incident that this object can have."""
    return f"incident:{resource.key}"


def operation_id(incident_id: str, attempt: int, step: int, plan_hash: str) -> str:
    """The idempotency key of one change. It is written on the object and in the ledger."""
    return f"{incident_id}.{attempt}.{step}.{plan_hash[:12]}"


def approval_id(incident_id: str, attempt: int) -> str:
    """`INC-…-approval-1`: each attempt asks at most once."""
    return f"{incident_id}-approval-{attempt}"


def postmortem_id(incident_id: str) -> str:
    return f"pm-{incident_id}"
