"""Memory of solved incidents in Qdrant: a server, or a folder that one process holds.

Similarity is hybrid: rare terms in common (sparse) and words of similar form, or of a model (dense); the sum
of both orders. Each model has a collection of its own beside the one that is always kept.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from cortexops.adapters import qdrant_cases as cases
from cortexops.adapters.embeddings import EmbeddingEndpoint
from cortexops.adapters.qdrant_cases import COLLECTION, LEAST_SIMILARITY
from cortexops.domain.case import Case, Recalled
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.ports.memory import Memory

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")

__all__ = ["COLLECTION", "LEAST_SIMILARITY", "QdrantMemory"]

_TIMEOUT_SECONDS = 5
_PAUSE = timedelta(seconds=5)
_REFUSALS = (401, 403)


class QdrantMemory(Memory):
    """Made by `connect`. The client is synchronous and lives in one thread of its own."""

    def __init__(
        self,
        client: QdrantClient,
        lock: IO[bytes] | None,
        thread: ThreadPoolExecutor,
        embeddings: EmbeddingEndpoint | None = None,
        least_model_similarity: float = 0.5,
    ) -> None:
        self._client = client
        self._embeddings = embeddings
        self._lock = lock
        self._thread = thread
        self._least = least_model_similarity

    @classmethod
    async def connect(
        cls,
        *,
        path: Path | str | None = None,
        url: str = "",
        api_key: str | None = None,
        embeddings: EmbeddingEndpoint | None = None,
        least_model_similarity: float = 0.5,
    ) -> QdrantMemory:
        """Open the folder, or reach the server, and make the collection if it is not there.

        `embeddings` is closed with the memory. A case whose only likeness is the model's needs at least
        `least_model_similarity`.

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
            if embeddings is not None:
                embeddings.close()
            raise
        memory = cls(client, lock, thread, embeddings, least_model_similarity)
        try:
            await memory._do(lambda: cases.ensure(client, remote=bool(url)))
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
        await self._do(lambda: cases.store(self._client, case, self._embeddings))

    async def recall(self, text: str, *, cluster: str, most: int = 3) -> list[Recalled]:
        """Verified cases only; of equals, those of the same cluster come first. A case that cannot be read
        (of another version, or damaged) is skipped and counted."""
        return await self._do(
            lambda: cases.find(self._client, text, cluster, most, self._embeddings, self._least)
        )

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
            if self._embeddings is not None:
                self._embeddings.close()
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


def _open(path: Path | str | None, url: str, api_key: str | None) -> tuple[QdrantClient, IO[bytes] | None]:
    from qdrant_client import QdrantClient

    with cases.quiet():
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
