"""A migrated database for each test, copied from a template; and the shorthand that store tests share."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.migrate import upgrade
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.message import Message, MessageKind
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity, Signal
from tests.support.engines import Database, RunningEngines, fresh_database

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
API = ResourceRef(cluster="test", kind="Deployment", namespace="shop", name="api")
_counter = itertools.count(1)


@pytest.fixture(scope="session")
def migrated_template(engines: RunningEngines) -> Iterator[str]:
    with fresh_database(engines) as template:
        upgrade(template.dsn)
        yield template.name


@pytest.fixture
def migrated_database(engines: RunningEngines, migrated_template: str) -> Iterator[Database]:
    """A database at head, of this test's own."""
    with fresh_database(engines, template=migrated_template) as database:
        yield database


@pytest.fixture
async def store(migrated_database: Database) -> AsyncIterator[PostgresStore]:
    """The store on it, with two notifiers."""
    connected = await PostgresStore.connect(migrated_database.dsn, notifiers=("slack", "pager"))
    yield connected
    await connected.close()


async def as_owner(database: Database, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run SQL as the superuser that owns everything."""
    async with await psycopg.AsyncConnection.connect(database.plain_dsn, autocommit=True) as connection:
        cursor = await connection.execute(sql.SQL(statement), values or None)
        return await cursor.fetchall() if cursor.description else []


async def tamper(database: Database, *statements: str) -> None:
    """Change audit rows behind the triggers, as only the owner of the database can."""
    switches = ["audit_events", "audit_heads", "policy_violations"]
    async with await psycopg.AsyncConnection.connect(database.plain_dsn) as connection:
        for table in switches:
            await connection.execute(
                sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(sql.Identifier(table))
            )
        for statement in statements:
            await connection.execute(sql.SQL(statement))
        for table in switches:
            await connection.execute(
                sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(sql.Identifier(table))
            )


def an_entry(chain: str = "INC-1", **changes: Any) -> AuditEntry:
    base: dict[str, Any] = {
        "chain": chain,
        "type": AuditType.STATE_CHANGED,
        "reason": "approved",
        "detail": "because",
        "at": NOW,
        "data": {"before": "DETECTED", "n": 1, "ratio": 0.5},
        "idempotency_key": f"key-{next(_counter)}",
    }
    return AuditEntry(**{**base, **changes})


def a_draft(key: str = "incident:test:shop:Deployment:api", run: str = "run-1", **changes: Any) -> Incident:
    base: dict[str, Any] = {
        "id": "",
        "key": key,
        "run_id": run,
        "title": "OOM kill on Deployment shop/api",
        "severity": Severity.HIGH,
        "risk_score": 60,
        "resource": API,
        "state": IncidentState.DETECTED,
        "reason": Reason.SIGNALS_GROUPED,
        "detected_at": NOW,
        "updated_at": NOW,
    }
    return Incident(**{**base, **changes})


def moved(incident: Incident, state: IncidentState, *, seconds: float = 1, **changes: Any) -> Incident:
    at = incident.updated_at + timedelta(seconds=seconds)
    ended = at if state.final else None
    return incident.model_copy(update={"state": state, "updated_at": at, "ended_at": ended, **changes})


def a_message(incident: Incident, key: str, **changes: Any) -> Message:
    base: dict[str, Any] = {
        "key": f"{incident.id}/{key}",
        "kind": MessageKind.PROGRESS,
        "incident_id": incident.id,
        "title": incident.title,
        "severity": incident.severity,
        "state": incident.state,
        "text": f"news {key}",
        "at": NOW,
    }
    return Message(**{**base, **changes})


def a_signal(name: str = "PodOOMKilled", **changes: Any) -> Signal:
    base: dict[str, Any] = {
        "source": "alertmanager",
        "cluster": "test",
        "name": name,
        "severity": Severity.HIGH,
        "resource": API,
        "started_at": NOW,
    }
    return Signal(**{**base, **changes}).sealed()


async def opened(store: PostgresStore, key: str = "k", run: str = "run-1", **changes: Any) -> Incident:
    return await store.open_incident(a_draft(key, run, **changes), [], an_entry("platform"))


async def together(*calls: Any) -> list[Any]:
    return list(await asyncio.gather(*calls))
