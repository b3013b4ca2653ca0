"""Trails with a past, and what a check says of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.incident import Incident, IncidentState
from tests.support.engines import Database
from tests.support.postgres import NOW, an_entry, moved, opened, tamper

NEXT_DAY = datetime(2026, 1, 3, 0, 10, tzinfo=UTC)
LATER = datetime(2026, 1, 4, 0, 10, tzinfo=UTC)


async def an_ended_incident(store: PostgresStore, key: str, events: int = 3) -> Incident:
    """Its chain has `events` rows: the opening, and steps up to the end."""
    incident = await opened(store, key, f"run-{key}")
    for number in range(events - 2):
        await store.append([an_entry(incident.id, detail=f"step {number}")])
    ended = moved(incident, IncidentState.RESOLVED)
    await store.update_incident(ended, [an_entry(incident.id, reason="verified")])
    return ended


async def a_past(store: PostgresStore) -> list[str]:
    """Three ended incidents of one day, anchored; chain names in order."""
    chains = [(await an_ended_incident(store, key)).id for key in ("a", "b", "c")]
    await store.anchor(NEXT_DAY)
    return chains


async def faults_of(store: PostgresStore, **how: Any) -> set[tuple[str, int, str]]:
    checked = await store.examine(**how)
    assert len(checked.faults) == len(set(checked.faults)), "each fault is told once"
    return {(fault.chain, fault.number, fault.fault) for fault in checked.faults}


async def erase(database: Database, chain: str) -> None:
    """Everything that the database knows of a chain, as its owner would do it."""
    await tamper(
        database,
        f"DELETE FROM audit_events WHERE chain = '{chain}'",
        f"DELETE FROM audit_heads WHERE chain = '{chain}'",
        f"DELETE FROM incidents WHERE id = '{chain}'",
    )


__all__ = ["LATER", "NEXT_DAY", "NOW", "a_past", "an_ended_incident", "erase", "faults_of"]
