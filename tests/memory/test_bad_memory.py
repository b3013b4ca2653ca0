"""Memory that is down, slow, damaged or locked: counted, said, and done without."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities import recall
from activities.actions import propose
from activities.investigation import InvestigationActivities
from activities.recall import with_experience
from cortexops.adapters.qdrant import COLLECTION, QdrantMemory
from cortexops.adapters.qdrant_late import LateMemory
from cortexops.domain.case import Case, Recalled
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.outgoing import Destination, Withheld
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from tests.memory.support import NOW, TEXT, a_case
from tests.memory.test_embeddings import failures, ids

API = ResourceRef(cluster="prod", kind="Deployment", namespace="shop", name="api")
SCENE = Scene(cluster="prod", environment="production", target=API, now=NOW, onset=NOW)
FOUND = Diagnosis(
    target=API,
    verdict=Verdict.ROOT_CAUSE,
    hypotheses=(
        Hypothesis(
            resource=API, category=Category.OOM_LIMIT_TOO_LOW, summary="out of memory", evidence=("e1",),
            support=Support(direct=1), confidence=0.9,
        ),
    ),
)  # fmt: skip


class Memory:
    """Answers as it is told."""

    def __init__(self, *cases: Case, error: Exception | None = None, seconds: float = 0) -> None:
        self.cases, self.error, self.seconds = cases, error, seconds
        self.stored: list[Case] = []

    async def _wait(self) -> None:
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error

    async def remember(self, case: Case) -> None:
        await self._wait()
        self.stored.append(case)

    async def recall(self, text: str, *, cluster: str, most: int = 3) -> list[Recalled]:
        await self._wait()
        return [Recalled(case=case, score=1, likeness=1) for case in self.cases]

    async def health(self) -> str | None:
        return None

    async def close(self) -> None:
        return


class Words:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def add_feedback(self, word: Any, entry: Any) -> Any:
        raise self.error

    async def feedback(self, *, cluster: str = "", incident_id: str = "", most: int = 5000) -> list[Any]:
        raise self.error


class Books:
    async def diagnosis(self, incident_id: str) -> Diagnosis | None:
        raise TemporaryError("away")

    async def rows_of(self, incident_id: str) -> list[Any]:
        return []


@pytest.mark.parametrize("error", [TemporaryError("away"), PermanentError("refused")])
async def test_a_memory_that_is_down_is_counted_and_done_without(error: Exception) -> None:
    before = failures("recall"), failures("feedback")
    found = await with_experience(FOUND, SCENE, now=NOW, memory=Memory(error=error), feedback=Words(error))
    assert found.hypotheses == FOUND.hypotheses and found.verdict is FOUND.verdict
    assert found.precedents == () and found.moved == ()
    assert (failures("recall"), failures("feedback")) == (before[0] + 1, before[1] + 1)


async def test_a_slow_memory_holds_an_investigation_up_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert recall.PATIENCE_SECONDS == 5
    monkeypatch.setattr(recall, "PATIENCE_SECONDS", 0.1)
    before, began = failures("recall"), time.perf_counter()
    found = await with_experience(FOUND, SCENE, now=NOW, memory=Memory(a_case(), seconds=30))
    assert time.perf_counter() - began < 3 and found.precedents == ()
    assert failures("recall") == before + 1


async def test_what_was_not_measured_is_no_precedent() -> None:
    memory = Memory(a_case(1, verified=False), a_case(2))
    found = await with_experience(FOUND, SCENE, now=NOW, memory=memory)
    assert [p.incident_id for p in found.precedents] == [a_case(2).incident_id]


async def test_when_the_redactor_raises_nothing_is_asked_and_nothing_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(text: str, destination: Destination, **_: Any) -> str:
        raise Withheld(destination, "RuntimeError")

    monkeypatch.setattr(recall, "outgoing", broken)
    memory = Memory(a_case())
    before = failures("recall"), failures("remember")
    assert (await with_experience(FOUND, SCENE, now=NOW, memory=memory)).precedents == ()
    books: Any = Books()
    activities = InvestigationActivities({}, books, memory, propose)
    assert await ActivityEnvironment().run(activities.remember, a_case()) is False
    assert memory.stored == []
    assert (failures("recall"), failures("remember")) == (before[0] + 1, before[1] + 1)


async def test_a_case_is_masked_and_kept_even_when_its_ledger_cannot_be_read() -> None:
    memory, books = Memory(), Books()
    activities = InvestigationActivities({}, books, memory, propose)  # type: ignore[arg-type]
    case = a_case(text="postgres://orders:s3cret-Passw0rd@db.shop/orders refuses")
    assert await ActivityEnvironment().run(activities.remember, case) is True
    assert "s3cret-Passw0rd" not in memory.stored[0].model_dump_json()


async def test_a_payload_of_another_version_is_skipped_and_counted(tmp_path: Path) -> None:
    memory = await QdrantMemory.connect(path=tmp_path / "memory")
    try:
        for number in (1, 2, 3):
            await memory.remember(a_case(number))
        client = memory._client
        points = client.scroll(COLLECTION, limit=10)[0]
        by_incident = {p.payload["incident_id"]: p.id for p in points if p.payload}
        client.set_payload(COLLECTION, {"at": "yesterday"}, points=[by_incident[a_case(1).incident_id]])
        client.overwrite_payload(
            COLLECTION, {"verified": True, "unknown": [1]}, points=[by_incident[a_case(2).incident_id]]
        )
        before = failures("payload")
        assert ids(await memory.recall(TEXT, cluster="prod")) == [a_case(3).incident_id]
        assert failures("payload") == before + 2
        old = {
            k: v for k, v in a_case(1).model_dump(mode="json").items() if k not in ("tried", "fingerprint")
        }
        client.overwrite_payload(COLLECTION, old, points=[by_incident[a_case(1).incident_id]])
        assert ids(await memory.recall(TEXT, cluster="prod"))[0] == a_case(1).incident_id
    finally:
        await memory.close()


async def test_a_memory_that_comes_late_is_used_then_and_not_asked_at_every_call(tmp_path: Path) -> None:
    tries, now = [0], [0.0]

    async def connect() -> QdrantMemory:
        tries[0] += 1
        if tries[0] == 1:
            raise TemporaryError("Qdrant does not answer")
        return await QdrantMemory.connect(path=tmp_path / "memory")

    late = LateMemory(connect, lambda: now[0])
    assert await late.health() == "Qdrant does not answer"
    with pytest.raises(TemporaryError, match="does not answer"):
        await late.recall(TEXT, cluster="prod")
    assert tries == [1]
    now[0] = 31
    await late.remember(a_case())
    assert ids(await late.recall(TEXT, cluster="prod")) == [a_case().incident_id]
    assert await late.health() is None and tries == [2]
    await late.close()
    with pytest.raises(PermanentError, match="closed"):
        await late.recall(TEXT, cluster="prod")


async def test_an_impatient_caller_does_not_leave_the_folder_locked(tmp_path: Path) -> None:
    async def connect() -> QdrantMemory:
        await asyncio.sleep(0.1)
        return await QdrantMemory.connect(path=tmp_path / "memory")

    late = LateMemory(connect)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await late.recall(TEXT, cluster="prod")
    assert await late.recall(TEXT, cluster="prod") == []
    await late.close()
    again = await QdrantMemory.connect(path=tmp_path / "memory")
    await again.close()
