"""Posting prepared bodies over HTTP, the same way to whatever is measured."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

_HEADERS = {"Content-Type": "application/json"}
_LONGEST_PAUSE = 1.0  # seconds that a refused batch waits at most before it is sent again


@dataclass
class Posted:
    """What became of the posts. `seconds` until the last was taken."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)  # 0: no answer at all
    taken: int = 0  # bodies
    last: str = ""  # what the last answer that was no success said


async def post(
    url: str,
    bodies: Sequence[bytes],
    *,
    at_once: int,
    rate: float = 0.0,
    within: float = 120.0,
    posted: Posted | None = None,
) -> Posted:
    """Post all, `at_once` at a time, each until it is taken, as a sender with a retry does.

    `rate` is the most bodies a second; 0 for as fast as they are taken. `posted` is filled meanwhile.
    Raises `TimeoutError` that tells the answers so far, and `ValueError` for an answer that says that the body
    itself is wrong.
    """
    posted = posted or Posted()
    waiting = deque(enumerate(bodies))
    began = time.perf_counter()

    async def send() -> None:
        while waiting:
            number, body = waiting.popleft()
            if rate and (early := number / rate - (time.perf_counter() - began)) > 0:
                await asyncio.sleep(early)
            while not await _taken(http, url, body, posted):  # noqa: ASYNC110  # a pause, not a wait for us
                await asyncio.sleep(min(_LONGEST_PAUSE, 0.2))

    connector = aiohttp.TCPConnector(limit=at_once)
    try:
        async with aiohttp.ClientSession(connector=connector) as http, asyncio.timeout(within):
            await asyncio.gather(*(send() for _ in range(at_once)))
    except TimeoutError:
        answers = ", ".join(f"{number} times {status}" for status, number in posted.statuses.items())
        raise TimeoutError(f"not everything was taken in {within:g} s: {answers}; {posted.last}") from None
    posted.seconds = time.perf_counter() - began
    return posted


async def _taken(http: aiohttp.ClientSession, url: str, body: bytes, posted: Posted) -> bool:
    try:
        async with http.post(url, data=body, headers=_HEADERS) as answer:
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        posted.statuses[0] += 1
        posted.last = type(error).__name__
        return False
    posted.statuses[answer.status] += 1
    if answer.ok:
        posted.taken += 1
    else:
        posted.last = text[:300]
    if 400 <= answer.status < 500:
        raise ValueError(f"{url} answers {answer.status}: {text[:300]}")
    return answer.ok
