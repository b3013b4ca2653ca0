"""Memory of solved incidents in a local Qdrant folder."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cortexops.adapters import text_vectors
from cortexops.adapters.qdrant import COLLECTION, QdrantMemory
from cortexops.domain.case import Case
from cortexops.domain.errors import PermanentError, TemporaryError

OOM = (
    "OOM kill on Deployment shop/payment-service\noom_after_release\n"
    "Container api was OOMKilled at its memory limit of 512Mi after the release"
)
PULL = (
    "Image pull on Deployment web/frontend\nimage_not_found\n"
    "Back-off pulling image registry.example/frontend:v9: manifest unknown"
)
PROBE = (
    "Probe failure on Deployment shop/catalog\nreadiness_probe\n"
    "Readiness probe answers 404 on /healthz, the program serves /ready"
)
NODE = (
    "Node not ready on Node worker-3\nnode_not_ready\n"
    "The kubelet stopped posting node status, its pods are being evicted"
)


def a_case(number: int = 1, text: str = OOM, **changes: Any) -> Case:
    base: dict[str, Any] = {
        "incident_id": f"INC-20260102-{number:03d}",
        "cluster": "prod-eu",
        "namespace": "shop",
        "kind": "Deployment",
        "name": "payment-service",
        "category": "oom_after_release",
        "text": text,
        "action": "adjust_resources on Deployment shop/payment-service",
        "action_type": "adjust_resources",
        "outcome": "RESOLVED",
        "verified": True,
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return Case(**{**base, **changes})


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[QdrantMemory]:
    made = await QdrantMemory.connect(path=tmp_path / "memory")
    yield made
    await made.close()


def ids(found: list[Any]) -> list[str]:
    return [recalled.case.incident_id for recalled in found]


async def test_the_most_similar_case_is_found_first(memory: QdrantMemory) -> None:
    for number, text in enumerate((PULL, PROBE, OOM, NODE), start=1):
        await memory.remember(a_case(number, text))
    question = "OOM kill on Deployment shop/orders\nContainer app was OOMKilled at its memory limit of 1Gi"
    found = await memory.recall(question, cluster="prod-eu")
    assert ids(found)[0] == "INC-20260102-003"
    assert found == sorted(found, key=lambda recalled: -recalled.score)
    assert found[0].case == a_case(3, OOM)


async def test_other_forms_of_the_same_words_are_similar_too(memory: QdrantMemory) -> None:
    for number, text in enumerate((PULL, PROBE, OOM, NODE), start=1):
        await memory.remember(a_case(number, text))
    found = await memory.recall("images cannot be pulled, unknown manifests", cluster="prod-eu")
    assert ids(found)[0] == "INC-20260102-001"


async def test_a_stranger_is_no_precedent(memory: QdrantMemory) -> None:
    await memory.remember(a_case(1, NODE))
    assert await memory.recall("certificate of the payments webhook has expired", cluster="prod-eu") == []


async def test_of_equal_cases_the_one_of_the_same_cluster_comes_first(memory: QdrantMemory) -> None:
    await memory.remember(a_case(1, cluster="prod-us"))
    await memory.remember(a_case(2, cluster="prod-eu"))
    await memory.remember(a_case(3, cluster="prod-us"))
    assert ids(await memory.recall(OOM, cluster="prod-eu"))[0] == "INC-20260102-002"
    assert ids(await memory.recall(OOM, cluster="prod-us"))[-1] == "INC-20260102-002"


async def test_only_verified_cases_are_recalled(memory: QdrantMemory) -> None:
    await memory.remember(a_case(1, verified=False))
    await memory.remember(a_case(2))
    assert ids(await memory.recall(OOM, cluster="prod-eu")) == ["INC-20260102-002"]


async def test_the_same_incident_again_replaces_its_case(memory: QdrantMemory) -> None:
    await memory.remember(a_case(1, outcome="CONTAINED"))
    await memory.remember(a_case(1, outcome="RESOLVED"))
    found = await memory.recall(OOM, cluster="prod-eu")
    assert [(r.case.incident_id, r.case.outcome) for r in found] == [("INC-20260102-001", "RESOLVED")]


async def test_no_more_cases_than_asked_for(memory: QdrantMemory) -> None:
    for number in range(1, 8):
        await memory.remember(a_case(number))
    assert len(await memory.recall(OOM, cluster="prod-eu")) == 3
    assert len(await memory.recall(OOM, cluster="prod-eu", most=5)) == 5
    assert await memory.recall(OOM, cluster="prod-eu", most=0) == []


@pytest.mark.parametrize("text", ["", "   ", "…!?", "7f9c4d5b6x"])
async def test_a_question_without_words_finds_nothing(memory: QdrantMemory, text: str) -> None:
    await memory.remember(a_case(1))
    assert await memory.recall(text, cluster="prod-eu") == []


async def test_a_case_without_words_can_be_stored(memory: QdrantMemory) -> None:
    await memory.remember(a_case(1, text=""))
    await memory.remember(a_case(2))
    assert ids(await memory.recall(OOM, cluster="prod-eu")) == ["INC-20260102-002"]


async def test_a_restart_keeps_the_cases(tmp_path: Path) -> None:
    first = await QdrantMemory.connect(path=tmp_path / "memory")
    await first.remember(a_case(1))
    await first.remember(a_case(2, PULL))
    await first.close()
    second = await QdrantMemory.connect(path=tmp_path / "memory")
    try:
        assert ids(await second.recall(OOM, cluster="prod-eu")) == ["INC-20260102-001"]
        assert await second.health() is None
    finally:
        await second.close()


async def test_a_folder_that_is_in_use_is_a_temporary_error(memory: QdrantMemory, tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="in use"):
        await QdrantMemory.connect(path=tmp_path / "memory")
    await memory.remember(a_case(1))  # the holder is not disturbed


async def test_a_folder_held_by_another_process_is_free_again_after_its_death(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    program = (
        "import asyncio, sys\n"
        "from cortexops.adapters.qdrant import QdrantMemory\n"
        "async def main():\n"
        "    held = await QdrantMemory.connect(path=sys.argv[1])\n"
        "    print('held', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TemporaryError, match="in use"):
            await QdrantMemory.connect(path=folder)
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    memory = await QdrantMemory.connect(path=folder)
    await memory.close()


async def test_a_server_that_does_not_answer_is_a_temporary_error_without_the_key() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TemporaryError) as refused:
            await QdrantMemory.connect(url=url, api_key="key-for-tests")
    assert "key-for-tests" not in str(refused.value)
    assert refused.value.delay.total_seconds() > 0


async def test_a_place_that_cannot_be_a_folder_is_a_permanent_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PermanentError, match="cannot be used"):
        await QdrantMemory.connect(path=tmp_path / "file")


async def test_either_a_folder_or_a_url_is_needed(tmp_path: Path) -> None:
    with pytest.raises(PermanentError):
        await QdrantMemory.connect()
    with pytest.raises(PermanentError):
        await QdrantMemory.connect(path=tmp_path, url="http://127.0.0.1:1")


async def test_a_closed_memory_is_not_healthy(tmp_path: Path) -> None:
    memory = await QdrantMemory.connect(path=tmp_path / "memory")
    await memory.close()
    await memory.close()  # twice does no harm
    assert await memory.health() is not None
    with pytest.raises(PermanentError, match="closed"):
        await memory.recall(OOM, cluster="prod-eu")


async def test_the_collection_carries_its_version(memory: QdrantMemory) -> None:
    assert COLLECTION == "cortexops_cases_v1"
    assert await memory.health() is None


def test_vectors_are_the_same_on_every_machine() -> None:
    assert text_vectors.sparse("CrashLoopBackOff at limit") == text_vectors.sparse(
        "crash loop, back off: the LIMIT"
    )
    vector = text_vectors.dense(OOM)
    assert len(vector) == text_vectors.SIZE
    assert text_vectors.similarity(vector, vector) == pytest.approx(1.0)
    assert list(text_vectors.sparse("memory")) == [3933025333]


def test_hashes_in_pod_names_count_for_nothing() -> None:
    assert text_vectors.words("pod api-7c9d4b5f6-x2x7p is not ready") == ["pod", "api", "ready"]


def test_the_client_library_is_not_loaded_by_the_import() -> None:
    program = "import sys, cortexops.adapters.qdrant; sys.exit('qdrant_client' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
