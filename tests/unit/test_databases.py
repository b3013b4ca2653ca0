"""What logs and templates tell of databases: whose sign-in was refused, who holds a lock, whose pool grew."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cortexops.domain.change import DiffLine
from cortexops.domain.databases import database_hosts
from cortexops.domain.kubernetes import complaints, locks
from cortexops.domain.kubernetes.last_words import says_little, telling
from cortexops.domain.neighbours import cut_cpu, lost_neighbour, says_lost
from cortexops.domain.redaction import redact
from cortexops.domain.releases import Release
from cortexops.domain.resource import JSON, ResourceRef

REFUSED = 'Unable to obtain connection from database: FATAL: password authentication failed for user "orders"'
SLOTS = "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute"


def test_a_pool_that_says_why_it_has_no_connection_is_not_exhausted() -> None:
    assert not complaints.saturated([REFUSED])
    assert complaints.about_credentials([REFUSED]) == [REFUSED]
    assert not complaints.saturated(["cannot get a connection from the pool: connection to pg refused"])
    assert complaints.saturated([f"HTTP 401: {SLOTS}"]), (
        "the server speaks of its slots whatever else is said"
    )
    assert complaints.saturated(["QueuePool limit of size 5 overflow 10 reached, connection timed out"])


@pytest.mark.parametrize(
    "line",
    [
        f"2026-03-10 13:49:12.220 UTC [403] {SLOTS}",
        f"2026-03-10 13:49:12,401 ERROR [main] [server.py:401] {SLOTS}",
        "ERROR copied 403 rows, failed for the rest",
    ],
)
def test_numbers_of_processes_lines_and_milliseconds_refuse_nobody(line: str) -> None:
    assert not complaints.about_credentials([line])


@pytest.mark.parametrize(
    "line",
    [
        "GET /x failed: 403",
        "error: <Response [403]>",
        '{"level":"error","status":401}',
        "error: HTTP 401",
        "request failed, code=403",
    ],
)
def test_statuses_that_refuse_are_still_read(line: str) -> None:
    assert complaints.about_credentials([line])


def test_milliseconds_are_no_bad_gateway() -> None:
    assert not complaints.unreachable(["2026-03-10 13:49:12,502 ERROR [main] price is negative"])
    assert complaints.unreachable(["request failed: 502"])


@pytest.mark.parametrize(
    ("line", "its", "user"),
    [
        (
            '2026-03-10 13:41:12.220 UTC [41] FATAL:  password authentication failed for user "led"',
            True,
            "led",
        ),
        (
            "2026-03-10T13:41:03Z 1120 [Note] [MY-010926] [Server] Access denied for user 'led'@'10.0.0.9'",
            True,
            "led",
        ),
        ('2026-03-10 13:41:12 ERROR FATAL: password authentication failed for user "led"', False, "led"),
        (
            'org.postgresql.util.PSQLException: FATAL: password authentication failed for user "led"',
            False,
            "led",
        ),
    ],
)
def test_a_server_that_refuses_a_client_is_told_from_the_client(line: str, its: bool, user: str) -> None:
    assert bool(complaints.of_sign_ins([line])) is its
    assert complaints.signed_in_as(line) == user


def test_no_time_stamp_is_masked_in_what_is_said_of_refused_sign_ins() -> None:
    said = "the log of container pg tells that what it signs in with was refused: 2026-03-10 13:49:12 UTC [7] FATAL"
    assert redact(said).text == said


def test_what_stands_near_a_waiting_pool_tells_why_it_waits() -> None:
    pool = "HikariPool-1 - Connection is not available, request timed out after 30000ms"
    slow = ["org.postgresql.util.PSQLException: An I/O error occurred while sending to the backend.",
            "Caused by: java.net.SocketTimeoutException: Read timed out"]  # fmt: skip
    assert complaints.told_beside([pool, *slow], [pool]) == ([], slow)
    assert complaints.told_beside([pool, "GET http://pay: Read timed out"], [pool]) == ([], [])
    assert complaints.told_beside([pool, *["INFO ok"] * 9, *slow], [pool]) == ([], [])
    other = ["ERROR GET http://users/me failed: 401", "WARN GET http://users/me: connection refused"]
    assert complaints.told_beside([pool, *other], [pool]) == ([], [])
    why = "Caused by: java.net.ConnectException: Connection refused"
    assert complaints.told_beside([pool, why], [pool]) == ([why], [])


def test_who_holds_a_lock_is_named_by_its_program_before_its_user() -> None:
    waits = "LOG:  process 7 still waiting for RowExclusiveLock on relation 1 of database 2 after 1000.1 ms"
    inline = (
        "DETAIL:  Process holding the lock: 39 (application_name sales-report, user owner). Wait queue: 7."
    )
    assert locks.waits_for_lock([waits]) == [waits]
    assert locks.holders([waits, inline])[0].names == {"sales-report"}
    by_pid = [
        "[39] owner@depot LOG:  statement: LOCK TABLE items",
        "DETAIL:  Process holding the lock: 39. Wait queue: 7.",
    ]
    assert locks.holders(by_pid)[0].names == {"owner"}
    assert locks.holders(["DETAIL:  Process holding the lock: 39. Wait queue: 7."])[0].names == frozenset()


@pytest.mark.parametrize(
    "line",
    [
        "2026-03-10T13:57:01.992Z ERROR 1 --- [main] o.s.boot.SpringApplication               : Application run failed",
        '{"message": "request error", "severity": "error"}',
        "ERROR: internal server error",
        "Fatal: exiting",
    ],
)
def test_a_line_that_only_says_that_something_failed_is_not_quoted_when_another_tells_more(line: str) -> None:
    assert says_little(line)
    assert telling(["KeyError: 'rate'", line]) == "KeyError: 'rate'"
    assert not says_little("ERROR order 4 failed: price is missing")


def _release(before: list[JSON], after: list[JSON], lines: tuple[DiffLine, ...] = ()) -> Release:
    ref = ResourceRef(cluster="c", kind="ReplicaSet", namespace="n", name="r")
    templates = ({"spec": {"containers": each}} for each in (before, after))
    return Release("2", "1", datetime(2026, 3, 10, tzinfo=UTC), ref, "h", lines, *templates)


APP = {"name": "app"}
PROXY = {"name": "sql-proxy", "args": ["--port=5432"]}
MESH = {"name": "mesh", "ports": [{"containerPort": 15001}]}
NO_ONE = ["Connection to localhost:5432 refused."]


def test_the_container_that_a_release_removed_is_missed_at_its_port() -> None:
    assert lost_neighbour(_release([APP, PROXY, MESH], [APP]), NO_ONE) == ("sql-proxy", "127.0.0.1:5432")
    assert "removed container sql-proxy" in says_lost(_release([APP, PROXY], [APP]), NO_ONE)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([APP, PROXY], [APP, PROXY], NO_ONE),
        ([APP, PROXY], [APP, {**PROXY, "name": "sql-proxy-v2"}], NO_ONE),
        ([APP, PROXY], [APP], ["connection to db:5432 refused"]),
        ([APP, {"name": "a"}, {"name": "b"}], [APP], NO_ONE),
    ],
)
def test_nobody_is_missed_who_is_there_was_renamed_or_was_not_asked(
    before: list[JSON], after: list[JSON], said: list[str]
) -> None:
    assert says_lost(_release(before, after), said) == ""


def test_only_a_cut_to_less_than_half_of_the_same_container_starves_it() -> None:
    def cut(before: str, after: str, container: str) -> bool:
        line = DiffLine(path="/spec/containers/0/resources/limits/cpu", before=before, after=after)
        now: JSON = {**APP, "resources": {"limits": {"cpu": after.strip('"')}}}
        return cut_cpu(_release([APP], [now], (line,)), container) is not None

    assert cut('"1"', '"30m"', "app")
    assert not cut('"1"', '"600m"', "app")
    assert not cut('"100m"', '"1"', "app")
    assert not cut('"1"', '"30m"', "other")


def test_hosts_of_databases_are_told_from_those_of_other_peers() -> None:
    template: JSON = {
        "containers": [
            {
                "name": "app",
                "env": [
                    {"name": "ConnectionStrings__Main", "value": "Host=pg;Database=main;Username=u"},
                    {"name": "JDBC", "value": "jdbc:mysql://mysql-0.mysql.shop.svc:3306/x"},
                    {"name": "PAY_URL", "value": "https://api.pay.example.com"},
                ],
            }
        ]
    }
    found = database_hosts(template, {"c": {"DB_HOST": "reporting-pg"}})
    assert set(found) == {"pg", "mysql-0.mysql.shop.svc", "reporting-pg"}
    cache = {"c": {"DATABASE_CACHE_URL": "redis://cart-cache:6379"}}
    assert database_hosts({}, cache) == ["cart-cache"]
    assert database_hosts({}, cache, caches=False) == []
