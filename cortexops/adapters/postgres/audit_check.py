"""Checking the stored chains: every row against its hash, its columns, its place and its chain's head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.database import rows, streamed
from cortexops.domain.audit import AuditEvent, ChainFault, verify_chain

_ALL = """
SELECT e.cursor, e.chain, e.number, e.idempotency_key, e.type, e.at, e.body, e.previous_hash, e.hash,
       h.number AS head_number, h.hash AS head_hash
FROM audit_events e LEFT JOIN audit_heads h ON h.chain = e.chain
ORDER BY e.chain, e.number
"""
_EMPTY = """
SELECT h.chain FROM audit_heads h
WHERE h.number > 0 AND NOT EXISTS (SELECT FROM audit_events e WHERE e.chain = h.chain) ORDER BY h.chain
"""
_CHANGED = "content was changed"
_COPIED = ("chain", "number", "previous_hash", "idempotency_key", "type", "at")
"""Columns that repeat what the sealed body says."""


async def find_faults(connection: AsyncConnection) -> tuple[int, list[ChainFault]]:
    """How many events were checked, and every fault, each once."""
    faults: list[ChainFault] = []
    checked = 0
    chain: list[Mapping[str, Any]] = []
    async with streamed(connection, _ALL) as found:
        async for item in found:
            if chain and chain[0]["chain"] != item["chain"]:
                faults += _check_chain(chain)
                chain = []
            chain.append(item)
            checked += 1
    if chain:
        faults += _check_chain(chain)
    for item in await rows(connection, _EMPTY):
        faults.append(ChainFault(chain=item["chain"], number=1, fault="all rows are missing"))
    return checked, faults


def _check_chain(chain: Sequence[Mapping[str, Any]]) -> list[ChainFault]:
    name = chain[0]["chain"]
    faults: list[ChainFault] = []
    events: list[AuditEvent] = []
    cursor = 0
    for item in chain:
        event, complaint = _check_row(item)
        if not complaint and item["cursor"] <= cursor:
            complaint = "was recorded before the row that it follows"
        if complaint:
            faults.append(ChainFault(chain=name, number=item["number"], fault=complaint))
        events.append(event)
        cursor = item["cursor"]
    head = None
    if chain[0]["head_number"] is None:
        faults.append(ChainFault(chain=name, number=chain[-1]["number"], fault="the chain's head is missing"))
    else:
        head = (chain[0]["head_number"], chain[0]["head_hash"])
    marked = {fault.number for fault in faults}
    for fault in verify_chain(events, head=head):
        placed = fault.model_copy(update={"chain": name})
        if placed.fault != _CHANGED or placed.number not in marked:
            faults.append(placed)
    return sorted(faults, key=lambda fault: fault.number)


def _check_row(item: Mapping[str, Any]) -> tuple[AuditEvent, str]:
    """The row as an event in the place that its columns claim, and what is wrong with the row itself."""
    place = {"number": item["number"], "previous_hash": item["previous_hash"], "hash": item["hash"]}
    try:
        sealed = AuditEvent(**json.loads(item["body"]), hash=item["hash"])
    except (ValueError, TypeError, ValidationError):
        # A stand-in keeps the rows around it comparable; its own fault is told here.
        blank = AuditEvent(
            chain=item["chain"], type="detected", reason="", at=item["at"],
            idempotency_key=item["idempotency_key"], **place,
        )  # fmt: skip
        return blank, "content cannot be read"
    if hashlib.sha256(item["body"].encode()).hexdigest() != item["hash"]:
        complaint = _CHANGED
    else:
        differing = [column for column in _COPIED if getattr(sealed, column) != item[column]]
        complaint = f"column {', '.join(differing)} differs from the sealed content" if differing else ""
    return sealed.model_copy(update=place), complaint
