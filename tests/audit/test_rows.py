"""Every column of a row, and every row's place, are sealed; what is wrong is named."""

from __future__ import annotations

import hashlib

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.audit import AuditEntry, AuditType, resting, seal
from cortexops.domain.ids import digest
from tests.audit.support import NEXT_DAY, a_past
from tests.support.engines import Database
from tests.support.postgres import NOW, an_entry, as_owner, tamper

COLUMNS = {
    "cursor": None,
    "chain": "'INC-X'",
    "number": "77",
    "idempotency_key": "'other'",
    "type": "'resolved'",
    "at": "at + interval '1 us'",
    "body": "replace(body, 'step', 'leap')",
    "previous_hash": "repeat('1', 64)",
    "hash": "repeat('1', 64)",
}
MOVE = """
CREATE TEMP TABLE kept AS SELECT * FROM audit_events WHERE chain = '{chain}' AND number = 2;
DELETE FROM audit_events WHERE chain = '{chain}' AND number = 2;
INSERT INTO audit_events OVERRIDING SYSTEM VALUE
    SELECT 99, chain, number, idempotency_key, type, at, body, previous_hash, hash FROM kept
"""


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_change_of_any_column_names_incident_row_and_column(
    store: PostgresStore, migrated_database: Database, column: str
) -> None:
    chain = (await a_past(store))[1]
    value = COLUMNS[column]
    if value is None:
        await tamper(migrated_database, *MOVE.format(chain=chain).split(";"))
    else:
        await tamper(
            migrated_database,
            f"UPDATE audit_events SET {column} = {value} WHERE chain = '{chain}' AND number = 2",
        )
    faults = (await store.examine()).faults
    place = ("INC-X", 2) if column == "chain" else (chain, 77) if column == "number" else (chain, 2)
    named = {(fault.chain, fault.number, fault.column) for fault in faults}
    if column == "cursor":  # told where the order breaks: at the row after it
        assert (chain, 3, "cursor") in named
    else:
        assert (*place, column) in named, faults
    found = await as_owner(
        migrated_database,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'audit_events'",
    )
    assert {name for (name,) in found} == set(COLUMNS)


async def test_every_recorded_row_names_its_inputs(store: PostgresStore) -> None:
    explicit = resting(an_entry("a"), {"question": 1})
    first, second = await store.append([explicit, an_entry("a")])
    assert first.inputs == digest([{"question": 1}])
    assert len(second.inputs) == 64 and second.inputs != first.inputs
    assert (first.format, second.format) == ("2", "2")


async def test_rows_of_the_first_format_keep_their_hash_and_chains_go_on_after_them(
    store: PostgresStore, migrated_database: Database
) -> None:
    """A row as an earlier version wrote it, put there as that version did."""
    entry = AuditEntry(chain="old", type=AuditType.VERIFIED, reason="verified", at=NOW, idempotency_key="k")
    event = seal(entry, number=1, previous_hash="0" * 64)
    body = (
        '{"actor":"cortexops","at":"2026-01-02T03:04:05.678901Z","chain":"old","data":{},"detail":"",'
        '"idempotency_key":"k","number":1,"previous_hash":"' + "0" * 64 + '",'
        '"reason":"verified","type":"verified"}'
    )
    assert event.hash == hashlib.sha256(body.encode()).hexdigest()
    await as_owner(
        migrated_database,
        "INSERT INTO audit_heads VALUES ('old', 0, repeat('0', 64))",
    )
    await as_owner(
        migrated_database,
        "INSERT INTO audit_events (chain, number, idempotency_key, type, at, body, previous_hash, hash) "
        "VALUES ('old', 1, 'k', 'verified', '2026-01-02T03:04:05.678901Z', %s, repeat('0', 64), %s)",
        body,
        event.hash,
    )
    (known,) = await store.append([entry])
    assert (known, known.inputs, known.format) == (event, "", "")
    (newer,) = await store.append([an_entry("old")])
    assert (newer.number, newer.previous_hash, newer.format) == (2, event.hash, "2")
    await store.anchor(NEXT_DAY)
    assert (await store.examine()).faults == []


async def test_a_row_that_is_there_twice_is_told(store: PostgresStore, migrated_database: Database) -> None:
    chain = (await a_past(store))[0]
    await tamper(
        migrated_database,
        "ALTER TABLE audit_events DROP CONSTRAINT audit_events_chain_number_key",
        "ALTER TABLE audit_events DROP CONSTRAINT audit_events_chain_idempotency_key_key",
        "INSERT INTO audit_events (chain, number, idempotency_key, type, at, body, previous_hash, hash) "
        "SELECT chain, number, idempotency_key, type, at, body, previous_hash, hash FROM audit_events "
        f"WHERE chain = '{chain}' AND number = 2",
    )
    told = {(f.chain, f.number, f.fault) for f in (await store.examine()).faults}
    assert (chain, 2, "row is doubled or out of order") in told
