"""Any OpenAI-compatible endpoint (chat completions), bounded in time and bytes, each request sent once."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from cortexops.domain.errors import InvalidInput
from cortexops.domain.reasoning_use import Outcome
from cortexops.ports.model import ModelAnswer, ModelFailed, ModelRequest
from cortexops.settings import is_loopback

_MOST_BYTES = 2_097_152
_NO_KEY = "none"  # local endpoints take any; the client insists on one
_LONGEST_WAIT = 3600.0
_LACKING = {
    "structure": ("response_format", "json_schema", "structured output", "schema"),
    "max_tokens": ("max_completion_tokens",),
    "temperature": ("temperature",),
}
"""What some endpoints do not take, and how their refusals name it."""


class _TooMuch(httpx.TransportError):
    """The endpoint sends more than an answer can be."""


class _Bounded(httpx.AsyncByteStream):
    """A body that ends with an error beyond `_MOST_BYTES`."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._stream:
            read += len(chunk)
            if read > _MOST_BYTES:
                raise _TooMuch("too much")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx.Response) -> None:
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _Bounded(response.stream)


class OpenAIModel:
    """Implements `LanguageModel`. What an endpoint does not take (structured output, temperature)
    is noticed once and left out."""

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InvalidInput("model.base_url", "must be an http or https address without credentials in it")
        logging.getLogger("openai").setLevel(logging.WARNING)  # below, it writes whole prompts
        self._address = base_url.rstrip("/")
        self._http = httpx.AsyncClient(
            follow_redirects=False,  # the key goes to this address and nowhere else
            trust_env=not is_loopback(parts.hostname),
            event_hooks={"response": [_bound]},
        )
        self._client = AsyncOpenAI(
            base_url=self._address, api_key=api_key or _NO_KEY, max_retries=0, http_client=self._http
        )
        self._lacks: dict[str, set[str]] = {}

    @property
    def address(self) -> str:
        return self._address

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        try:
            async with asyncio.timeout(request.seconds):
                return _read(await self._ask(request))
        except (TimeoutError, openai.APITimeoutError):
            raise ModelFailed(Outcome.TIMEOUT, f"no answer within {request.seconds:g} s") from None
        except openai.APIStatusError as error:
            raise _by_status(error) from None
        except openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__ if error.__cause__ else type(error).__name__
            raise ModelFailed(
                Outcome.UNAVAILABLE, f"the endpoint cannot be reached ({cause.strip('_')})"
            ) from None
        except (openai.OpenAIError, httpx.HTTPError, ValueError, TypeError, AttributeError) as error:
            # what is no completion at all: HTML, a list, an object of another shape
            raise ModelFailed(
                Outcome.INVALID, f"the endpoint's answer is no completion ({type(error).__name__.strip('_')})"
            ) from None

    async def _ask(self, request: ModelRequest) -> ChatCompletion:
        """Send it; what the endpoint says that it does not take is left out, now and from then on."""
        lacks = self._lacks.setdefault(request.model, set())
        while True:
            try:
                return await self._send(request, frozenset(lacks))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                found = _lacking(str(error.body or error.message).lower()) - lacks
                if not found:
                    raise
                lacks |= found

    async def _send(self, request: ModelRequest, lacks: frozenset[str]) -> ChatCompletion:
        schema = {"name": request.schema_name, "schema": request.schema, "strict": True}
        more: dict[str, Any] = {}
        if "structure" not in lacks:
            more["response_format"] = {"type": "json_schema", "json_schema": schema}
        if "temperature" not in lacks:
            more["temperature"] = request.temperature
        more["max_completion_tokens" if "max_tokens" in lacks else "max_tokens"] = request.max_tokens
        completion: ChatCompletion = await self._client.chat.completions.create(
            model=request.model,
            messages=[
                {"role": "system", "content": request.system},
                {"role": "user", "content": request.user},
            ],
            timeout=request.seconds,
            **more,
        )
        return completion

    async def health(self) -> str | None:
        """None: whether the endpoint answers is known from the calls; asking would cost money."""
        return None

    async def close(self) -> None:
        await self._client.close()


def _read(completion: ChatCompletion) -> ModelAnswer:
    """The text of the first choice. Raises `ModelFailed` when it is missing, cut off or declined."""
    if not isinstance(completion, ChatCompletion):  # text/plain comes through as a string
        raise TypeError("no completion")
    usage = completion.usage
    tokens_in = _count(usage.prompt_tokens) if usage is not None else None
    tokens_out = _count(usage.completion_tokens) if usage is not None else None
    choice = next(iter(completion.choices or ()), None)
    text = choice.message.content if choice is not None and choice.message is not None else None
    used = ModelAnswer(text if isinstance(text, str) else "", tokens_in, tokens_out)
    if choice is None or choice.message is None:
        raise ModelFailed(Outcome.INVALID, "the endpoint's answer holds no choice", answered=used)
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise ModelFailed(Outcome.REFUSED, "the model declined to answer", answered=used)
    if choice.finish_reason == "length":
        raise ModelFailed(
            Outcome.TRUNCATED, "the answer was cut off at the most tokens allowed", answered=used
        )
    if not used.text.strip():
        raise ModelFailed(Outcome.INVALID, "the answer is empty", answered=used)
    return used


def _lacking(refusal: str) -> set[str]:
    return {what for what, words in _LACKING.items() if any(word in refusal for word in words)}


def _count(value: object) -> int | None:
    """A number of tokens as the endpoint gives it, if it can be one."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value
    return None


def _by_status(error: openai.APIStatusError) -> ModelFailed:
    status = error.status_code
    text = f"the endpoint answers {status}"
    if status == 429:
        return ModelFailed(Outcome.RATE_LIMITED, text, retry_after=_retry_after(error.response))
    if status == 408:
        return ModelFailed(Outcome.TIMEOUT, text)
    if status >= 500:
        return ModelFailed(Outcome.UNAVAILABLE, text, retry_after=_retry_after(error.response))
    return ModelFailed(Outcome.REJECTED, text)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the endpoint asks to wait; dates and nonsense count as not given."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(seconds, _LONGEST_WAIT) if math.isfinite(seconds) and seconds >= 0 else None
