"""A fake Slack, and the console behind both."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from tests.console.conftest import store
from tests.console.real_workflow import connected
from tests.support.engines import RunningEngines
from tests.support.slack import FakeSlack, fake_slack

__all__ = ["store"]


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with fake_slack() as fake:
        yield fake


@pytest.fixture
async def temporal(engines: RunningEngines) -> Client:
    return await connected(engines.temporal_address)
