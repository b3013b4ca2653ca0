"""Small steps that several engine tests take."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import nats
import psycopg
from temporalio.client import Client

WORKFLOW = "never-picked-up"


async def eventually(true: Callable[[], bool], *, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not come true in time"
        await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def leave_a_trace(temporal: str, nats_url: str, postgres: str) -> None:
    """One row, one message and one workflow history."""
    async with await psycopg.AsyncConnection.connect(postgres) as connection:
        await connection.execute("CREATE TABLE kept (note text)")
        await connection.execute("INSERT INTO kept VALUES ('a row')")
    bus = await nats.connect(nats_url)
    stream = bus.jetstream()
    await stream.add_stream(name="KEPT", subjects=["kept.>"])
    await stream.publish("kept.one", b"a message")
    await bus.close()
    client = await Client.connect(temporal)
    handle = await client.start_workflow("Anything", id=WORKFLOW, task_queue="nobody")
    await handle.signal("note", "a signal")


async def assert_trace_is_there(temporal: str, nats_url: str, postgres: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres) as connection:
        assert await (await connection.execute("SELECT note FROM kept")).fetchall() == [("a row",)]
    bus = await nats.connect(nats_url)
    message = await bus.jetstream().get_msg("KEPT", 1)
    assert message.data == b"a message"
    await bus.close()
    history = await (await Client.connect(temporal)).get_workflow_handle(WORKFLOW).fetch_history()
    assert any(event.HasField("workflow_execution_signaled_event_attributes") for event in history.events)
