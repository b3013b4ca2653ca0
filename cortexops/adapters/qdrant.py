"""Memory of solved incidents in Qdrant: a server, or a folder that one process holds.

Similarity is hybrid: rare terms in common (sparse) and words of similar form (dense), fused by rank.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from cortexops.adapters import text_vectors
from cortexops.domain.case import Case, Recalled
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.ports.memory import Memory

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")

COLLECTION = "cortexops_cases_v1"
LEAST_SIMILARITY = 0.25
"""Cosine below which a case is no precedent: naming a stranger as one misleads the reader."""

_OTHER_CLUSTER = 0.8  # factor on the score of a case from another cluster
_CANDIDATES = 30
_NAMESPACE = uuid.UUID("6f4a0c52-8a3f-5d0e-9a53-0c5f1b6f2d11")
_TIMEOUT_SECONDS = 5
_PAUSE = timedelta(seconds=5)
_REFUSALS = (401, 403)


class QdrantMemory(Memory):
    """Made by `connect`. The client is synchronous and lives in one thread of its own."""

    def __init__(self, client: QdrantClient, lock: IO[bytes] | None, thread: ThreadPoolExecutor) -> None:
        self._client = client
        self._lock = lock
        self._thread = thread

    @classmethod
    async def connect(
        cls, *, path: Path | str | None = None, url: str = "", api_key: str | None = None
    ) -> QdrantMemory:
        """Open the folder, or reach the server, and make the collection if it is not there.

        Raises `TemporaryError` when the server does not answer or another process holds the folder,
        `PermanentError` when the key is refused or the folder cannot be used.
        """
        if (path is None) == (not url):
            raise PermanentError("memory needs either a folder or a server's URL")
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="memory")
        try:
            opening = asyncio.get_running_loop().run_in_executor(thread, _open, path, url, api_key)
            client, lock = await opening
        except BaseException:
            thread.shutdown(wait=False)
            raise
        memory = cls(client, lock, thread)
        try:
            await memory._do(lambda: _ensure_collection(client, remote=bool(url)))
        except BaseException:
            await memory.close()
            raise
        return memory

    async def _do(self, call: Callable[[], T]) -> T:
        try:
            work = asyncio.get_running_loop().run_in_executor(self._thread, _translated, call)
        except RuntimeError:
            raise PermanentError("memory is closed") from None
        return await work

    async def remember(self, case: Case) -> None:
        await self._do(lambda: _store(self._client, case))

    async def recall(self, text: str, *, cluster: str, most: int = 3) -> list[Recalled]:
        """Verified cases only; of equals, those of the same cluster come first."""
        return await self._do(lambda: _find(self._client, text, cluster, most))

    async def health(self) -> str | None:
        """None when the collection is there, else what is wrong."""
        try:
            await self._do(lambda: self._client.get_collection(COLLECTION))
        except (TemporaryError, PermanentError) as error:
            return str(error)
        return None

    async def close(self) -> None:
        """Waits for the call under way; a second time it does nothing."""
        try:
            await self._do(self._client.close)
        except PermanentError:
            return
        finally:
            self._thread.shutdown(wait=False)
            if self._lock is not None:
                self._lock.close()
                self._lock = None


def _translated(call: Callable[[], T]) -> T:
    from httpx import HTTPError
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

    try:
        return call()
    except UnexpectedResponse as error:
        if error.status_code in _REFUSALS:
            raise PermanentError(f"Qdrant refuses the key (status {error.status_code})") from None
        raise TemporaryError(f"Qdrant answered {error.status_code}", delay=_PAUSE) from None
    except (ApiException, QdrantException, HTTPError, OSError) as error:
        raise TemporaryError(f"Qdrant does not answer ({type(error).__name__})", delay=_PAUSE) from None
    except (RuntimeError, ValueError, sqlite3.Error) as error:
        raise TemporaryError(f"memory cannot be used now ({type(error).__name__})", delay=_PAUSE) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """The client warns about plain http with a key, and that folders know no indexes: both are meant so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _open(path: Path | str | None, url: str, api_key: str | None) -> tuple[QdrantClient, IO[bytes] | None]:
    from qdrant_client import QdrantClient

    with _quiet():
        if path is None:
            client = QdrantClient(
                url=url, api_key=api_key, timeout=_TIMEOUT_SECONDS, check_compatibility=False
            )
            return client, None
        folder = Path(path)
        lock = _hold(folder)
        try:
            return QdrantClient(path=str(folder)), lock
        except RuntimeError:
            lock.close()
            raise TemporaryError(f"memory: {folder} is in use by another process", delay=_PAUSE) from None
        except (OSError, ValueError, KeyError, sqlite3.Error) as error:
            lock.close()
            raise PermanentError(f"memory: {folder} cannot be read ({type(error).__name__})") from None


def _hold(folder: Path) -> IO[bytes]:
    """Take the folder for this process. A lock of our own, since the client leaks when it meets its own held."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = open(folder / "cortexops.lock", "ab")  # noqa: SIM115
    except OSError as error:
        raise PermanentError(f"memory: {folder} cannot be used ({os.strerror(error.errno or 0)})") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise TemporaryError(f"memory: {folder} is in use by another process", delay=_PAUSE) from None
    return lock


def _ensure_collection(client: QdrantClient, *, remote: bool) -> None:
    from qdrant_client import models
    from qdrant_client.http.exceptions import UnexpectedResponse

    with _quiet():
        if not client.collection_exists(COLLECTION):
            try:
                client.create_collection(
                    COLLECTION,
                    vectors_config={
                        "form": models.VectorParams(size=text_vectors.SIZE, distance=models.Distance.COSINE)
                    },
                    sparse_vectors_config={"terms": models.SparseVectorParams(modifier=models.Modifier.IDF)},
                )
            except UnexpectedResponse:
                if not client.collection_exists(COLLECTION):  # else another process was faster
                    raise
        if remote:
            client.create_payload_index(COLLECTION, "verified", models.PayloadSchemaType.BOOL)


def _store(client: QdrantClient, case: Case) -> None:
    from qdrant_client import models

    terms = text_vectors.sparse(case.text)
    point = models.PointStruct(
        id=str(uuid.uuid5(_NAMESPACE, case.incident_id)),
        vector={
            "form": text_vectors.dense(case.text),
            "terms": models.SparseVector(indices=list(terms), values=list(terms.values())),
        },
        payload=case.model_dump(mode="json"),
    )
    client.upsert(COLLECTION, points=[point], wait=True)


def _find(client: QdrantClient, text: str, cluster: str, most: int) -> list[Recalled]:
    from qdrant_client import models

    terms, form = text_vectors.sparse(text), text_vectors.dense(text)
    if not terms or most < 1:
        return []
    verified = models.Filter(
        must=[models.FieldCondition(key="verified", match=models.MatchValue(value=True))]
    )
    limit = max(_CANDIDATES, 3 * most)
    answer = client.query_points(
        COLLECTION,
        prefetch=[
            models.Prefetch(
                query=models.SparseVector(indices=list(terms), values=list(terms.values())),
                using="terms",
                filter=verified,
                limit=limit,
            ),
            models.Prefetch(query=form, using="form", filter=verified, limit=limit),
        ],
        query=models.FusionQuery(fusion=models.Fusion.RRF),
        limit=limit,
        with_payload=True,
    )
    cases: list[tuple[Case, float]] = []
    best: dict[float, float] = {}  # fusion ranks even equals: those equally similar share the best score
    for point in answer.points:
        case = Case.model_validate(point.payload)
        likeness = round(text_vectors.similarity(form, text_vectors.dense(case.text)), 2)
        if likeness >= LEAST_SIMILARITY:
            cases.append((case, likeness))
            best[likeness] = max(best.get(likeness, 0.0), point.score)
    found: list[Recalled] = []
    for case, likeness in cases:
        score = best[likeness] * (1.0 if case.cluster == cluster else _OTHER_CLUSTER)
        found.append(Recalled(case=case, score=round(score, 6)))
    found.sort(key=lambda recalled: (-recalled.score, recalled.case.incident_id))
    return found[:most]
