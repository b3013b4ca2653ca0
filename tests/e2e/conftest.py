"""The whole product, run once for this folder in a thread of its own."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from sandbox.platform.platform import Platform
from tests.support.engines import in_memory, scratch_folder

T = TypeVar("T")


class Running:
    """A platform whose loop lives in a thread; `call` runs a coroutine there."""

    def __init__(self, platform: Platform, loop: asyncio.AbstractEventLoop) -> None:
        self.platform = platform
        self._loop = loop

    def call(self, work: Coroutine[Any, Any, T], within: float = 90) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within)


@pytest.fixture(autouse=True)
def quick_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have programs and benchmarks make their temporary folders in memory, too."""
    place = in_memory()
    if place is not None:
        monkeypatch.setenv("TMPDIR", str(place))
        monkeypatch.setattr(tempfile, "tempdir", str(place))


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with scratch_folder() as folder:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="platform", daemon=True)
        thread.start()
        platform = Platform(folder / "data")
        product = Running(platform, loop)
        product.call(platform.start(), 60)
        yield product
        product.call(platform.stop(), 60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
