"""Patience with API servers that have just started: for some seconds they refuse what their roles permit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from cortexops.domain.errors import Forbidden

T = TypeVar("T")

ROLES_ARE_READ = timedelta(seconds=60)
"""How long an API server that starts may refuse what its roles permit."""
AGAIN = timedelta(seconds=2)
"""It is asked again after this."""


async def once_permitted(call: Callable[[], Awaitable[T]]) -> T:
    """The answer of a call that may be repeated. Raises `Forbidden` when it is refused for longer than a server
    takes to read its roles: then the permission is missing indeed."""
    until = time.monotonic() + ROLES_ARE_READ.total_seconds()
    while True:
        try:
            return await call()
        except Forbidden:
            if time.monotonic() >= until:
                raise
        await asyncio.sleep(AGAIN.total_seconds())
