"""The outbox loop over a real Postgres: order, repetition, and that one channel holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from pydantic import SecretStr

from activities.delivery import Delivery, back_off
from activities.notifiers.slack import SlackNotifier
from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.migrate import upgrade
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import TemporaryError
from cortexops.domain.message import Delivered, Message, MessageKind
from cortexops.domain.message import Delivery as Result
from cortexops.metrics import NOTIFICATIONS_FAILED, OUTBOX_WAITING
from cortexops.ports.store import PendingMessage
from cortexops.settings import SlackSettings
from tests.support.case import an_incident, entry, tell
from tests.support.engines import Database
from tests.support.slack import BOT_TOKEN, fake_slack


class Channel:
    """Answers as told, then SENT; notes what it was given."""

    def __init__(self, *answers: Delivered | Exception, hang: bool = False) -> None:
        self.answers = list(answers)
        self.hang = hang
        self.got: list[tuple[str, str]] = []

    async def send(self, message: Message, thread: str) -> Delivered:
        if self.hang:
            await asyncio.sleep(60)
        self.got.append((message.text, thread))
        answer = self.answers.pop(0) if self.answers else Delivered(result=Result.SENT, reference="ref")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None: ...


@pytest.fixture
async def store(postgres_database: Database) -> AsyncIterator[PostgresStore]:
    upgrade(postgres_database.dsn)
    made = await PostgresStore.connect(postgres_database.dsn, notifiers=["slack", "other"], pool_size=3)
    try:
        yield made
    finally:
        await made.close()


async def fill(store: PostgresStore, *texts: str, run: str = "r1") -> None:
    opened = await store.open_incident(
        an_incident(run_id=run), (), entry("platform", AuditType.DETECTED, 0, "first")
    )
    messages = [tell(opened, MessageKind.PROGRESS, text, n) for n, text in enumerate(texts)]
    await store.update_incident(opened, [], messages)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(400):
        if true():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it did not come to pass")


def failed(name: str) -> float:
    return float(NOTIFICATIONS_FAILED.labels(notifier=name)._value.get())


async def test_messages_arrive_in_order_each_once_with_the_threads_reference(store: PostgresStore) -> None:
    await fill(store, "second", "third")
    slack, other = Channel(), Channel()
    delivery = Delivery(store, {"slack": slack, "other": other}, idle_seconds=0.02)
    await delivery.start()
    await until(lambda: len(slack.got) == 3 and len(other.got) == 3)
    await asyncio.sleep(0.1)
    assert delivery.health() is None
    await delivery.stop()
    assert slack.got == [("first", ""), ("second", "ref"), ("third", "ref")]
    assert await store.waiting() == 0
    assert OUTBOX_WAITING._value.get() == 0


async def test_a_failed_message_comes_back_and_a_refused_one_does_not(store: PostgresStore) -> None:
    await fill(store, "second")
    before = failed("slack")
    slack = Channel(
        Delivered(result=Result.RETRY, retry_seconds=0.05, detail="busy"),
        Delivered(result=Result.REFUSED, detail="no such channel"),
    )
    delivery = Delivery(store, {"slack": slack}, idle_seconds=0.05)
    await delivery.start()
    await until(lambda: len(slack.got) == 3)
    await delivery.stop()
    assert [text for text, _ in slack.got] == ["first", "first", "second"]
    assert failed("slack") - before == 2


async def test_a_channel_that_hangs_holds_up_no_other(store: PostgresStore) -> None:
    await fill(store, "second")
    slack, other = Channel(hang=True), Channel()
    delivery = Delivery(store, {"slack": slack, "other": other}, idle_seconds=0.02)
    await delivery.start()
    await until(lambda: len(other.got) == 2)
    await delivery.stop(patience_seconds=0.1)
    assert slack.got == []
    assert await store.waiting() == 2


async def test_a_defect_in_a_notifier_refuses_its_message_and_the_loop_goes_on(store: PostgresStore) -> None:
    await fill(store, "second")
    slack = Channel(KeyError("ts"))
    delivery = Delivery(store, {"slack": slack}, idle_seconds=0.02)
    await delivery.start()
    await until(lambda: len(slack.got) == 2)
    assert delivery.health() is None
    await delivery.stop()


async def test_a_store_that_is_away_is_asked_again() -> None:
    class Away:
        asked = 0

        async def take(self, *_: object, **__: object) -> list[PendingMessage]:
            self.asked += 1
            raise TemporaryError("away", delay=timedelta(seconds=0.01))

    away = Away()
    delivery = Delivery(away, {"slack": Channel()}, idle_seconds=0.01)  # type: ignore[arg-type]
    await delivery.start()
    await until(lambda: away.asked > 2)
    assert delivery.health() is None
    await delivery.stop()


async def test_slack_comes_back_and_gets_everything_in_one_thread(store: PostgresStore) -> None:
    await fill(store, "second", "third")
    async with fake_slack() as fake:
        fake.failures, fake.retry_after = [429], 1
        settings = SlackSettings(bot_token=SecretStr(BOT_TOKEN), api_url=fake.url)
        before = failed("slack")
        delivery = Delivery(store, {"slack": SlackNotifier(settings)}, idle_seconds=0.02)
        await delivery.start()
        await until(lambda: failed("slack") - before == 1)
        await until(lambda: len(fake.thread) == 2)
        await delivery.stop()
        assert "payment-service" in fake.head["text"]
        assert [("second" in str(body), "third" in str(body)) for body in fake.thread] == [
            (True, False),
            (False, True),
        ]


def test_the_pause_doubles_and_heeds_what_the_service_asks() -> None:
    assert [back_off(n, 1) for n in (1, 2, 3)] == [2, 4, 8]
    assert back_off(1, 30) == 30
    assert back_off(40, 1) == 300
