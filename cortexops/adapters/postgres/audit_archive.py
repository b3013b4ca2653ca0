"""Old rows of the audit trail on their way into a file, and such files read again.

The file is gzipped NDJSON: a first line that says what it is, then the rows with all their columns as they
were. It is complete on disk and checked before the database lets a row go.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.database import Database, row, rows, run, streamed
from cortexops.domain.anchor import Head
from cortexops.domain.errors import InvalidInput, PermanentError
from cortexops.domain.ids import canonical_json

FORMAT = "cortexops-audit-archive-1"
_COLUMNS = ("cursor", "chain", "number", "idempotency_key", "type", "at", "body", "previous_hash", "hash")
_MOST = 5_000  # chains in one archive
# The unbroken, anchored beginning of chains whose incident has ended, with nothing left to be swept up.
_RIPE = """
SELECT e.chain, max(e.number) AS number FROM audit_events e JOIN incidents i ON i.id = e.chain COLLATE "C"
WHERE i.ended_at < :before AND e.cursor <= (SELECT coalesce(max(cursor), 0) FROM anchors)
  AND NOT EXISTS (SELECT FROM ledger l WHERE l.incident_id = i.id AND l.state IN ('intent', 'applied')
                  AND l.swept_at IS NULL)
GROUP BY e.chain, i.ended_at ORDER BY i.ended_at, e.chain LIMIT :most
"""
_ROWS = f"""
SELECT {", ".join("e." + column for column in _COLUMNS)}
FROM unnest(CAST(:chains AS text[]), CAST(:numbers AS bigint[])) AS wanted (chain, number)
JOIN audit_events e ON e.chain = wanted.chain COLLATE "C" AND e.number <= wanted.number
ORDER BY e.chain, e.number
"""
_PRUNE = """
SELECT audit_prune(:digest, :name, CAST(:chains AS text[]), CAST(:numbers AS bigint[]),
                   CAST(:hashes AS text[])) AS rows
"""
_BECOME = "SET LOCAL ROLE cortexops_archivist"


class Archive(NamedTuple):
    """An archive that was read: its rows by chain, in order."""

    name: str
    digest: str
    chains: dict[str, list[Mapping[str, Any]]]

    def heads(self) -> Iterator[Head]:
        """Every row as the head that an anchor may name."""
        for chain, found in self.chains.items():
            for item in found:
                yield Head(chain, item["number"], item["hash"], item["cursor"])


class Written(NamedTuple):
    """A file that is on disk, and the last row of each chain in it."""

    path: Path
    digest: str
    rows: int
    ends: dict[str, tuple[int, str]]


def digest_of(path: Path) -> str:
    """SHA-256 of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_archive(path: Path) -> Archive:
    """Raises `InvalidInput` when it is no archive."""
    chains: dict[str, list[Mapping[str, Any]]] = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            if json.loads(next(lines)).get("format") != FORMAT:
                raise ValueError("it does not begin as one")
            for line in lines:
                found = json.loads(line)
                item = {column: found[column] for column in _COLUMNS}
                item["at"] = datetime.fromisoformat(item["at"])
                chains.setdefault(item["chain"], []).append(item)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise InvalidInput(str(path), f"is no archive of the audit trail: {error}") from None
    return Archive(path.name, digest_of(path), chains)


async def ripe(connection: AsyncConnection, before: datetime) -> dict[str, int]:
    """Chain → last row of it that may go: of incidents that ended before then, as far as it is anchored."""
    found = await rows(connection, _RIPE, before=before, most=_MOST)
    return {item["chain"]: item["number"] for item in found}


async def write_archive(
    database: Database, wanted: Mapping[str, int], folder: Path, before: datetime
) -> Written:
    """Write those rows into a new file of the folder. A file that was begun and not finished is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".audit-{secrets.token_hex(4)}.part"
    ends: dict[str, tuple[int, str]] = {}
    count = 0
    try:
        with unfinished.open("xb") as raw:
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                packed.write(_line({"format": FORMAT, "before": before.isoformat(), "chains": len(wanted)}))
                async with (
                    database.snapshot() as connection,
                    streamed(connection, _ROWS, chains=list(wanted), numbers=list(wanted.values())) as found,
                ):
                    async for item in found:
                        packed.write(_line({**item, "at": item["at"].isoformat()}))
                        ends[item["chain"]] = (item["number"], item["hash"])
                        count += 1
            raw.flush()
            os.fsync(raw.fileno())
        digest = digest_of(unfinished)
        path = folder / f"audit-{before:%Y%m%d}-{digest[:12]}.ndjson.gz"
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync(folder)
    return Written(path, digest, count, ends)


def _line(value: Mapping[str, Any]) -> bytes:
    return canonical_json(value).encode() + b"\n"


def _sync(folder: Path) -> None:
    """So that the name of the file, too, survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def become_archivist(connection: AsyncConnection) -> None:
    """Take the role that may prune, for this transaction. Raises `PermanentError` when this login may not."""
    allowed = await row(
        connection,
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cortexops_archivist'"
        " AND pg_has_role(session_user, oid, 'MEMBER')) AS allowed",
    )
    if allowed is None or not allowed["allowed"]:
        raise PermanentError("this database login is no member of cortexops_archivist: it may not prune")
    await run(connection, _BECOME)


async def let_go(connection: AsyncConnection, written: Written) -> int:
    """Have the database replace the rows by checkpoints; returns how many went.

    Raises `IntegrityError` when a row is no longer as it is in the file, or may not go.
    """
    ends: Sequence[tuple[str, tuple[int, str]]] = list(written.ends.items())
    found = await row(
        connection,
        _PRUNE,
        digest=written.digest,
        name=written.path.name,
        chains=[chain for chain, _ in ends],
        numbers=[number for _, (number, _) in ends],
        hashes=[hash_ for _, (_, hash_) in ends],
    )
    return int(found["rows"]) if found else 0
