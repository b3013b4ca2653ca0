"""Words are kept in a database where they can only be added to, each with its audit row."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from cortexops.adapters.judging import Judging
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.audit import AuditType
from cortexops.domain.diagnosis import Category
from cortexops.domain.errors import Conflict, CortexError, InvalidInput, NotFound, PermanentError
from cortexops.domain.feedback import Rating, standing, undone
from cortexops.domain.incident import Incident
from tests.memory.support import ANA, BO, NOW
from tests.support.case import TARGET, an_incident, entry, open_case
from tests.support.engines import Database
from tests.support.postgres import as_owner


@pytest.fixture
async def incident(store: PostgresStore) -> Incident:
    return await open_case(store)


async def test_a_word_is_kept_with_person_time_cause_and_audit_row(
    store: PostgresStore, incident: Incident
) -> None:
    word = await Judging(store).say(
        incident.id, ANA, "Partial", now=NOW, cause="configmap/shop/api-env", category="CONFIGMAP_CHANGED",
        note=" it was the cache size ",
    )  # fmt: skip
    assert word.number > 0 and (word.rating, word.person, word.at) == (Rating.PARTIAL, "ana", NOW)
    assert (word.target, word.category) == (TARGET, Category.OOM_AFTER_RELEASE)
    assert str(word.true_resource) == "ConfigMap shop/api-env"
    assert (word.true_category, word.note) == (Category.CONFIGMAP_CHANGED, "it was the cache size")
    assert await store.feedback(cluster="prod-eu") == [word] == await store.feedback(incident_id=incident.id)
    assert await store.feedback(cluster="elsewhere") == []
    (row,) = [e for e in await store.events(incident.id) if e.type is AuditType.FEEDBACK]
    assert (row.reason, row.actor, row.data["via"]) == ("partial", "ana", "token")
    assert (await store.verify())[1] == []


async def test_the_later_word_replaces_and_undo_brings_the_earlier_back(
    store: PostgresStore, incident: Incident
) -> None:
    judging = Judging(store)
    first = await judging.say(incident.id, ANA, "incorrect", now=NOW)
    second = await judging.say(incident.id, ANA, "accurate", now=NOW + timedelta(minutes=1))
    other = await judging.say(incident.id, BO, "partial", now=NOW)
    assert standing(await store.feedback()) == [second, other]
    await judging.undo(incident.id, ANA, now=NOW)
    assert standing(await store.feedback()) == [first, other]
    await judging.undo(incident.id, ANA, now=NOW)
    assert standing(await store.feedback()) == [other]
    with pytest.raises(NotFound, match="no feedback of ana"):
        await judging.undo(incident.id, ANA, now=NOW)
    assert len(await store.feedback()) == 5


async def test_the_same_row_twice_is_one_row(store: PostgresStore, incident: Incident) -> None:
    judging = Judging(store)
    for _ in range(2):
        word = await judging.say(incident.id, ANA, "incorrect", now=NOW)
    back = undone(word, ANA, NOW)
    for _ in range(2):
        await store.add_feedback(back, entry(incident.id, AuditType.FEEDBACK, 1, "undone"))
    assert len(await store.feedback()) == 2


async def test_what_cannot_be_judged_is_refused_by_name(store: PostgresStore, incident: Incident) -> None:
    judging = Judging(store)
    cases: list[tuple[type[CortexError], str, tuple[str, str], dict[str, str]]] = [
        (NotFound, "INC-20990101-001", ("INC-20990101-001", "accurate"), {}),
        (InvalidInput, "one of: accurate, partial, incorrect", (incident.id, "wrong"), {}),
        (InvalidInput, "oom_limit_too_low", (incident.id, "incorrect"), {"category": "gremlins"}),
        (InvalidInput, "KIND/NAMESPACE/NAME", (incident.id, "incorrect"), {"cause": "ConfigMap/api-env"}),
        (InvalidInput, "KIND/NAME", (incident.id, "incorrect"), {"cause": "Node/shop/n1"}),
        (InvalidInput, "not a known kind", (incident.id, "incorrect"), {"cause": "Gremlin/shop/x"}),
        (InvalidInput, "accurate", (incident.id, "accurate"), {"category": "crash"}),
    ]
    for kind, text, (id, rating), more in cases:
        with pytest.raises(kind, match=text):
            await judging.say(id, ANA, rating, now=NOW, **more)
    opened = await store.open_incident(
        an_incident(key="incident:other", run_id="r2"), (), entry("platform", AuditType.DETECTED, 0, "x")
    )
    with pytest.raises(Conflict, match="no diagnosis yet"):
        await judging.say(opened.id, ANA, "accurate", now=NOW)
    assert await store.feedback() == []


async def test_when_the_note_cannot_be_checked_nothing_is_kept(
    store: PostgresStore, incident: Incident
) -> None:
    def broken(text: str) -> str:
        raise PermanentError("withheld")

    with pytest.raises(PermanentError, match="withheld"):
        await Judging(store, broken).say(incident.id, ANA, "incorrect", now=NOW, note="x")
    assert await store.feedback() == []


async def test_rows_can_only_be_added(
    store: PostgresStore, incident: Incident, migrated_database: Database
) -> None:
    await Judging(store).say(incident.id, ANA, "incorrect", now=NOW)
    for statement in (
        "UPDATE feedback SET cluster = 'x'",
        "DELETE FROM feedback",
        "TRUNCATE feedback CASCADE",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="can only be added"):
            await as_owner(migrated_database, statement)


async def test_a_row_that_cannot_be_read_moves_nothing(
    store: PostgresStore, incident: Incident, migrated_database: Database
) -> None:
    word = await Judging(store).say(incident.id, ANA, "incorrect", now=NOW)
    await as_owner(
        migrated_database,
        "INSERT INTO feedback (id, incident_id, cluster, body) VALUES ('fb-x', %s, 'prod-eu', '{}')",
        incident.id,
    )
    assert await store.feedback(cluster="prod-eu") == [word]
