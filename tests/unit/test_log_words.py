"""What log lines of common programs tell: whom they could not reach, who refused, who is only mentioned."""

from __future__ import annotations

import pytest

from cortexops.domain.injected import adds_to_pods, is_injected, tells_image
from cortexops.domain.kubernetes import complaints, hosts, selectors

NGINX = (
    "2026/03/10 13:50:11 [error] 29#29: *4411 connect() failed (111: Connection refused) while connecting to"
    ' upstream, client: 10.244.0.1, server: shop.example.com, request: "GET /trolley/42 HTTP/1.1", upstream:'
    ' "http://trolley-api:80/42", host: "shop.example.com", referrer: "https://www.example.com/"'
)
ENVOY = (
    '[2026-03-10T13:51:01.120Z] "GET /stock/9 HTTP/1.1" 503 UF upstream_reset_before_response_started - "-" 0 145'
    ' 3 - "10.244.0.1" "okhttp/4.12.0" "5c0a" "shop.example.com" "stock.shop.svc:80" stock - - - -'
)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (NGINX, ["trolley-api"]),
        (ENVOY, ["stock.shop.svc"]),
        ("Connection to node -1 (events-kafka/10.96.7.12:9092) could not be established.", ["events-kafka"]),
        ('10.0.0.9 - - "GET /a HTTP/1.1" 502 12 "https://www.example.com/" "Mozilla/5.0"', []),
    ],
)
def test_of_a_proxys_line_whom_it_asked_is_named_and_not_who_asked_it(line: str, named: list[str]) -> None:
    found = hosts.hosts_in_line(line)
    assert found[: len(named)] == named
    assert not [host for host in found if host.endswith("example.com")]


def test_the_resolver_that_was_asked_is_told_from_the_asker() -> None:
    line = "[ERROR] plugin/errors: 2 x.example.com. A: read udp 10.244.0.5:45211->10.0.99.2:53: i/o timeout"
    assert hosts.resolver_in_line(line) == ["10.0.99.2"]
    assert complaints.resolving([line]) == [line]


def test_the_address_in_a_dump_of_an_error_belongs_to_the_error() -> None:
    lines = [
        "AxiosError: Request failed with status code 503",
        "    at settle (/app/node_modules/axios/lib/core/settle.js:19:12)",
        "    url: 'https://api.pay.example.com/v1/charges',",
        "GET /healthz 200",
    ]
    whole = complaints.spoken_of(lines)
    assert hosts.hosts_in_line(whole[lines[0]]) == ["api.pay.example.com"]
    assert whole[lines[3]] == lines[3]


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: cannot execute INSERT in a read-only transaction",
        "READONLY You can't write against a read only replica.",
        "redis.exceptions.OutOfMemoryError: command not allowed when used memory > 'maxmemory'.",
        'pq: could not extend file "base/16384/24601": No space left on device',
        "ReplyError: MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk",
    ],
)
def test_what_a_store_refuses_is_not_the_programs_own_fault(line: str) -> None:
    assert complaints.refused_by_store([line]) == [line]
    assert not complaints.own_fault([line])


def test_words_about_reading_that_are_no_complaint_refuse_nothing() -> None:
    assert not complaints.refused_by_store(
        ["INFO mounted archive in read-only mode", "INFO maxmemory is 4gb"]
    )


def test_what_a_peer_answered_is_no_fault_of_the_one_that_hands_it_on() -> None:
    lines = [
        "ERROR could not get rates: rpc error: code = Unknown desc = KeyError: 'rate'",
        "ERROR text-service returned an exception",
        "ERROR failed to read posts from post-storage-service",
    ]
    assert complaints.of_a_peer(lines) == lines
    assert not complaints.own_fault(lines)
    assert complaints.own_fault(["ERROR KeyError: 'rate'"])


def test_names_that_a_server_denies_are_told_from_servers_that_do_not_answer() -> None:
    denied = "lookup search on 10.96.0.10:53: no such host"
    assert complaints.no_such_name([denied, "lookup search on 10.96.0.10:53: i/o timeout"]) == [denied]
    assert not complaints.resolving([denied])


def test_settings_are_the_words_that_people_make_up() -> None:
    line = "Payment request failed (paymentFailure flag enabled, retry_limit and max-items as before)"
    assert complaints.settings(line) == ["paymentFailure", "retry_limit", "max-items"]


def test_a_volumes_node_affinity_picks_nodes_by_their_labels() -> None:
    required = {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["b"]}]}
        ]
    }
    assert selectors.on_node(required, {"metadata": {"labels": {"topology.kubernetes.io/zone": "b"}}})
    assert not selectors.on_node(required, {"metadata": {"labels": {"topology.kubernetes.io/zone": "a"}}})
    assert not selectors.on_node({}, {"metadata": {}})


def test_a_container_that_only_the_pod_has_was_injected() -> None:
    template = {"containers": [{"name": "app"}]}
    pod = {"spec": {"containers": [{"name": "app"}, {"name": "proxy", "image": "mesh/proxy:1.23.9"}]}}
    assert is_injected(template, pod, "proxy")
    assert not is_injected(template, pod, "app")
    assert not is_injected({}, pod, "proxy")
    hook = {"webhooks": [{"rules": [{"operations": ["CREATE"], "resources": ["pods"]}]}]}
    assert adds_to_pods(hook)
    assert not adds_to_pods({"webhooks": [{"rules": [{"operations": ["UPDATE"], "resources": ["pods"]}]}]})
    image = "reg.example.com/mesh/proxy:1.23.9"
    assert tells_image({"data": {"values": '{"hub":"reg.example.com/mesh","tag":"1.23.9"}'}}, image)
    assert not tells_image({"data": {"values": '{"hub":"reg.example.com/mesh","tag":"1.23.8"}'}}, image)
