"""What a program says of its changed configuration, and whose queue is whose."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cortexops.domain.kubernetes import locks
from cortexops.domain.queues import Named, alerts_idle, alike, idle, queues_of, unroutable
from cortexops.domain.resource import JSON
from cortexops.domain.restarted import tells_of, written_at

OBJECT: JSON = {
    "data": {"JAVA_OPTS": "-Xms256m -Xmx256m", "redis.conf": "maxmemory 64mb\nmaxmemory-policy allkeys-lru\n"}
}


@pytest.mark.parametrize(("key", "line", "tells"), [
    ("JAVA_OPTS", "heap size [256mb], compressed ordinary object pointers [true]", True),
    ("JAVA_OPTS", "heap size [512mb]", False),
    ("JAVA_OPTS", "took 256 ms", False),
    ("redis.conf", "evicted=12 maxmemory=67108864", True),
    ("redis.conf", "policy=allkeys-lru", True),
    ("redis.conf", "Ready to accept connections", False),
    ("", "heap size [256mb]", True),
])  # fmt: skip
def test_a_line_tells_of_a_value_however_its_size_is_written(key: str, line: str, tells: bool) -> None:
    assert bool(tells_of(OBJECT, key, [line])) is tells


@pytest.mark.parametrize("line", [
    '{"level":50,"time":1773150432400,"msg":"x"}', '{"ts":1773150432.2,"msg":"x"}', "2026-03-10T13:47:12.411Z x",
    "2026-03-10 13:47:12 UTC [4] x", 'level=error ts=2026-03-10T13:47:12+00:00',
])  # fmt: skip
def test_the_time_of_a_line_is_read(line: str) -> None:
    assert written_at(line) == datetime(2026, 3, 10, 13, 47, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "line", ["no time", "13:47:12 x", "2026-03-10T13:47:12+02:00 x", "2026-13-40T13:47:12Z x"]
)
def test_a_line_without_a_time_in_utc_has_none(line: str) -> None:
    assert written_at(line) is None


def test_names_of_queues_are_told_from_their_sizes() -> None:
    spec: JSON = {"containers": [{"name": "a", "env": [
        {"name": "ORDERS_QUEUE", "value": "orders.v1,orders.dead"}, {"name": "QUEUE_SIZE", "value": "many"},
        {"name": "QUEUE_URL", "value": "amqp://mq:5672"}, {"name": "TOPIC_ENABLED", "value": "true"},
    ]}]}  # fmt: skip
    found = queues_of(spec, {"c": {"topic": "invoices"}})
    assert found == [
        Named("ORDERS_QUEUE", "orders.v1"),
        Named("ORDERS_QUEUE", "orders.dead"),
        Named("topic", "invoices"),
    ]
    assert (
        alike("orders.v1", "orders.v2")
        and not alike("orders.v1", "orders.v1")
        and not alike("orders", "mails")
    )


def test_idle_consumers_and_unroutable_messages_are_heard() -> None:
    assert idle(["queue a: 0 ready, idle 479s", "pool idle timeout 30s", "no messages"]) == [
        "queue a: 0 ready, idle 479s", "no messages",
    ]  # fmt: skip
    assert alerts_idle("WorkerIdle", "") and not alerts_idle("HighErrorRate", "errors")
    assert unroutable(["312 NO_ROUTE", "sent"]) == ["312 NO_ROUTE"]


def test_a_holder_without_a_name_is_known_by_its_process() -> None:
    held = "2026-03-10 13:46:20.004 UTC [87] DETAIL:  Process holding the lock: 8611. Wait queue: 87."
    (holder,) = locks.holders([held])
    assert holder.pids == ("8611",) and not holder.names
    assert locks.goes_by(holder.pids, ["connected pid=8611", "LOCK TABLE a"])
    assert not locks.goes_by(holder.pids, ["connected pid=8611", "reading files"])
    assert not locks.goes_by(holder.pids, ["connected pid=86110", "LOCK TABLE a"])
    assert locks.gave_up(["ERROR: canceling statement due to statement timeout"])
