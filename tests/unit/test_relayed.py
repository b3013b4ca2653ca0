"""Error texts that are handed on, names that are shortened, switches in files of flags."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.kubernetes import complaints, hosts
from cortexops.domain.kubernetes.placement import unselected, untolerated
from cortexops.domain.kubernetes.switches import switched_on
from cortexops.domain.relayed import asked_by_path, echoes, short_name

CALLEE = ['{"level":"error","msg":"settle basket: could not write to the ledger book: dial tcp: refused"}']


def test_a_caller_that_hands_an_error_on_says_it_in_the_callees_words() -> None:
    told = "Error: 13 INTERNAL: settle basket: could not write to the ledger book"
    assert echoes(["error: something of its own went wrong here", told], CALLEE) == [told]


@pytest.mark.parametrize(
    "line",
    [
        "ERROR request failed with status code 500",
        "error: rpc error: code = Unavailable desc = connection refused",
        "fatal: internal server error",
        "ERROR context deadline exceeded while calling service",
    ],
)
def test_what_any_program_says_of_any_failure_is_no_echo(line: str) -> None:
    assert echoes([line], [line]) == []


def test_a_line_that_reports_nothing_wrong_echoes_nothing() -> None:
    assert echoes(["INFO could not write to the ledger book is a test phrase"], CALLEE) == []


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('ERROR 500 Server Error for HTTP POST "/api/v1/travelservice/trips/left"', "ts-travel-service"),
        ('error: got 502 for "/cart/items"', ""),  # too short to be told from a word
        ('"GET /checkout/42 HTTP/1.1" 503 12', "shop-checkout"),
        ('"GET /checkout/42 HTTP/1.1" 200 12', ""),
    ],
)
def test_a_gateway_names_a_service_by_the_path_it_routes(line: str, named: str) -> None:
    assert asked_by_path(line, ["ts-travel-service", "ts-train-service", "cart", "shop-checkout"]) == named


def test_a_path_that_could_be_two_services_is_neither() -> None:
    line = 'ERROR 500 Server Error for HTTP POST "/orders/v1"'
    assert asked_by_path(line, ["orders-api", "eu-orders"]) == ""


@pytest.mark.parametrize(
    ("caller", "service", "short"),
    [
        ("shop-checkout", "shop-shipping", "shipping"),
        ("my-otel-demo-frontend", "my-otel-demo-quote", "quote"),
        ("frontend", "shipping", "shipping"),
        ("shop-web", "shop-api", "shop-api"),  # nothing telling is left
    ],
)
def test_releases_of_one_chart_call_each_other_by_their_own_part_of_the_name(
    caller: str, service: str, short: str
) -> None:
    assert short_name(caller, service) == short


FLAGD = {"flags": {"cartFailure": {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"},
                   "adFailure": {"state": "ENABLED", "defaultVariant": "off"}}}  # fmt: skip


@pytest.mark.parametrize(
    ("document", "on"),
    [
        (json.dumps(FLAGD), ["cartFailure"]),
        (json.dumps({"features": [{"name": "x", "enabled": True}, {"name": "y", "enabled": False}]}), ["x"]),
        ('{"slow_search": true, "other": "no", "third": "on"}', ["slow_search", "third"]),
        ("fail_cart: true\nfail_ads: false\nmode: fast\n", ["fail_cart"]),
        ("fail-cart = on\n# comment: true story\n", ["fail-cart"]),
        ("not a file of flags at all", []),
        ("[" * 3000, []),
    ],
)
def test_the_switches_that_are_on_are_read(document: str, on: list[str]) -> None:
    assert switched_on(document) == on


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_document_is_read_without_an_error(value: object) -> None:
    assert all(isinstance(name, str) for name in switched_on(json.dumps(value)))


@pytest.mark.parametrize("name", ["otel-collector", "jaeger", "my-otel-demo-loki", "fluent-bit"])
def test_what_takes_telemetry_is_known_by_its_name(name: str) -> None:
    assert hosts.takes_telemetry(name)


@pytest.mark.parametrize("name", ["orders", "hotel-search", "telemetry-billing", "lokis-shop", "prom"])
def test_what_serves_people_is_not_taken_for_it(name: str) -> None:
    assert not hosts.takes_telemetry(name)


def test_a_taint_is_tolerated_as_the_scheduler_reads_it() -> None:
    node = {"spec": {"taints": [{"key": "gpu", "value": "a100", "effect": "NoSchedule"}]}}
    for tolerated in (
        {"operator": "Exists"},
        {"key": "gpu", "operator": "Exists"},
        {"key": "gpu", "value": "a100", "effect": "NoSchedule"},
        {"key": "gpu", "operator": "Equal", "value": "a100"},
    ):
        assert untolerated(node, {"tolerations": [tolerated]}) == ""
    for other in (
        {"key": "gpu"},
        {"key": "gpu", "value": "a100", "effect": "NoExecute"},
        {"key": "x", "operator": "Exists"},
    ):
        assert untolerated(node, {"tolerations": [other]}) == "gpu=a100:NoSchedule"
    preferred = {"spec": {"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]}}
    assert untolerated(preferred, {}) == ""
    assert (
        unselected({"metadata": {"labels": {"disk": "ssd"}}}, {"nodeSelector": {"disk": "hdd"}}) == "disk=hdd"
    )


def test_reading_the_same_log_forty_times_costs_little_more_than_once() -> None:
    """Every analyzer asks of every line; an investigation of twelve services once took half a minute."""
    lines = [
        f"2026-11-21 17:02:{n % 60:02d} ERROR [main] POST http://ledger-{n}:9000/v1 failed: refused {n}"
        for n in range(3000)
    ]

    def read() -> float:
        began = time.process_time()
        for line in complaints.unreachable(lines):
            hosts.hosts_in_line(line)
        return time.process_time() - began

    first = read()
    assert sum(read() for _ in range(10)) < first * 5


@pytest.mark.parametrize(
    "line",
    [
        "[warn] GET http://billing:8080/preview/77120 -> 500",
        'ts=1 level=warning msg="labs call" url=http://labs:8080/match status=504',
        'INFO:httpx:HTTP Request: POST http://basket:3000/v1 "HTTP/1.1 502 Bad Gateway"',
        "info: http://sessions:8080/check responded with 401",
    ],
)
def test_a_call_with_the_status_that_answered_it_is_the_peers_at_whatever_level(line: str) -> None:
    assert complaints.answered_badly([line]) == complaints.of_a_peer([line]) == [line]
    assert complaints.own_fault([line]) == []


@pytest.mark.parametrize(
    "line",
    [
        "INFO GET http://billing:8080/preview/500 -> 200",
        "level=info url=http://labs:8080/match took=504ms status=200",
        "INFO listening on http://0.0.0.0:8080",
    ],
)
def test_a_call_that_went_well_is_no_complaint(line: str) -> None:
    assert complaints.complaining([line]) == []


def test_an_upstream_inside_the_braces_of_a_proxys_file_is_read() -> None:
    file = "server {\n  location /api { proxy_pass http://claims-api:8080; }\n}\n"
    spec = {"containers": [{"name": "nginx"}]}
    assert "claims-api" in hosts.hosts_of_template(spec, {"conf": {"default.conf": file}})
