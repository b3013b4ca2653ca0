"""Words of stores, brokers and their clients, and which of the analyzers' questions they answer."""

from __future__ import annotations

from time import perf_counter

import pytest

from cortexops.domain.kubernetes import certificate_words, complaints

GONE = "django: (2003, \"Can't connect to MySQL server on 'rides-db.stores' (110)\")"
REFUSED = "ERROR Can't connect to server on 'rides-db' (111)"
SEARCH = (
    '[WARN] {"error":{"type":"circuit_breaking_exception","reason":"[parent] Data too large"},"status":429}'
)


@pytest.mark.parametrize(
    "line",
    [
        GONE,
        "(ActiveRecord::ConnectionNotEstablished) Can't connect to MariaDB server on 'a' (113 \"No route\")",
    ],
)
def test_the_number_of_an_operating_systems_error_tells_that_no_answer_came(line: str) -> None:
    assert complaints.unreachable([line]) == complaints.slow([line]) == [line]
    assert complaints.refused([line]) == []


def test_the_number_of_a_refusal_is_no_lost_packet() -> None:
    assert complaints.unreachable([REFUSED]) == complaints.refused([REFUSED]) == [REFUSED]
    assert complaints.slow([REFUSED]) == []


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: canceling statement due to statement timeout (SQLSTATE 57014)",
        "ERROR canceling statement due to lock timeout",
        "ERROR 1205 (HY000): Lock wait timeout exceeded; try restarting transaction",
        "(1213, 'Deadlock found when trying to get lock; try restarting transaction')",
    ],
)
def test_what_a_server_gave_up_after_its_own_limit_is_its_answer(line: str) -> None:
    assert complaints.of_a_peer([line]) == [line]
    assert complaints.slow([line]) == []


@pytest.mark.parametrize(
    "line",
    [
        SEARCH,
        "WARN search failed: all shards failed: [search_phase_execution_exception]",
        "es_rejected_execution_exception: rejected execution of coordinating operation",
        "publish returned 312 NO_ROUTE exchange=tasks key=dispatch.v2",
        "basic.return: message unroutable",
        "channel error: 404, NOT_FOUND - no queue 'mail' in vhost '/'",
        "[Producer clientId=a] Error while fetching metadata {orders=UNKNOWN_TOPIC_OR_PARTITION}",
        "kafka: NOT_LEADER_OR_FOLLOWER, retrying",
        "Group coordinator lookup failed: COORDINATOR_NOT_AVAILABLE",
        "(error) CLUSTERDOWN Hash slot not served",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MongoServerError: WriteConcernFailed: waiting for replication timed out",
        "nats: maximum payload exceeded",
        "Error: 8 RESOURCE_EXHAUSTED: Received message larger than max",
    ],
)
def test_an_answer_of_a_store_or_a_broker_is_not_the_callers_own_fault(line: str) -> None:
    assert complaints.answered_badly([line]) == [line]
    assert complaints.own_fault([line]) == []


@pytest.mark.parametrize(
    "line",
    [
        "nats: no responders available for request",
        "cassandra.cluster.NoHostAvailable: ('Unable to complete the operation against any hosts', {})",
        "com.datastax.oss.driver.api.core.servererrors.UnavailableException: Not enough replicas available",
    ],
)
def test_nobody_there_to_take_a_request_is_nobody_reached(line: str) -> None:
    assert complaints.unreachable([line]) == [line]


@pytest.mark.parametrize(
    ("line", "at_server"),
    [
        ("ERROR 1040 (HY000): Too many connections", True),
        ("Error 1040: Zu viele Verbindungen", True),
        ("MongoWaitQueueTimeoutError: Timed out while checking out a connection from connection pool", False),
        ("MongoWaitQueueFullException: wait queue is full", False),
    ],
)
def test_connections_run_out_at_the_server_or_in_the_callers_pool(line: str, at_server: bool) -> None:
    assert complaints.saturated([line]) == [line]
    assert complaints.at_server(line) is at_server


def test_a_consumer_that_cannot_keep_up_says_so_of_itself() -> None:
    line = "nats: slow consumer, messages dropped on connection [4] for subscription"
    assert complaints.own_fault([line]) == [line]


def test_a_store_that_evicts_is_told_from_one_that_counts_none() -> None:
    lines = ["stats evicted_keys=4811 maxmemory=64mb", 'stats "evicted_keys": 0', "evicted_keys:0"]
    assert complaints.evicting(lines) == lines[:1]


@pytest.mark.parametrize(
    ("word", "past"), [("Expired", True), ("NotValidYet", True), ("UnknownIssuer", False)]
)
def test_rustls_tells_of_a_peers_certificate(word: str, past: bool) -> None:
    line = f"ERROR request failed url=https://a.b:8443/x: invalid peer certificate: {word}"
    assert complaints.about_certificates([line]) == [line]
    assert bool(certificate_words.expired([line])) is past


def test_a_url_that_was_answered_badly_is_no_fault_of_the_one_who_asked() -> None:
    asked = "ERROR reserve: POST http://slots.yard:80/b answered 500"
    own = "ERROR 500 internal server error"
    assert complaints.own_fault([asked, own]) == [own]
    assert complaints.answered_badly([asked]) == [asked]


@pytest.mark.parametrize(
    "line", ["INFO client is not rebalancing", "INFO pool maxPoolSize=50", "queue mail declared"]
)
def test_ordinary_words_are_no_complaints(line: str) -> None:
    assert not complaints.complaining([line]) and not complaints.saturated([line])


@pytest.mark.parametrize(
    "piece",
    [
        "can't connect to server on ", "timed out waiting for ", "evicted_keys= ", "invalid peer certificate: ",
        "to a:1 ", "canceling statement due to ", "_exception", "not_leader_", 'is forbidden: User "',
        "failed to connect ",
    ],
)  # fmt: skip
def test_hostile_lines_take_time_in_proportion(piece: str) -> None:
    line = piece * (200_000 // len(piece))
    began = perf_counter()
    for each in (
        complaints.complaining, complaints.slow, complaints.refused, complaints.saturated, complaints.of_a_peer,
        complaints.own_fault, complaints.evicting, complaints.forbidden, certificate_words.expired,
    ):  # fmt: skip
        each([line])
    assert perf_counter() - began < 4  # seconds for 200 kB, all of them together, on a slow core
