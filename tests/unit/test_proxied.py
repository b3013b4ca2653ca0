"""Whom a proxy's log says that failed requests went to, and which hosts a line does not name."""

from __future__ import annotations

import pytest

from cortexops.domain.kubernetes import hosts, proxied
from cortexops.domain.resource import JSON

TRAEFIK = (
    '10.0.3.8 - - [10/Mar/2026:13:50:44 +0000] "POST /pay HTTP/1.1" {} 61 "-" "App/8.1" 90121 '
    '"till-api-pay@kubernetes" "http://10.244.1.7:8080" 2210ms'
)
ISTIO = (
    '[2026-03-10T13:50:44.101Z] "GET /pay HTTP/1.1" 503 UF - - 0 91 10 - "-" "curl" "id" "till.shop" '
    '"10.244.1.7:8080" outbound|80||till.shop.svc 10.244.2.3:41000 10.96.0.9:80 10.244.2.3:50010 - default'
)
HAPROXY = '10.0.7.9:51122 [10/Mar/2026:13:52:11.010] web {} 0/0/1/88/89 {} 221 - - ---- 1/1/1/1/0 0/0 "GET / HTTP/1.1"'
CONFIG = """
frontend web
  bind *:8080
backend till
  server a1 till.shop.svc.cluster.local:8080 check
backend rest
  server-template w 1-4 rest.shop.svc:80 check
"""


@pytest.mark.parametrize(("line", "found"), [
    (TRAEFIK.format(503), [("10.244.1.7", 8080)]),
    (TRAEFIK.format(200), []),
    (ISTIO, [("10.244.1.7", 8080)]),
    (HAPROXY.format("till/a1", 503), []),
    ("error: dial tcp 10.244.1.9:5432: connect: connection refused", [("10.244.1.9", 5432)]),
    ("error: read tcp 10.244.2.2:40100->10.244.1.9:5432: i/o timeout", [("10.244.1.9", 5432)]),
    ("error: dial tcp 8.8.4.4:443: i/o timeout", []),
    ("error: dial tcp 127.0.0.1:5432: connect: connection refused", []),
    ("info: accepted 10.244.1.9:5432", []),
])  # fmt: skip
def test_a_failed_request_tells_the_address_it_went_to(line: str, found: list[tuple[str, int]]) -> None:
    assert proxied.asked_addresses([line]) == found


def test_haproxy_s_backend_and_server_lead_to_the_configured_host() -> None:
    asked = [HAPROXY.format("till/a1", 503), HAPROXY.format("rest/w2", 200)]
    assert proxied.asked_servers(asked, [CONFIG]) == ["till.shop.svc.cluster.local"]
    assert proxied.asked_servers([HAPROXY.format("rest/w2", -1)], [CONFIG]) == ["rest.shop.svc"]
    assert proxied.asked_servers([HAPROXY.format("till/a1", 404)], [CONFIG]) == []
    assert proxied.asked_servers([HAPROXY.format("other/a1", 500)], [CONFIG]) == []


def test_servers_of_a_proxy_s_configuration_are_hosts() -> None:
    found = hosts.hosts_of_template(
        {}, {"cfg": {"haproxy.cfg": CONFIG, "nginx.conf": "upstream a {\n  server b.c.svc:80;\n}"}}
    )
    assert {"till.shop.svc.cluster.local", "rest.shop.svc", "b.c.svc"} <= set(found)


@pytest.mark.parametrize("quote", ['"', '\\"', "'"])
def test_the_name_of_a_webhook_is_no_host(quote: str) -> None:
    line = (
        f"Internal error occurred: failed calling webhook {quote}pods.guard.acme.dev{quote}: failed to call webhook: "
        f"Post {quote}https://guard.sentry.svc:443/validate{quote}: dial tcp 10.96.7.7:443: connect: connection refused"
    )
    assert "pods.guard.acme.dev" not in hosts.hosts_in_line(line)
    assert "guard.sentry.svc" in hosts.hosts_in_line(line)
    assert "hooks.acme.dev" in hosts.hosts_in_line(
        'webhook failed: Post "https://hooks.acme.dev/x": i/o timeout'
    )


@pytest.mark.parametrize(
    ("target", "port", "leads"), [(8080, 8080, True), ("http", 8080, True), (8080, 9090, False)]
)
def test_a_service_leads_to_the_port_of_a_pod(target: object, port: int, leads: bool) -> None:
    service: JSON = {"spec": {"selector": {"app": "till"}, "ports": [{"port": 80, "targetPort": target}]}}
    pod: JSON = {
        "spec": {"containers": [{"name": "till", "ports": [{"name": "http", "containerPort": 8080}]}]}
    }
    assert proxied.listens_at(service, pod, port) is leads


@pytest.mark.parametrize(("line", "service"), [
    (TRAEFIK.format(503), "till"),
    ('"GET /pay HTTP/1.1" 503 0 "-" "curl" 90 0.001 [shop-till-80] [] 10.244.9.9:8080 0 0.001 503 id', "till"),
    ('"GET /pay HTTP/1.1" 503 0 "-" "curl" 90 0.001 [shop-other-80] [] 10.244.9.9:8080 0 0.001 503 id', ""),
])  # fmt: skip
def test_the_name_of_a_route_leads_to_its_ingress_and_service(line: str, service: str) -> None:
    backend: JSON = {"service": {"name": "till", "port": {"number": 80}}}
    ingress: JSON = {
        "metadata": {"namespace": "shop" if "[shop" in line else "till", "name": "api"},
        "spec": {"rules": [{"http": {"paths": [{"path": "/pay", "backend": backend}]}}]},
    }
    (route,) = proxied.asked_routes([line])
    assert proxied.service_of_route(route, ingress) == service
