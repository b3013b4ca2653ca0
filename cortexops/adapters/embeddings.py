"""Vectors of text from an OpenAI-compatible endpoint (`POST …/embeddings`).

It only makes recall better: whatever it does wrong (slow, refusing, nonsense, another dimension) is an
`EmbeddingError`, and the caller takes the vectors that are computed here. After a failure it is left alone
for a while, so that one sick server does not slow every investigation.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx

from cortexops.domain.errors import InvalidInput, TemporaryError
from cortexops.settings import MemorySettings

_LONGEST_TEXT = 8_000  # characters; models cut at a few thousand tokens anyway
_LARGEST_ANSWER = 2 * 1024**2
_LARGEST_SIZE = 8_192
_REST_SECONDS = 30.0


class EmbeddingError(TemporaryError):
    """No usable vector came. The text says what was wrong, never the key or the body."""

    def __init__(self, message: str) -> None:
        super().__init__(message, delay=timedelta(seconds=_REST_SECONDS))


class EmbeddingEndpoint:
    """One model behind one base address (with `/v1`, as the client libraries have it).

    Synchronous, for use in a thread of its own; not for several threads at once.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        size: int = 0,
        timeout_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`size` 0: the first answer decides. Raises `InvalidInput` for what is no address or names no model."""
        if not re.match(r"https?://[^/\s]+", url):
            raise InvalidInput("memory.embeddings_url", "must be http:// or https:// with a host")
        if not model.strip():
            raise InvalidInput("memory.embeddings_model", "is needed with memory.embeddings_url")
        self.model = model.strip()
        self.size = size
        self._wanted = size
        self._timeout = timeout_seconds
        self._clock = clock
        self._rests_until = -math.inf
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._url = f"{url.rstrip('/')}/embeddings"
        self._client = httpx.Client(headers=headers, timeout=timeout_seconds, follow_redirects=False)

    @property
    def space(self) -> str:
        """Names the space that its vectors live in: model and dimension. Empty until a size is known."""
        if not self.size:
            return ""
        slug = re.sub(r"[^a-z0-9]+", "_", self.model.lower()).strip("_")[:40]
        return f"{slug}_{hashlib.sha256(self.model.encode()).hexdigest()[:8]}_{self.size}"

    def embed(self, text: str) -> list[float]:
        """The text's vector, of length 1. Raises `EmbeddingError`."""
        if self._clock() < self._rests_until:
            raise EmbeddingError("embeddings: the endpoint failed a moment ago and is left alone")
        try:
            vector = self._checked(self._asked(text[:_LONGEST_TEXT]))
        except EmbeddingError:
            self._rests_until = self._clock() + _REST_SECONDS
            raise
        self.size = len(vector)
        return vector

    def close(self) -> None:
        self._client.close()

    def _asked(self, text: str) -> Any:
        body: dict[str, Any] = {"model": self.model, "input": [text], "encoding_format": "float"}
        if self._wanted:
            body["dimensions"] = self._wanted
        ends = self._clock() + self._timeout
        try:
            with self._client.stream("POST", self._url, json=body) as answer:
                if answer.status_code != 200:
                    raise EmbeddingError(f"embeddings: the endpoint answered {answer.status_code}")
                raw = bytearray()
                for chunk in answer.iter_bytes():
                    raw += chunk
                    if len(raw) > _LARGEST_ANSWER:
                        raise EmbeddingError("embeddings: the answer is too large")
                    if self._clock() > ends:  # the client's own limit is for each read, not for all of them
                        raise EmbeddingError("embeddings: the answer takes too long")
            return json.loads(bytes(raw))
        except httpx.HTTPError as error:
            raise EmbeddingError(f"embeddings: no answer ({type(error).__name__})") from None
        except (ValueError, RecursionError):
            raise EmbeddingError("embeddings: the answer is not JSON") from None

    def _checked(self, answer: Any) -> list[float]:
        try:
            found = answer["data"][0]["embedding"]
        except (KeyError, IndexError, TypeError):
            raise EmbeddingError("embeddings: the answer holds no vector") from None
        if not isinstance(found, list) or not 0 < len(found) <= _LARGEST_SIZE:
            raise EmbeddingError("embeddings: the answer holds no vector")
        wanted = self._wanted or self.size
        if wanted and len(found) != wanted:
            raise EmbeddingError(f"embeddings: {len(found)} dimensions came, {wanted} were expected")
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in found):
            raise EmbeddingError("embeddings: the vector holds something else than numbers")
        try:
            norm = math.sqrt(sum(float(v) * float(v) for v in found))
        except OverflowError:
            norm = math.inf
        if not math.isfinite(norm) or norm == 0:
            raise EmbeddingError("embeddings: the vector has no length")
        return [float(v) / norm for v in found]


def embeddings_of(settings: MemorySettings) -> EmbeddingEndpoint | None:
    """The endpoint of the settings; None when none is named. Raises `InvalidInput`."""
    if not settings.embeddings_url:
        return None
    key = settings.embeddings_key
    return EmbeddingEndpoint(
        settings.embeddings_url,
        settings.embeddings_model,
        key=key.get_secret_value() if key else None,
        size=settings.embeddings_size,
        timeout_seconds=settings.embeddings_timeout_seconds,
    )
