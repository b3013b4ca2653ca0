"""Which object an address in an alert stands for: a decision over what the cluster has, without a guess.

Whoever is innocent must not be blamed. So one answer counts only when it is the only one, an exporter is never
taken for what it tells of, and what could not be read is not taken to be absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from cortexops.domain.exporters import Role, is_about_the_target, role_of_job
from cortexops.domain.kubernetes.addresses import (
    Address,
    HttpRoutes,
    Index,
    Ingresses,
    Nodes,
    PodAt,
    Pods,
    Route,
    ServiceAt,
    Services,
    parse_address,
)

ADDRESS = "Address"
"""The kind under which a signal names an object of which only the address is known yet."""
_SLACK = timedelta(minutes=1)  # by which clocks may differ
_NODE_PORTS = range(30_000, 32_768)
_MOST_NAMED = 4


class Question(NamedTuple):
    """What an alert says of its object: the address, and what else decides who is meant by it."""

    address: Address
    role: Role = Role.ITSELF  # of the scrape job
    namespace: str = ""
    about_node: bool = False
    about_target: bool = False  # the scraped target itself does not answer
    since: datetime | None = None


class Found(NamedTuple):
    kind: str
    namespace: str
    name: str
    how: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A kind that could not be listed, and why. `passing`: it may be answered if it is asked again."""

    why: str
    passing: bool = False


class NotRead(Exception):
    """The decision needs objects of this kind. Read them and ask again."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Unclear(Exception):
    """The address stands for no object that may be blamed; the text says what was looked for."""


Readings = Mapping[str, Index | Unread]
One = TypeVar("One", PodAt, ServiceAt)


def question(labels: Mapping[str, str], name: str, instance: str, since: datetime | None) -> Question | None:
    """Of an alert called `name`; None when `instance` is no address."""
    address = parse_address(labels.get("exported_instance") or labels.get("instance") or "") or parse_address(
        instance
    )
    if address is None:
        return None
    return Question(
        address,
        role_of_job(labels.get("job", "")),
        labels.get("exported_namespace") or labels.get("namespace", ""),
        name.startswith(("Node", "KubeNode", "Host", "Kubelet")),
        is_about_the_target(name),
        since,
    )


def decide(asked: Question, readings: Readings) -> Found:
    """The object. Raises `NotRead` for a kind that must be read first, `Unclear` when none may be named."""
    return (_by_ip if asked.address.is_ip else _by_name)(asked, _Reader(readings))


class _Reader:
    """Readings by kind; what could not be read is remembered for the reason."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self.unread: list[str] = []

    def _of(self, kind: str) -> Index | None:
        if kind not in self._readings:
            raise NotRead(kind)
        found = self._readings[kind]
        if isinstance(found, Unread):
            self.unread.append(found.why)
            return None
        return found

    def nodes(self) -> Nodes | None:
        found = self._of("Node")
        return found if isinstance(found, Nodes) else None

    def pods(self) -> Pods | None:
        found = self._of("Pod")
        return found if isinstance(found, Pods) else None

    def services(self) -> Services | None:
        found = self._of("Service")
        return found if isinstance(found, Services) else None

    def ingresses(self) -> Ingresses | None:
        found = self._of("Ingress")
        return found if isinstance(found, Ingresses) else None

    def http_routes(self) -> HttpRoutes | None:
        found = self._of("HTTPRoute")
        return found if isinstance(found, HttpRoutes) else None

    def absent(self, what: str) -> Unclear:
        """Nothing has the address, as far as could be read."""
        return Unclear("; ".join([what, *dict.fromkeys(self.unread)]))


def _by_ip(asked: Question, read: _Reader) -> Found:
    nodes = read.nodes()
    if nodes is not None and (node := _node(asked, nodes)) is not None:
        return _on_node(asked, *node, read)
    pods = read.pods()
    here = [] if pods is None else pods.by_ip.get(asked.address.host, [])
    if any(pod.on_host for pod in here):  # the address of a node that could not be read, or has just gone
        raise read.absent(f"{asked.address} is the address of a node, and no node is known to have it")
    if here:
        return _pod(asked, _only(asked, here, "Pod"), f"{asked.address.host} is the address of the pod")
    services = read.services()
    if services is not None and (found := services.by_ip.get(asked.address.host)):
        return _service(asked, _only(asked, found, "Service"), f"{asked.address.host} is its clusterIP")
    raise read.absent(f"{asked.address.host} is the address of no node, pod or Service")


def _node(asked: Question, nodes: Nodes) -> tuple[str, str] | None:
    """(node, what the address is to it). Raises `Unclear` for several."""
    found = nodes.at.get(asked.address.host)
    if not found:
        return None
    if len(found) > 1:
        raise _several(asked, [f"Node {name}" for name in sorted(found)])
    return next(iter(found.items()))


def _on_node(asked: Question, name: str, what: str, read: _Reader) -> Found:
    """The node, or the one pod that answers at this port of it."""
    node = Found("Node", "", name, f"{asked.address.host} is the {what} of the node")
    port = asked.address.port
    if port is None or asked.about_node or asked.role in (Role.NODE, Role.KUBELET):
        return node
    pods = read.pods()
    if pods is None:
        raise read.absent(
            f"{asked.address} is at the node {name}, and which pod has port {port} is not known"
        )
    here = pods.listening.get((name, port), [])
    if here:
        how = f"{asked.address.host} is the {what} of node {name}, where one pod has port {port}"
        return _pod(asked, _only(asked, here, "Pod"), how)
    if port in _NODE_PORTS:
        services = read.services()
        if services is None:
            raise read.absent(f"{asked.address} may be the port of a Service on every node")
        if found := services.by_node_port.get(port):
            return _service(asked, _only(asked, found, "Service"), f"{port} is its port on every node")
    if asked.role in (Role.OTHERS, Role.PROBER, Role.EXPORTER) and not asked.about_target:
        raise Unclear(f"{asked.address} is at the node {name}, of an exporter that tells of other objects")
    return node


def _by_name(asked: Question, read: _Reader) -> Found:
    host = asked.address.host
    parts = host.split(".")
    if "svc" in parts[2:4]:
        return _by_service_name(asked, parts, read)
    nodes = read.nodes()
    if nodes is not None and (node := _node(asked, nodes)) is not None:
        return _on_node(asked, *node, read)
    if len(parts) == 1:
        return _by_short_name(asked, read, nodes is not None)
    found: list[Found] = []
    if len(parts) == 2:
        services = read.services()
        service = services.by_name.get((parts[1], parts[0])) if services is not None else None
        if service is not None:
            found.append(_service(asked, service, f"{host} is its name in the cluster"))
        elif services is None and not asked.address.is_url:
            raise read.absent(f"{host} may be the name of a Service")
    found += _by_public_name(asked, read)
    if not found:
        raise read.absent(
            f"{host} is the name of no node or Service, and the host of no Ingress or HTTPRoute"
        )
    if len(found) > 1:
        raise _several(asked, [f"{one.kind} {one.namespace}/{one.name}" for one in found])
    return found[0]


def _by_public_name(asked: Question, read: _Reader) -> list[Found]:
    """Who routes the host. A cluster has Ingresses, and may have HTTPRoutes besides."""
    host = asked.address.host
    ingresses, http_routes = read.ingresses(), read.http_routes()
    if ingresses is None:
        return []
    routes = ingresses.routes(host)
    found = [_routed(asked, routes, ingresses, read)] if routes else []
    places = sorted(http_routes.routes(host)) if http_routes is not None else []
    return found + [Found("HTTPRoute", *place, f"{host} is its host") for place in places]


def _by_service_name(asked: Question, parts: list[str], read: _Reader) -> Found:
    """`api.shop.svc…` is a Service; `db-0.db.shop.svc…` a pod behind a headless one."""
    host = asked.address.host
    if parts[2] == "svc":
        services = read.services()
        service = services.by_name.get((parts[1], parts[0])) if services is not None else None
        if service is None:
            raise read.absent(f"there is no Service {parts[1]}/{parts[0]}, which {host} would be")
        return _service(asked, service, f"{host} is its name in the cluster")
    pods = read.pods()
    found = [] if pods is None else pods.by_alias.get((parts[2], parts[1], parts[0]), [])
    if not found:
        raise read.absent(f"there is no pod {parts[0]} behind the Service {parts[2]}/{parts[1]}")
    return _pod(asked, _only(asked, found, "Pod"), f"{host} is its name in the cluster")


def _by_short_name(asked: Question, read: _Reader, nodes_are_known: bool) -> Found:
    """Within a namespace, a name without dots is a Service there."""
    host = asked.address.host
    if asked.namespace and nodes_are_known:
        services = read.services()
        service = services.by_name.get((asked.namespace, host)) if services is not None else None
        if service is not None:
            return _service(asked, service, f"{host} is its name in namespace {asked.namespace}")
        raise read.absent(f"{host} is the name of no node, and of no Service in namespace {asked.namespace}")
    raise read.absent(f"{host} is the name of no node, and no namespace says which Service it would be")


# -- who may be named ----------------------------------------------------------------------------------


def _pod(asked: Question, pod: PodAt, how: str) -> Found:
    """The pod, or the node of which an agent tells. Raises `Unclear` where it tells of others."""
    label = f"{pod.namespace}/{pod.name}"
    if pod.role is Role.NODE:
        if pod.node:
            return Found("Node", "", pod.node, f"{how} {label}, which tells of its node")
        raise Unclear(f"{asked.address} is the pod {label}, which tells of a node and is on none")
    if pod.role is not Role.ITSELF and not asked.about_target:
        raise Unclear(f"{asked.address} is the pod {label}, an exporter that tells of other objects")
    if (
        not pod.on_host
        and asked.since is not None
        and pod.begun is not None
        and pod.begun > asked.since + _SLACK
    ):
        raise Unclear(f"{asked.address} is the pod {label}, which began after the alert: another had it then")
    _check_namespace(asked, pod.namespace, f"the pod {label}")
    return Found("Pod", pod.namespace, pod.name, how)


def _service(asked: Question, service: ServiceAt, how: str) -> Found:
    label = f"{service.namespace}/{service.name}"
    if service.role is not Role.ITSELF and not asked.about_target:
        raise Unclear(f"{asked.address} is the Service {label} of an exporter, which tells of other objects")
    if asked.address.is_ip:
        _check_namespace(asked, service.namespace, f"the Service {label}")
    return Found("Service", service.namespace, service.name, how)


def _check_namespace(asked: Question, namespace: str, what: str) -> None:
    """Who tells of another namespace than its own tells of others. A prober's namespace says nothing."""
    if asked.namespace and asked.namespace != namespace and asked.role is not Role.PROBER:
        raise Unclear(f"{asked.address} is {what}, and the alert is about namespace {asked.namespace}")


def _routed(asked: Question, routes: Iterable[Route], ingresses: Ingresses, read: _Reader) -> Found:
    """The Ingress of the host, or the Service behind the path where it has several."""
    host, path = asked.address.host, asked.address.path or "/"
    covering = [route for route in routes if _covers(route.path, path)]
    longest = max((len(route.path) for route in covering), default=0)
    best = [route for route in covering if len(route.path) == longest]
    places = sorted({(route.namespace, route.ingress) for route in best})
    if not places:
        raise Unclear(f"the host {host} is routed by Ingresses, and none of them has the path {path}")
    if len(places) == 1 and len(ingresses.services.get(places[0], ())) <= 1:
        return Found("Ingress", *places[0], f"{host} is its host")
    behind = sorted({(route.namespace, route.service) for route in best if route.service})
    if len(behind) == 1:
        services = read.services()
        if services is not None and behind[0] in services.by_name:
            return Found("Service", *behind[0], f"{host} is routed to it by Ingress {'/'.join(places[0])}")
        if len(places) == 1:
            return Found("Ingress", *places[0], f"{host} is its host")
    raise _several(asked, [f"Ingress {namespace}/{name}" for namespace, name in places])


def _covers(route: str, path: str) -> bool:
    prefix = route.rstrip("/")
    return path == prefix or path.startswith(f"{prefix}/")


def _only(asked: Question, found: list[One], kind: str) -> One:
    if len(found) > 1:
        raise _several(asked, sorted(f"{kind} {one.namespace}/{one.name}" for one in found))
    return found[0]


def _several(asked: Question, names: list[str]) -> Unclear:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return Unclear(f"{asked.address} stands for several: {', '.join(names[:_MOST_NAMED])}{more}")
