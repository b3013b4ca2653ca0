"""Checking the stored chains: every row against its hash, its columns, its place, its chain's head, the anchors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.anchors import find_anchor_faults
from cortexops.adapters.postgres.audit_archive import Archive
from cortexops.adapters.postgres.database import rows, streamed
from cortexops.domain.anchor import check_kept
from cortexops.domain.audit import PLATFORM, START, AuditEvent, AuditType, ChainFault, verify_chain

_ALL = """
SELECT e.cursor, e.chain, e.number, e.idempotency_key, e.type, e.at, e.body, e.previous_hash, e.hash,
       h.number AS head_number, h.hash AS head_hash
FROM audit_events e LEFT JOIN audit_heads h ON h.chain = e.chain
WHERE CAST(:only AS text) IS NULL OR e.chain = :only
ORDER BY e.chain, e.number
"""
_EMPTY = """
SELECT h.chain, h.number, h.hash FROM audit_heads h
WHERE h.number > 0 AND (CAST(:only AS text) IS NULL OR h.chain = :only)
  AND NOT EXISTS (SELECT FROM audit_events e WHERE e.chain = h.chain) ORDER BY h.chain
"""
# An incident is stored together with the first row of its chain.
_UNTOLD = """
SELECT i.id FROM incidents i
WHERE (CAST(:only AS text) IS NULL OR i.id = :only)
  AND NOT EXISTS (SELECT FROM audit_heads h WHERE h.chain = i.id COLLATE "C")
  AND NOT EXISTS (SELECT FROM audit_events e WHERE e.chain = i.id COLLATE "C") ORDER BY i.id
"""
_CHECKPOINTS = """
SELECT chain, number, hash, rows, archive FROM archive_checkpoints
WHERE CAST(:only AS text) IS NULL OR chain = :only ORDER BY chain, number
"""
_TOLD_ARCHIVES = "SELECT body FROM audit_events WHERE chain = :chain AND type = :type"
_CHANGED = "content was changed"
_COPIED = ("chain", "number", "previous_hash", "idempotency_key", "type", "at")
"""Columns that repeat what the sealed body says."""
ARCHIVES = "archives"
"""How faults name the table of archives."""


class Checked(NamedTuple):
    """What a check looked at: events, every fault once, and archived rows whose files were not given."""

    events: int
    faults: list[ChainFault]
    unseen: int


class _Ends(NamedTuple):
    """The last archived row of each chain: (number, hash)."""

    places: dict[str, tuple[int, str]]
    by_archive: dict[str, list[Mapping[str, Any]]]


async def find_faults(
    connection: AsyncConnection,
    *,
    only: str | None = None,
    kept: str = "",
    archives: Sequence[Archive] = (),
) -> Checked:
    """Every fault, each once; of one chain with `only`. `kept` is an anchor that was kept outside."""
    checkpoints = await rows(connection, _CHECKPOINTS, only=only)
    ends = _Ends({}, {})
    for item in checkpoints:
        ends.places[item["chain"]] = (item["number"], item["hash"])
        ends.by_archive.setdefault(item["archive"], []).append(item)
    checked, faults = await _check_rows(connection, only, ends)
    seen, more = _check_archives(archives, ends, await _told(connection), only)
    faults += more
    faults += await _check_table(connection, ends)
    known, more = await find_anchor_faults(
        connection,
        {chain: number for chain, (number, _) in ends.places.items()},
        {(head.chain, head.number): head for archive in archives for head in archive.heads()},
        only,
    )
    faults += more
    faults += check_kept(known, kept) if kept else []
    unseen = sum(item["rows"] for item in checkpoints) - seen
    return Checked(checked + seen, list(dict.fromkeys(faults)), unseen)


async def _check_rows(
    connection: AsyncConnection, only: str | None, ends: _Ends
) -> tuple[int, list[ChainFault]]:
    faults: list[ChainFault] = []
    checked = 0
    chain: list[Mapping[str, Any]] = []
    async with streamed(connection, _ALL, only=only) as found:
        async for item in found:
            if chain and chain[0]["chain"] != item["chain"]:
                faults += _check_chain(chain, ends)
                chain = []
            chain.append(item)
            checked += 1
    if chain:
        faults += _check_chain(chain, ends)
    for item in await rows(connection, _EMPTY, only=only):
        end = ends.places.get(item["chain"])
        if end is None:
            faults.append(ChainFault(chain=item["chain"], number=1, fault="all rows are missing"))
        elif end != (item["number"], item["hash"]):
            text = "rows after this one are missing"
            faults.append(ChainFault(chain=item["chain"], number=end[0], fault=text))
    for item in await rows(connection, _UNTOLD, only=only):
        faults.append(ChainFault(chain=item["id"], number=1, fault="all rows are missing"))
    return checked, faults


def _check_chain(chain: Sequence[Mapping[str, Any]], ends: _Ends) -> list[ChainFault]:
    name = chain[0]["chain"]
    faults: list[ChainFault] = []
    head = None
    if chain[0]["head_number"] is None:
        faults.append(ChainFault(chain=name, number=chain[-1]["number"], fault="the chain's head is missing"))
    else:
        head = (chain[0]["head_number"], chain[0]["head_hash"])
    faults += check_rows(chain, head=head, after=ends.places.get(name, START))
    return sorted(faults, key=lambda fault: fault.number)


def check_rows(
    chain: Sequence[Mapping[str, Any]],
    *,
    head: tuple[int, str] | None,
    after: tuple[int, str] = START,
) -> list[ChainFault]:
    """Every fault of the rows of one chain, which come in order of their numbers."""
    name = chain[0]["chain"]
    faults: list[ChainFault] = []
    events: list[AuditEvent] = []
    cursor = 0
    followers = [item["previous_hash"] for item in chain[1:]] + [head[1] if head else ""]
    for item, follower in zip(chain, followers, strict=True):
        event, complaint, column = _check_row(item, follower)
        if not complaint and item["cursor"] <= cursor:
            complaint, column = "was recorded before the row that it follows", "cursor"
        if complaint:
            faults.append(ChainFault(chain=name, number=item["number"], fault=complaint, column=column))
        events.append(event)
        cursor = item["cursor"]
    marked = {fault.number for fault in faults}
    for fault in verify_chain(events, head=head, after=after):
        placed = fault.model_copy(update={"chain": name})
        if placed.fault != _CHANGED or placed.number not in marked:
            faults.append(placed)
    return faults


def _check_row(item: Mapping[str, Any], follower: str) -> tuple[AuditEvent, str, str]:
    """The row as an event in the place that its columns claim, what is wrong with it, and in which column.

    `follower`: what the row after it (or the head) holds as its previous hash. When that is the hash of the
    content, it is the column `hash` that was changed.
    """
    place = {"number": item["number"], "previous_hash": item["previous_hash"], "hash": item["hash"]}
    try:
        sealed = AuditEvent(**json.loads(item["body"]), hash=item["hash"])
    except (ValueError, TypeError, ValidationError):
        # A stand-in keeps the rows around it comparable; its own fault is told here.
        blank = AuditEvent(
            chain=item["chain"], type="detected", reason="", at=item["at"],
            idempotency_key=item["idempotency_key"], **place,
        )  # fmt: skip
        return blank, "content cannot be read", "body"
    value = hashlib.sha256(item["body"].encode()).hexdigest()
    if value != item["hash"]:
        return sealed.model_copy(update=place), _CHANGED, "hash" if value == follower else "body"
    differing = ", ".join(column for column in _COPIED if getattr(sealed, column) != item[column])
    complaint = f"column {differing} differs from the sealed content" if differing else ""
    return sealed.model_copy(update=place), complaint, differing


def _check_archives(
    archives: Sequence[Archive], ends: _Ends, told: Mapping[str, int], only: str | None
) -> tuple[int, list[ChainFault]]:
    """How many archived rows were checked, and the faults of the archives at hand."""
    faults: list[ChainFault] = []
    seen = 0
    for archive in archives:
        checkpoints = ends.by_archive.get(archive.digest, [])
        if not checkpoints and archive.digest not in told and only is None:
            text = f"{archive.name} is not an archive of this trail, or was changed"
            faults.append(ChainFault(chain=ARCHIVES, number=0, fault=text))
            continue
        for end in checkpoints:
            chain = archive.chains.get(end["chain"], [])
            place = (end["number"], end["hash"])
            if not chain:
                text = f"all rows are missing in {archive.name}"
                faults.append(ChainFault(chain=end["chain"], number=end["number"], fault=text))
                continue
            seen += len(chain)
            faults += check_rows(chain, head=place, after=_before(ends, end))
    return seen, faults


def _before(ends: _Ends, end: Mapping[str, Any]) -> tuple[int, str]:
    """Where the chain stood before this checkpoint."""
    others = [
        (item["number"], item["hash"])
        for items in ends.by_archive.values()
        for item in items
        if item["chain"] == end["chain"] and item["number"] < end["number"]
    ]
    return max(others, default=START)


async def _told(connection: AsyncConnection) -> dict[str, int]:
    """Digest of each archive that the trail itself tells of → how many rows went there."""
    found = await rows(connection, _TOLD_ARCHIVES, chain=PLATFORM, type=AuditType.ARCHIVED.value)
    told: dict[str, int] = {}
    for item in found:
        try:
            data = json.loads(item["body"])["data"]
            told[str(data["archive"])] = int(data["rows"])
        except (ValueError, KeyError, TypeError):
            continue  # a row that was changed is told of with its chain
    return told


async def _check_table(connection: AsyncConnection, ends: _Ends) -> list[ChainFault]:
    """The table of archives against what the trail tells of them."""
    told = await _told(connection)
    stored = {
        item["digest"]: item["rows"] for item in await rows(connection, "SELECT digest, rows FROM archives")
    }
    texts = [
        f"archive {key[:12]}… is not told of in the trail" for key in sorted(stored.keys() - told.keys())
    ]
    texts += [f"archive {key[:12]}… is missing" for key in sorted(told.keys() - stored.keys())]
    texts += [
        f"archive {key[:12]}… holds {told[key]} rows, not {stored[key]}"
        for key in sorted(stored.keys() & told.keys())
        if stored[key] != told[key]
    ]
    return [ChainFault(chain=ARCHIVES, number=0, fault=text) for text in texts]
