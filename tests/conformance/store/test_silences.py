"""Silences on Postgres, and what an incident is born with because of them and of its past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.errors import NotFound
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.silence import Matcher, Silence
from tests.support.engines import Database
from tests.support.postgres import a_draft, a_signal, an_entry, as_owner, moved


def a_silence(name: str = "s1", **matcher: str) -> Silence:
    now = datetime.now(UTC)
    return Silence(
        id=name,
        matcher=Matcher(**(matcher or {"namespace": "shop"})),
        starts_at=now - timedelta(minutes=1),
        ends_at=now + timedelta(hours=1),
        reason="moving",
        created_by="ana",
    )


async def opened(store: PostgresStore, run: str, **changes: object) -> Incident:
    now = datetime.now(UTC)
    draft = a_draft("k", run).model_copy(update={"detected_at": now, "updated_at": now, **changes})
    return await store.open_incident(draft, [a_signal()], an_entry("platform"))


async def test_a_silence_holds_a_new_incident_and_its_notice(
    store: PostgresStore, migrated_database: Database
) -> None:
    incident = await opened(store, "0")
    assert incident.held_until is None
    silence = a_silence(namespace=incident.resource.namespace)
    await store.add_silence(silence, an_entry("platform"))
    held = await opened(store, "1")
    assert held.held_until == silence.ends_at
    waiting = await as_owner(migrated_database, "SELECT DISTINCT incident_id FROM outbox")
    assert held.id not in {row[0] for row in waiting}
    lifted = await store.lift_silence(silence.id, datetime.now(UTC), an_entry("platform"))
    assert lifted.lifted_at is not None
    assert await store.lift_silence(silence.id, datetime.now(UTC), an_entry("platform")) == lifted
    assert (await opened(store, "2")).held_until is None
    assert [s.id for s in await store.silences()] == []
    assert [s.id for s in await store.silences(ended=True)] == [silence.id]
    with pytest.raises(NotFound):
        await store.lift_silence("nothing", datetime.now(UTC), an_entry("platform"))


async def test_every_silence_is_in_the_audit_trail(store: PostgresStore) -> None:
    await store.add_silence(a_silence(), an_entry("platform"))
    before = len(await store.events("platform"))
    await store.lift_silence("s1", datetime.now(UTC), an_entry("platform"))
    assert len(await store.events("platform")) == before + 1


async def test_what_was_resolved_three_times_in_a_day_is_flapping(store: PostgresStore) -> None:
    for run in range(3):
        incident = await opened(store, str(run))
        assert not incident.flapping
        now = datetime.now(UTC)
        ended = moved(incident, IncidentState.RESOLVED).model_copy(
            update={"updated_at": now, "ended_at": now}
        )
        await store.update_incident(ended, [])
    assert (await opened(store, "3")).flapping
    assert not (await opened(store, "4", drill=True)).flapping
    assert not (await opened(store, "5", key="other")).flapping
