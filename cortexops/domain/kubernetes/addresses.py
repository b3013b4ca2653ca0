"""Addresses as alerts give them in `instance`, and which objects of a cluster have them."""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from cortexops.domain.exporters import Role, role_of, role_of_images
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import mapping, number, objects, text, words
from cortexops.domain.resource import JSON

_LONGEST = 512
_LONGEST_HOST = 253
_host = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://")
_APP_LABELS = ("app.kubernetes.io/name", "k8s-app", "app")
_GROUPS = 8  # of an IPv6 address written out


class Address(NamedTuple):
    """A host with the port and path that were asked. `host` is a name in lower case, or an IP address."""

    host: str
    port: int | None = None
    path: str = ""
    is_url: bool = False

    @property
    def is_ip(self) -> bool:
        return _ip(self.host) is not None

    @property
    def name(self) -> str:
        """`host:port`, as the name of an object: IPv6 is written out in its eight groups."""
        ip = _ip(self.host)
        host = ip.exploded if ip is not None else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


@lru_cache(8192)  # the same instances complain again and again
def parse_address(value: str) -> Address | None:
    """`10.0.3.7:9100`, `[fd00::7]:9100`, `node-7`, `api.shop.svc:8080`, `https://shop.example.com/healthz` …

    None for what is no address, or one that means another machine to everybody, as `localhost` does.
    """
    word = value.strip()
    if not word or len(word) > _LONGEST or any(character.isspace() for character in word):
        return None
    is_url = _scheme.match(word) is not None
    plain = _ip(word)
    if plain is None and _exploded(word):
        host, _, port = word.rpartition(":")
        word = f"[{host}]:{port}"
    try:
        parts = urlsplit(word if is_url else f"//[{word}]" if ":" in str(plain or "") else f"//{word}")
        host, port_number = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    ip = _ip(host)
    if ip is not None:
        if ip.is_loopback or ip.is_unspecified or ip.is_link_local or ip.is_multicast or "%" in host:
            return None
        host = ip.compressed
    elif not _is_host(host):
        return None
    return Address(host, port_number, parts.path, is_url)


def _is_host(host: str) -> bool:
    """A name by which DNS could know one machine, and no IP address that is misspelt."""
    if len(host) > _LONGEST_HOST or not _host.fullmatch(host) or host.replace(".", "").isdigit():
        return False
    return host.partition(".")[0] != "localhost"


def _exploded(word: str) -> bool:
    """Whether it is an IPv6 address written out with a port behind it, as `Address.name` writes it."""
    return word.count(":") == _GROUPS and _ip(word.rpartition(":")[0]) is not None


# -- what the objects of a cluster are called ----------------------------------------------------------


class PodAt(NamedTuple):
    """As much of a running pod as its addresses need. `listens`: ports by which its node's address leads to it."""

    namespace: str
    name: str
    node: str
    ips: tuple[str, ...]
    on_host: bool
    listens: frozenset[int]
    begun: datetime | None
    role: Role
    alias: tuple[str, str]  # (hostname, subdomain): its name behind a headless Service


class ServiceAt(NamedTuple):
    namespace: str
    name: str
    role: Role


class Route(NamedTuple):
    """One path of an Ingress, and the Service that answers it."""

    namespace: str
    ingress: str
    path: str
    service: str


@dataclass(slots=True)
class Nodes:
    """Address or name (lower case) → (node, what it is to the node)."""

    at: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, item: JSON) -> None:
        name = meta.name(item)
        for entry in objects(item, "status", "addresses"):
            address = text(entry, "address")
            key = canonical(address) or address.lower().rstrip(".")
            if key:
                self.at[key].setdefault(name, text(entry, "type") or "address")
        self.at[name.lower()].setdefault(name, "name")


@dataclass(slots=True)
class Pods:
    """Of those that have not ended: the others have no address any more, whatever their status still says."""

    by_ip: dict[str, list[PodAt]] = field(default_factory=lambda: defaultdict(list))
    by_alias: dict[tuple[str, str, str], list[PodAt]] = field(default_factory=lambda: defaultdict(list))
    listening: dict[tuple[str, int], list[PodAt]] = field(default_factory=lambda: defaultdict(list))

    def add(self, item: JSON) -> None:
        if pods.phase(item) in ("Succeeded", "Failed"):
            return
        pod = _pod(item)
        for ip in pod.ips:
            self.by_ip[ip].append(pod)
        for port in pod.listens:
            self.listening[pod.node, port].append(pod)
        if all(pod.alias):
            self.by_alias[pod.namespace, pod.alias[1], pod.alias[0]].append(pod)


@dataclass(slots=True)
class Services:
    by_ip: dict[str, list[ServiceAt]] = field(default_factory=lambda: defaultdict(list))
    by_name: dict[tuple[str, str], ServiceAt] = field(default_factory=dict)
    by_node_port: dict[int, list[ServiceAt]] = field(default_factory=lambda: defaultdict(list))

    def add(self, item: JSON) -> None:
        labels = meta.labels(item)
        names = [meta.name(item), *(labels[label] for label in _APP_LABELS if labels.get(label))]
        roles = [role for name in names if (role := role_of(name)) is not Role.ITSELF]
        service = ServiceAt(meta.namespace(item), meta.name(item), roles[0] if roles else Role.ITSELF)
        self.by_name[service.namespace, service.name] = service
        told = [text(item, "spec", "clusterIP"), *words(item, "spec", "clusterIPs")]
        for ip in dict.fromkeys(filter(None, map(canonical, told))):
            self.by_ip[ip].append(service)
        for port in {number(entry, "nodePort") for entry in objects(item, "spec", "ports")} - {0}:
            self.by_node_port[port].append(service)


@dataclass(slots=True)
class Ingresses:
    by_host: dict[str, list[Route]] = field(default_factory=lambda: defaultdict(list))
    services: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # of each Ingress

    def add(self, item: JSON) -> None:
        place = meta.namespace(item), meta.name(item)
        default = text(item, "spec", "defaultBackend", "service", "name")
        served = {default}
        for rule in objects(item, "spec", "rules"):
            paths = [
                Route(*place, text(path, "path") or "/", text(path, "backend", "service", "name"))
                for path in objects(rule, "http", "paths")
            ]
            served.update(route.service for route in paths)
            if host := text(rule, "host").lower():
                self.by_host[host] += paths or [Route(*place, "/", default)]
        self.services[place] = served - {""}

    def routes(self, host: str) -> Sequence[Route]:
        """Of the host itself, else of the wildcard that covers it."""
        return self.by_host.get(host) or self.by_host.get(_wildcard(host)) or ()


@dataclass(slots=True)
class HttpRoutes:
    """Host → (namespace, name) of the HTTPRoutes that name it."""

    by_host: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, item: JSON) -> None:
        for host in {host.lower() for host in words(item, "spec", "hostnames")}:
            self.by_host[host].append((meta.namespace(item), meta.name(item)))

    def routes(self, host: str) -> Sequence[tuple[str, str]]:
        return self.by_host.get(host) or self.by_host.get(_wildcard(host)) or ()


def _wildcard(host: str) -> str:
    return f"*.{host.partition('.')[2]}"


Index = Nodes | Pods | Services | Ingresses | HttpRoutes
INDEXES: dict[str, Callable[[], Index]] = {
    "Node": Nodes,
    "Pod": Pods,
    "Service": Services,
    "Ingress": Ingresses,
    "HTTPRoute": HttpRoutes,
}


def canonical(ip: str) -> str:
    """One spelling for each IP address; empty for what is none."""
    found = _ip(ip)
    return "" if found is None else found.compressed


def _pod(item: JSON) -> PodAt:
    spec = mapping(item, "spec")
    on_host = spec.get("hostNetwork") is True
    told = [text(item, "status", "podIP"), *(text(ip, "ip") for ip in objects(item, "status", "podIPs"))]
    containers = objects(spec, "containers")
    ports = [port for container in containers for port in objects(container, "ports")]
    listens = {
        number(port, "hostPort") or (number(port, "containerPort") if on_host else 0) for port in ports
    }
    labels = meta.labels(item)
    return PodAt(
        namespace=meta.namespace(item),
        name=meta.name(item),
        node=text(spec, "nodeName"),
        ips=tuple(dict.fromkeys(filter(None, map(canonical, told)))),
        on_host=on_host,
        listens=frozenset(listens - {0}),
        begun=meta.created(item),
        role=role_of_images(
            (text(container, "image") for container in containers),
            (labels[label] for label in _APP_LABELS if labels.get(label)),
        ),
        alias=(text(spec, "hostname").lower(), text(spec, "subdomain").lower()),
    )
