"""An embeddings endpoint makes recall better, or is done without. Its vectors never mix with others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cortexops.adapters.embeddings import EmbeddingEndpoint, EmbeddingError
from cortexops.adapters.qdrant import COLLECTION, QdrantMemory
from cortexops.domain.errors import InvalidInput
from cortexops.metrics import MEMORY_FAILURES
from tests.memory.support import TEXT, a_case

SYNONYMS = {"oomkilled": 0, "ram": 0, "memory": 0, "image": 1, "registry": 1, "certificate": 2, "tls": 2}
SECRET = "sk-key-for-tests"


def meaning(text: str) -> list[float]:
    """A model that knows some words that mean the same."""
    vector = [0.01, 0.01, 0.01, 0.01]
    for word in text.lower().replace("\n", " ").split():
        if word in SYNONYMS:
            vector[SYNONYMS[word]] += 1
    return vector


class Endpoint:
    """`/v1/embeddings`, answering as it is told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[str], Any] = lambda text: {"data": [{"embedding": meaning(text)}]}
        self.status, self.drip = 200, 0.0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.asked.append({"path": self.path, **body})
                endpoint.keys.append(self.headers.get("authorization"))
                found = endpoint.answer(body["input"][0])
                raw = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(endpoint.status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                try:
                    for byte in raw:
                        self.wfile.write(bytes([byte]))
                        if endpoint.drip:
                            time.sleep(endpoint.drip)
                except OSError:
                    return

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


def client(endpoint: Endpoint, **changes: Any) -> EmbeddingEndpoint:
    return EmbeddingEndpoint(endpoint.url, changes.pop("model", "small-1"), key=SECRET, **changes)


@pytest.fixture
async def memory(endpoint: Endpoint, tmp_path: Path) -> AsyncIterator[QdrantMemory]:
    made = await QdrantMemory.connect(path=tmp_path / "memory", embeddings=client(endpoint))
    yield made
    await made.close()


def failures(operation: str) -> float:
    return float(MEMORY_FAILURES.labels(operation=operation)._value.get())


def ids(found: list[Any]) -> list[str]:
    return [each.case.incident_id for each in found]


def test_the_vector_has_length_one_and_the_key_goes_in_the_header(endpoint: Endpoint) -> None:
    embeddings = client(endpoint, size=4)
    vector = embeddings.embed("memory")
    embeddings.close()
    assert sum(v * v for v in vector) == pytest.approx(1)
    assert endpoint.asked == [
        {"path": "/v1/embeddings", "model": "small-1", "input": ["memory"], "encoding_format": "float",
         "dimensions": 4}
    ]  # fmt: skip
    assert endpoint.keys == [f"Bearer {SECRET}"]
    assert embeddings.space.startswith("small_1_") and embeddings.space.endswith("_4")


@pytest.mark.parametrize(
    "answer",
    [
        {}, [], 7, None, {"data": []}, {"data": [{}]}, {"data": [{"embedding": []}]}, {"data": "x"},
        {"data": [{"embedding": ["1", "2", "3", "4"]}]}, {"data": [{"embedding": [0, 0, 0, 0]}]},
        {"data": [{"embedding": [1.0, 2.0]}]}, {"data": [{"embedding": [True, 1, 1, 1]}]},
        {"data": [{"embedding": [1e308, 1e308, 1e308, 1e308]}]}, {"data": [{"embedding": [10**400, 1, 1, 1]}]},
        {"data": [{"embedding": [float("nan"), 1, 1, 1]}]}, b"<html>", b"", b"[" * 100_000,
        b'{"data": "' + b"x" * 3_000_000 + b'"}',
    ],
)  # fmt: skip
def test_nonsense_is_an_error_that_names_no_key(endpoint: Endpoint, answer: Any) -> None:
    endpoint.answer = lambda _: answer
    embeddings = client(endpoint, size=4, timeout_seconds=5)
    with pytest.raises(EmbeddingError) as raised:
        embeddings.embed("memory")
    embeddings.close()
    assert SECRET not in str(raised.value)


def test_another_dimension_than_before_is_refused(endpoint: Endpoint) -> None:
    now = [0.0]
    embeddings = client(endpoint, clock=lambda: now[0])
    embeddings.embed("memory")
    endpoint.answer = lambda _: {"data": [{"embedding": [1, 2, 3]}]}
    with pytest.raises(EmbeddingError, match="3 dimensions came, 4 were expected"):
        embeddings.embed("memory")
    embeddings.close()


def test_after_a_failure_it_is_left_alone_for_a_while(endpoint: Endpoint) -> None:
    now = [0.0]
    embeddings = client(endpoint, clock=lambda: now[0])
    endpoint.status = 500
    for _ in range(3):
        with pytest.raises(EmbeddingError):
            embeddings.embed("memory")
    assert len(endpoint.asked) == 1
    endpoint.status, now[0] = 200, 31.0
    assert embeddings.embed("memory")
    embeddings.close()


def test_an_answer_in_drips_does_not_hold_anybody_up(endpoint: Endpoint) -> None:
    endpoint.drip = 0.05
    embeddings = client(endpoint, timeout_seconds=0.2)
    began = time.perf_counter()
    with pytest.raises(EmbeddingError, match=r"too long|no answer"):
        embeddings.embed("memory")
    assert time.perf_counter() - began < 2
    embeddings.close()


@pytest.mark.parametrize(("url", "model"), [("ftp://x", "m"), ("", "m"), ("http://", "m"), ("http://x", " ")])
def test_what_is_no_address_or_names_no_model_is_refused(url: str, model: str) -> None:
    with pytest.raises(InvalidInput):
        EmbeddingEndpoint(url, model)


async def test_a_model_finds_what_shares_no_words(memory: QdrantMemory) -> None:
    await memory.remember(a_case(1, text="oomkilled"))
    await memory.remember(a_case(2, text="registry image"))
    assert ids(await memory.recall("ram exhausted", cluster="prod")) == [a_case(1).incident_id]


async def test_without_the_endpoint_the_vectors_made_here_do(
    memory: QdrantMemory, endpoint: Endpoint
) -> None:
    await memory.remember(a_case(1))
    before = failures("embed")
    endpoint.status = 503
    await memory.remember(a_case(2, text="Image pull on Deployment web/x: manifest unknown"))
    assert ids(await memory.recall(TEXT, cluster="prod"))[0] == a_case(1).incident_id
    assert ids(await memory.recall("image pull, manifest unknown", cluster="prod")) == [a_case(2).incident_id]
    assert failures("embed") >= before + 2


async def test_what_was_stored_while_the_model_was_away_is_found_when_it_is_back(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    away = await QdrantMemory.connect(path=tmp_path / "memory")
    await away.remember(a_case(1))
    await away.close()
    back = await QdrantMemory.connect(path=tmp_path / "memory", embeddings=client(endpoint))
    assert ids(await back.recall(TEXT, cluster="prod")) == [a_case(1).incident_id]
    await back.close()


async def test_each_model_has_a_collection_of_its_own(endpoint: Endpoint, tmp_path: Path) -> None:
    for model in ("small-1", "large/2"):
        memory = await QdrantMemory.connect(path=tmp_path / "m", embeddings=client(endpoint, model=model))
        await memory.remember(a_case(1))
        names = {c.name for c in memory._client.get_collections().collections}
        await memory.close()
    assert len(names) == 3 and COLLECTION in names
    assert {name.removeprefix(COLLECTION)[:9] for name in names} == {"", "_small_1_", "_large_2_"}
