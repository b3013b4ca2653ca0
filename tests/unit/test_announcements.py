"""Lines that only announce a failure, the level of a line, and what else tells whose fault it is."""

from __future__ import annotations

import pytest

from cortexops.domain.kubernetes import (
    certificate_words,
    complaints,
    hosts,
    hpa,
    levels,
    locks,
    network,
    schemas,
)
from cortexops.domain.kubernetes.contracts import asked_wrongly
from cortexops.domain.kubernetes.edge import settings, spoiled
from cortexops.domain.kubernetes.headlines import announces
from cortexops.domain.kubernetes.listening import listening_ports
from cortexops.domain.kubernetes.records import misread
from cortexops.domain.queues import seems_reader, sends_to, told_queues

_ASPNET = [
    "fail: Microsoft.AspNetCore.Diagnostics.ExceptionHandlerMiddleware[1]",
    "      An unhandled exception has occurred while executing the request.",
]
_PEER = "      System.Net.Http.HttpRequestException: Response status code does not indicate success: 500 (Internal)."
_OWN = "      System.NullReferenceException: Object reference not set to an instance of an object."
_SERVLET = "ERROR 1 --- [x] : Servlet.service() for servlet [dispatcherServlet] in context with path [] threw exception"
_STATEMENT = "org.postgresql.util.PSQLException: ERROR: canceling statement due to statement timeout"


@pytest.mark.parametrize("line", [*_ASPNET, _SERVLET, "Traceback (most recent call last):"])
def test_a_line_that_only_announces_a_failure_is_known(line: str) -> None:
    assert announces(line)


def test_what_is_announced_decides_whose_fault_it_is() -> None:
    assert complaints.own_fault([*_ASPNET, _PEER]) == []
    assert complaints.own_fault([*_ASPNET, _OWN])[-1] == _OWN
    assert complaints.own_fault([_SERVLET, _STATEMENT]) == []
    assert complaints.own_fault([_SERVLET]) == [_SERVLET]


def test_an_announcement_before_words_of_no_kind_stays_the_programs_own() -> None:
    missing = "psycopg.errors.UndefinedColumn: column guests.tier does not exist"
    said = "ERROR in app: Exception on /guests [GET]"
    assert complaints.own_fault([said, missing]) == [said]


@pytest.mark.parametrize(
    "line",
    [
        '{"level":50,"time":1,"msg":"page gave up"}',
        '{"severity": "ERROR", "message": "page gave up"}',
        "time=2026 level=error msg=gave_up",
        "2026-03-10 13:00:00,001 ERROR [app] gave up",
        "fail: Shop.Page[0]",
        "E, [2026-03-10T13:00:00.1 #1] ERROR -- : gave up",
        "[2026-03-10T13:00:00+00:00] app.ERROR: gave up [] []",
        "E0310 13:00:00.000001       1 page.go:11] gave up",
    ],
)
def test_the_level_of_an_error_is_known_in_whatever_way_it_is_told(line: str) -> None:
    assert levels.errors([line]) == [line]


@pytest.mark.parametrize(
    "line",
    [
        '{"level":30,"msg":"no error in 50 pages"}',
        "INFO  0 errors found",
        "GET /ERRORS 200",
        '{"level":"info","error":null}',
        "2026-03-10 13:00:00 WARN slow page",
    ],
)
def test_lines_of_other_levels_are_no_errors(line: str) -> None:
    assert levels.errors([line]) == []


def test_only_statements_that_others_wait_for_lock_tables() -> None:
    locking = ["LOCK TABLE cabins IN ACCESS EXCLUSIVE MODE", "running: ALTER TABLE cabins ADD deck int"]
    assert locks.locks_tables([*locking, "BEGIN", "SELECT 1"]) == locking


def test_messages_of_an_unknown_form_are_told_from_other_failures() -> None:
    line = "ERROR Cannot deserialize value of type `java.math.BigDecimal` from Object value"
    assert misread([line, "ERROR could not connect to kafka:9092", "INFO deserialized 12 records"]) == [line]


def test_who_sends_to_a_queue_is_told_from_who_reads_it() -> None:
    lines = ["INFO published orders.placed key=1", "INFO read orders.placed key=1", "INFO published other"]
    assert sends_to("orders.placed", lines) == lines[:1]
    reader = {"containers": [{"name": "c", "env": [{"name": "KAFKA_GROUP_ID", "value": "mail"}]}]}
    assert seems_reader(reader, {}) and not seems_reader({"containers": [{"name": "c"}]}, {})
    assert told_queues([{"topic": "orders.placed", "queue": ""}, {"job": "x"}]) == {"orders.placed"}


def test_an_edges_settings_are_those_of_controllers_and_the_refusing_ones_come_first() -> None:
    ingress = {
        "metadata": {
            "annotations": {
                "nginx.ingress.kubernetes.io/proxy-read-timeout": "5",
                "nginx.ingress.kubernetes.io/limit-rps": "3",
                "cert-manager.io/cluster-issuer": "main",
                "team.acme.dev/limit-rps": "3",
            }
        }
    }
    found = settings(ingress)
    assert [each.key.partition("/")[2] for each in found] == ["limit-rps", "proxy-read-timeout"]
    line = '[error] *1 limiting requests, excess: 15.632 by zone "a_rps", server: films.dev, request: "GET /"'
    assert spoiled(found[0], [line], ["films.dev"]) == [line]
    assert spoiled(found[0], [line], ["books.dev"]) == [] and spoiled(found[1], [line], ["films.dev"]) == []


def test_the_ports_that_a_program_listens_on_are_read() -> None:
    assert listening_ports(["INFO listening on 0.0.0.0:8080", "INFO read 4000 rows"]) == {8080}


@pytest.mark.parametrize(
    "line",
    [
        "ERROR Request failed with status code 404",
        "ERROR requests.exceptions.HTTPError: 404 Client Error: Not Found for url: http://places/v2/near",
        "fail GET http://places/v2/near: 404 Not Found",
    ],
)
def test_who_is_told_that_he_asks_wrongly_is_known(line: str) -> None:
    assert asked_wrongly([line]) == [line]


@pytest.mark.parametrize(
    "line", ["ERROR Request failed with status code 500", "INFO GET /robots.txt 404", "ERROR 404 rows failed"]
)
def test_other_failures_are_not_the_askers(line: str) -> None:
    assert asked_wrongly([line]) == []


def test_a_certificate_that_a_peer_refuses_is_told_by_its_alert() -> None:
    lines = [
        "javax.net.ssl.SSLHandshakeException: Received fatal alert: bad_certificate",
        "remote error: tls: expired certificate",
        "SSL routines::sslv3 alert certificate expired",
    ]
    assert certificate_words.alerts([*lines, "alert: certificate of the month renewed"]) == lines


def test_an_answer_with_its_reason_behind_a_url_is_a_peers() -> None:
    line = "GET http://courses:8000/v1/courses: 401 Unauthorized user=7"
    assert complaints.answered_badly([line]) == [line]
    assert complaints.answered_badly(["INFO http://courses:8000: 500 items loaded"]) == []


def test_an_address_of_version_four_in_one_of_six_is_read() -> None:
    line = "SocketException (111): Connection refused [::ffff:10.96.9.9]:7000"
    assert hosts.hosts_in_line(line) == ["10.96.9.9"] and hosts.ports_in_line(line) == [("10.96.9.9", 7000)]


def test_selectors_of_an_egress_rule_reach_nobody_outside_the_cluster() -> None:
    outside, inside = network.Peer("", {}, {}), network.Peer("back", {}, {})
    pods_alone = {
        "metadata": {"namespace": "shop"},
        "spec": {"egress": [{"to": [{"namespaceSelector": {}}]}]},
    }
    anybody = {
        "metadata": {"namespace": "shop"},
        "spec": {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]},
    }
    assert not network.admits(pods_alone, "Egress", outside, ())
    assert network.admits(pods_alone, "Egress", inside, ())
    assert network.admits(anybody, "Egress", outside, ())


@pytest.mark.parametrize(("now", "says"), [(96, "cpu at 96 % of 60 %"), (70, ""), (0, "")])
def test_an_autoscaler_is_overloaded_only_far_above_what_it_holds(now: int, says: str) -> None:
    metric = {"resource": {"name": "cpu", "target": {"averageUtilization": 60}}}
    current = {"resource": {"name": "cpu", "current": {"averageUtilization": now}}}
    assert hpa.overloaded({"spec": {"metrics": [metric]}, "status": {"currentMetrics": [current]}}) == says
    assert hpa.overloaded({"spec": {"metrics": "x"}, "status": {"currentMetrics": [1]}}) == ""


def test_only_migrations_that_take_away_are_told_so() -> None:
    lines = [
        'Migrating to version "41 - drop phone from owners"',
        "Running 0042_rename_phone",
        "adding dropdown",
    ]
    assert schemas.takes_away(lines) == lines[:2]


def test_statements_that_take_seconds_are_told_from_quick_ones() -> None:
    slow = ["slow query: SELECT 1 took 9133 ms", "LOG:  duration: 9134.221 ms  statement: SELECT 1"]
    assert locks.slow_statements([*slow, "LOG:  duration: 12.2 ms  statement: SELECT 1"]) == slow
