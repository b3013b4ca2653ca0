"""Whom a proxy sent the requests to that failed, as its access log and its configuration tell."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

from cortexops.domain.kubernetes import complaints, meta, pods
from cortexops.domain.kubernetes.values import mapping, number, objects, text, texts
from cortexops.domain.resource import JSON

_AT = re.compile(r"(?<![\w.:])((?:\d{1,3}\.){3}\d{1,3}):(\d{2,5})(?![\d.])(?!->)")
_BY_HAPROXY = re.compile(
    r"\] \S{1,100} (?P<backend>[\w.:-]{1,100})/(?P<server>[\w.:<>-]{1,100}) (?:-?\d+/){4}\+?-?\d+ (?P<status>\d{3}|-1) "
)
"""`[date] frontend backend/server Tq/Tw/Tc/Tr/Tt status` of HAProxy's log of requests."""
_SECTION = re.compile(r"^(?:backend|listen)\s+(\S+)")
_SERVER = re.compile(
    r"^\s+server(?:-template)?\s+(\S+)\s+(?:\d+(?:-\d+)?\s+)?([A-Za-z][\w.-]*)(?::\d+)?(?:\s|$)"
)
_ROUTE = re.compile(r"\"([a-z0-9][\w.-]{2,250})@kubernetes\"|\[([a-z0-9][a-z0-9-]{2,250})\] \[[^\]]*\] ")
"""The router of Traefik (`namespace-ingress-host-path@kubernetes`), the upstream of ingress-nginx
(`[namespace-service-port] []`)."""
_PLAIN = re.compile(r"[^a-z0-9]+")
_FAILED = 500
_MOST = 4  # addresses


def failed_requests(lines: Sequence[str]) -> list[str]:
    """Lines of an access log, of HAProxy's too, of requests that were answered 5xx or not at all."""
    plain = set(complaints.answers_with_errors(lines))
    return [line for line in lines if line in plain or _by_haproxy(line) is not None]


def _by_haproxy(line: str) -> tuple[str, str] | None:
    """(backend, server) of a request that failed; None where the line tells of none."""
    match = _BY_HAPROXY.search(line)
    if match is None or -1 < int(match.group("status")) < _FAILED:
        return None
    return match.group("backend"), match.group("server")


def asked_addresses(lines: Sequence[str]) -> list[tuple[str, int]]:
    """(address, port) in the cluster that failed requests were sent on to, and those of peers that were not
    reached; the most frequent first. Not the one with which a line begins: that is who asked."""
    found: dict[tuple[str, int], int] = {}
    wrong = {*complaints.unreachable(lines), *complaints.answered_badly(lines)}
    for line in lines:
        failed = _is_failed(line)
        if not failed and line not in wrong:
            continue
        told = [(m.group(1), int(m.group(2))) for m in _AT.finditer(line) if m.start() > 0]
        told = [each for each in told if _is_inside(each[0])]
        for each in told[:1] if failed else told:  # behind the upstream stands who asked
            found[each] = found.get(each, 0) + 1
    return sorted(found, key=lambda each: -found[each])[:_MOST]


def _is_failed(line: str) -> bool:
    return bool(complaints.answers_with_errors([line])) or _by_haproxy(line) is not None


def _is_inside(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (ip.is_global or ip.is_loopback or ip.is_unspecified)


def asked_servers(lines: Sequence[str], configs: Iterable[str]) -> list[str]:
    """Hosts of the servers that HAProxy's failed requests were sent to, as its configuration has them."""
    asked = dict.fromkeys(pair for line in lines if (pair := _by_haproxy(line)) is not None)
    if not asked:
        return []
    known: dict[tuple[str, str], str] = {}
    behind: dict[str, list[str]] = {}
    for config in configs:
        section = ""
        for line in config.splitlines():
            if line[:1].strip():
                match = _SECTION.match(line)
                section = match.group(1) if match else ""
            elif section and (match := _SERVER.match(line)):
                known[section, match.group(1)] = match.group(2)
                behind.setdefault(section, []).append(match.group(2))
    found: dict[str, None] = {}
    for backend, server in asked:
        if (backend, server) in known:
            found.setdefault(known[backend, server])
        else:  # `<NOSRV>`, or one out of a template
            found.update(dict.fromkeys(behind.get(backend, ())))
    return list(found)


def asked_routes(lines: Sequence[str]) -> list[str]:
    """The names that an ingress controller gives to the routes of its failed requests."""
    found = (_ROUTE.search(line) for line in lines if _is_failed(line))
    return list(dict.fromkeys(match.group(1) or match.group(2) for match in found if match is not None))


def service_of_route(route: str, ingress: JSON) -> str:
    """The Service to which the Ingress sends what a controller calls by that name; "" where it is another's."""
    namespace = meta.namespace(ingress)
    for rule in objects(ingress, "spec", "rules"):
        for path in objects(rule, "http", "paths"):
            service = text(path, "backend", "service", "name")
            port = mapping(path, "backend", "service", "port")
            called = (
                (namespace, meta.name(ingress), text(rule, "host"), text(path, "path")),
                (namespace, service, text(port, "number") or text(port, "name")),
            )
            if service and any(_plain("-".join(parts)) == _plain(route) for parts in called):
                return service
    return ""


def _plain(name: str) -> str:
    return _PLAIN.sub("-", name.lower()).strip("-")


def listens_at(service: JSON, pod: JSON, port: int) -> bool:
    """Whether the Service leads to that port of the pod."""
    named = {
        text(each, "name"): number(each, "containerPort")
        for container in pods.containers(pod.get("spec") or {})
        for each in objects(container, "ports")
    }
    for each in objects(service, "spec", "ports"):
        target = text(each, "targetPort")
        if (
            number(each, "targetPort") or named.get(target) or (0 if target else number(each, "port"))
        ) == port:
            return bool(texts(service, "spec", "selector"))
    return False
