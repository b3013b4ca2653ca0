"""What the target calls: Services named in its configuration and its complaints, and who is behind them.

Goes on upstream where a callee is not well, so that a chain of victims ends at its cause.
"""

from __future__ import annotations

import asyncio
import re
from difflib import get_close_matches

from activities.collectors import collector
from activities.collectors._by_address import services_at
from activities.collectors._serving import COMMON, behind
from activities.collectors.storage import read_claims
from activities.gathering import Gathering
from activities.workload_reading import (
    pod_template,
    read_configuration,
    read_history,
    read_logs,
    read_pods,
    template_labels,
)
from cortexops.domain.findings import DNS, NEARLY_CALLED
from cortexops.domain.kubernetes import (
    certificate_words,
    clocks,
    complaints,
    hosts,
    hpa,
    meta,
    pods,
    proxied,
    selectors,
)
from cortexops.domain.kubernetes.contracts import asked_wrongly
from cortexops.domain.kubernetes.nodes import problems
from cortexops.domain.kubernetes.switches import SERVES
from cortexops.domain.kubernetes.values import mapping, text, texts
from cortexops.domain.relayed import asked_by_path, short_name
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.signal import SignalType
from cortexops.domain.stores import seems_store
from cortexops.domain.topology import Relation

_DEEPEST = 4  # calls
_READ_CLOSELY = 6  # callees in trouble whose pods and logs are read
_HEARD = 8  # callees that look well whose logs are read, where a caller answers badly and does not say why
_ASKED = 8  # callees whose configuration is read, as a caller's complaint may name a setting of it
_MEMBERS = 3  # of a store that refuses, whose logs are read: one of them may tell why
_CALLEES = 12
_MOST_LINES = 60  # complaints in which names are looked for
_BAD_ANSWERS = frozenset({SignalType.ERROR_RATE, SignalType.LATENCY, SignalType.OTHER})
_WORD = re.compile(r"[\w-]+")
_SHORT = 3  # letters


@collector("dependencies", wave=3)
async def collect(gathering: Gathering) -> None:
    frontier = [root for root in gathering.roots if root.kind != "Node"]
    seen, closely, heard = set(frontier), 0, 0
    called: set[ResourceRef] = set()
    asked_of: set[ResourceRef] = set()
    answers = bool({signal.type for signal in gathering.signals} & _BAD_ANSWERS)
    for _ in range(_DEEPEST):
        further: list[ResourceRef] = []
        for caller in frontier:
            named, complained, configured = _hosts(gathering, caller)
            await _cluster_services(gathering, caller, named, complained)
            for service in await services_at(gathering, caller):
                named.insert(0, f"{service.name}.{service.namespace}.svc")
                complained.setdefault(service)
            refused = _refused(gathering, caller)
            asked = answers and any(complaints.settings(line) for line in _complaints(gathering, caller))
            services = await _services(gathering, caller, named, complained, configured)
            unnamed = await _complains_of_nobody(gathering, caller, complained)
            if unnamed:
                services += await _down_beside(gathering, caller, services)
            quiet: list[tuple[ResourceRef, ResourceRef]] = []
            for service in _likeliest_first(gathering, caller, services):
                called.add(service)
                matters = service in complained or unnamed or asked
                for workload in await behind(gathering, service, rarer=matters):
                    asks = asked or (answers and SERVES.search(service.name) is not None)
                    if asks and len(asked_of) < _ASKED and workload != caller:
                        asked_of.add(workload)
                        await read_configuration(gathering, workload)
                    if workload in seen:
                        continue
                    suspect = _is_short(gathering.find(workload) or {}) or service in complained
                    if refused and (len(services) == 1 or _is_store(gathering, service, workload)):
                        suspect = True
                    if suspect and closely < _READ_CLOSELY:
                        seen.add(workload)
                        closely += 1
                        await _read_closely(gathering, workload, service, logs=_MEMBERS if refused else 1)
                        further.append(workload)
                    elif not suspect and not hosts.takes_telemetry(service.name):
                        quiet.append((service, workload))  # it looks well
            if unnamed or (answers and complained and not any(_is_at_fault(gathering, w) for w in further)):
                # whom the complaints name is well, or they name nobody: what do the others say?
                for service, workload in [each for each in quiet if each[1] not in seen][: _HEARD - heard]:
                    seen.add(workload)
                    heard += 1
                    await _hear(gathering, workload, service)
                    if asked_wrongly(_complaints(gathering, caller)):
                        await read_history(gathering, workload)  # it may offer something else by now
                    further.append(workload)
        frontier = further
    await _endpoints(gathering, called)


def _is_at_fault(gathering: Gathering, workload: ResourceRef) -> bool:
    """Whether a callee is short of pods, has had to be started again, or complains itself."""
    own = {ref for ref, _ in gathering.pods_of(workload)}
    states = [state for _, pod in gathering.pods_of(workload) for state in pods.container_states(pod)]
    if _is_short(gathering.find(workload) or {}) or any(
        state.restarts or not state.ready for state in states
    ):
        return True
    return any(
        complaints.own_fault(log.lines)
        or complaints.unreachable(log.lines)
        or complaints.of_a_peer(log.lines)
        for log in gathering.logs
        if log.pod in own
    )


def _likeliest_first(
    gathering: Gathering, caller: ResourceRef, services: list[ResourceRef]
) -> list[ResourceRef]:
    """Those that a complaint asks for by its path, then those that an alert's words hold: not all are heard."""
    names = [service.name for service in services]
    asked = {asked_by_path(line, names) for line in _complaints(gathering, caller)}
    told = " ".join(f"{signal.name} {signal.summary}" for signal in gathering.signals).lower()

    def rank(service: ResourceRef) -> tuple[bool, bool]:
        spoken = any(len(part) > _SHORT and part in told for part in service.name.split("-"))
        return service.name not in asked, not spoken

    return sorted(services, key=rank)


def _hosts(
    gathering: Gathering, caller: ResourceRef
) -> tuple[list[str], dict[ResourceRef, None], frozenset[str]]:
    """All hosts, Services that the caller's logs complain about, and the hosts that its configuration names."""
    configs = {
        ref.name: texts(gathering.find(ref) or {}, "data")
        for ref in gathering.connected(caller, Relation.USES_CONFIG)
    }
    template = pod_template(caller, gathering.find(caller) or {})
    named = hosts.hosts_of_template(mapping(template, "spec"), configs)
    own = {ref for ref, _ in gathering.pods_of(caller)}
    complained: dict[str, None] = {}
    for log in gathering.logs:
        if log.pod in own:
            said = [*complaints.unreachable(log.lines), *complaints.waiting_for(log.lines)]
            lost = set(complaints.resolving(log.lines))  # about DNS, not about the host that was asked for
            whole = complaints.spoken_of(log.lines)
            for line in [*said, *complaints.answered_badly(log.lines)]:
                if line in lost:
                    continue
                complained.update(dict.fromkeys(hosts.hosts_in_line(whole[line])))
            for asked in certificate_words.shown_by(log.lines).values():
                complained.update(dict.fromkeys(asked))
            for line in complaints.complaining(log.lines)[-_MOST_LINES:]:  # whatever it complains of
                own_hosts = set(hosts.hosts_in_line(line)) & set(named) if line not in lost else set()
                complained.update(dict.fromkeys(sorted(own_hosts)))
            texts_of_configs = [value for data in configs.values() for value in data.values()]
            complained.update(dict.fromkeys(proxied.asked_servers(log.lines, texts_of_configs)))
            for line in clocks.about_time(log.lines):  # whose clock is wrong is not said; it may be theirs
                complained.update(dict.fromkeys(hosts.hosts_in_line(line)))
    services: dict[ResourceRef, None] = {}
    for host in complained:
        address = hosts.service_address(host, caller.namespace)
        if address is not None:
            services.setdefault(gathering.ref("Service", *address))
    return list(dict.fromkeys([*complained, *named])), services, frozenset(named)


def _refused(gathering: Gathering, caller: ResourceRef) -> bool:
    """Whether the caller says that a store answers and does not do what it is asked for."""
    own = {ref for ref, _ in gathering.pods_of(caller)}
    said = (complaints.refused_by_store, complaints.saturated)
    return any(each(log.lines) for log in gathering.logs if log.pod in own for each in said)


def _is_store(gathering: Gathering, service: ResourceRef, workload: ResourceRef) -> bool:
    return seems_store(gathering.find(service) or {}, [gathering.find(workload) or {}])


async def _cluster_services(
    gathering: Gathering, caller: ResourceRef, named: list[str], complained: dict[ResourceRef, None]
) -> None:
    """Services that nobody configures and everybody needs: DNS, admission webhooks, resource metrics."""
    own = {ref for ref, _ in gathering.pods_of(caller)}
    wanted: list[tuple[str, str]] = []
    unresolved = any(complaints.resolving(log.lines) for log in gathering.logs if log.pod in own)
    if unresolved or await _denied(gathering, caller):
        wanted.append(DNS)
    wanted += [found.service for found in gathering.refusals([caller]) if found.service is not None]
    if caller in gathering.roots:
        for _, scaler in gathering.of_kind("HorizontalPodAutoscaler"):
            group = hpa.unanswered_group(scaler)
            registered = await gathering.listing("APIService", optional=True) if group else []
            for item in registered:
                if text(item, "spec", "group") == group:
                    gathering.keep("APIService", item)
            serving = hpa.metrics_service(group, registered)
            wanted += [serving] if serving is not None else []
    for namespace, name in dict.fromkeys(wanted):
        named.insert(0, f"{name}.{namespace}.svc")
        complained.setdefault(gathering.ref("Service", namespace, name))


async def _denied(gathering: Gathering, caller: ResourceRef) -> bool:
    """Whether the caller was told that a name does not exist which a Service beside it has."""
    own = {ref for ref, _ in gathering.pods_of(caller)}
    lines = [line for log in gathering.logs if log.pod in own for line in complaints.no_such_name(log.lines)]
    if not lines:
        return False
    there = {
        (caller.namespace, meta.name(item)) for item in await gathering.listing("Service", caller.namespace)
    }
    asked = (host for line in lines for host in hosts.hosts_in_line(line))
    return any(hosts.service_address(host, caller.namespace) in there for host in asked)


async def _services(
    gathering: Gathering,
    caller: ResourceRef,
    named: list[str],
    complained: dict[ResourceRef, None],
    configured: frozenset[str],
) -> list[ResourceRef]:
    """The Services among the hosts, complained of first; kept and connected by a CALLS edge."""
    words = _complaints(gathering, caller)
    if not named and not words:
        return []
    local = {meta.name(item): item for item in await gathering.listing("Service", caller.namespace)}
    found: dict[ResourceRef, None] = {}
    for host in named:
        address = hosts.service_address(host, caller.namespace)
        by_address = next((item for item in local.values() if text(item, "spec", "clusterIP") == host), None)
        if by_address is not None:
            address = (caller.namespace, meta.name(by_address))
        if address is None:
            continue
        ref = gathering.ref("Service", *address)
        service: JSON | None = None
        if address[0] == caller.namespace:
            service = local.get(address[1])
        elif len(found) < _CALLEES:
            service = await gathering.get("Service", *address, required=ref in complained)
        if service is None and ref in complained and (host in configured or ".svc" in host):
            gathering.connect(caller, Relation.CALLS, ref)  # it is missed, and is not there
            for name in get_close_matches(address[1], local, n=2, cutoff=NEARLY_CALLED):
                gathering.keep("Service", local[name])  # perhaps it was meant
        if service is not None:
            gathering.keep("Service", service)
            found.setdefault(ref)
            if by_address is not None:
                complained.setdefault(ref)
            gathering.connect(caller, Relation.CALLS, ref)
    spoken = {word for line in words for word in _WORD.findall(line.lower())}
    for name, service in local.items():
        ref = gathering.ref("Service", caller.namespace, name)
        mine = caller in gathering.connected(ref, Relation.SELECTS)
        by_name = name in spoken or short_name(caller.name, name) in spoken  # alone, without an address
        if by_name and not mine:
            gathering.keep("Service", service)
            found.setdefault(ref)
            complained.setdefault(ref)
            gathering.connect(caller, Relation.CALLS, ref)
    own = {e for e in found if caller in gathering.connected(e, Relation.SELECTS)}
    for ref in own & set(complained):  # it picks the caller's pods, too: whose else?
        await behind(gathering, ref, rarer=False)
    ordered = [ref for ref in found if ref in complained] + [ref for ref in found if ref not in complained]
    return [ref for ref in ordered if ref not in own][:_CALLEES]


def _complaints(gathering: Gathering, caller: ResourceRef) -> list[str]:
    own = {ref for ref, _ in gathering.pods_of(caller)}
    found = [line for log in gathering.logs if log.pod in own for line in complaints.complaining(log.lines)]
    return list(dict.fromkeys(found))[-_MOST_LINES:]


async def _complains_of_nobody(
    gathering: Gathering, caller: ResourceRef, complained: dict[ResourceRef, None]
) -> bool:
    """Whether an alert speaks of bad answers, and the caller's logs do not say whose fault they are."""
    told = {signal.type for signal in gathering.signals}
    if not told & _BAD_ANSWERS:
        return False
    there = {meta.name(item) for item in await gathering.listing("Service", caller.namespace)}
    return not any(  # "connect to the server" names nobody
        ref.namespace != caller.namespace or ref.name in there or "-" in ref.name for ref in complained
    )


async def _down_beside(
    gathering: Gathering, caller: ResourceRef, known: list[ResourceRef]
) -> list[ResourceRef]:
    """Services of the caller's namespace whose workloads are down, when it complains of a peer without a name."""
    lines = _complaints(gathering, caller)
    if not complaints.unreachable(lines) and not complaints.answered_badly(lines):
        return []
    found = []
    for item in await gathering.listing("Service", caller.namespace):
        ref = gathering.ref("Service", caller.namespace, meta.name(item))
        if ref in known or caller in gathering.connected(ref, Relation.SELECTS):
            continue
        selector = texts(item, "spec", "selector")
        for kind in (*COMMON, "Rollout") if selector else ():
            for workload in await gathering.listing(kind, caller.namespace, optional=kind not in COMMON):
                its = template_labels(meta.ref_of(caller.cluster, kind, workload), workload)
                if selectors.picks_template(selector, its) and _is_short(workload):
                    gathering.keep("Service", item)
                    gathering.connect(caller, Relation.MAY_CALL, ref)
                    found.append(ref)
    return found


def _is_short(workload: JSON) -> bool:
    return pods.ready_replicas(workload) < max(1, pods.wanted_replicas(workload))


async def _hear(gathering: Gathering, workload: ResourceRef, service: ResourceRef) -> None:
    """What one that looks well says, and whom it calls; the rest of it only where it complains."""
    await asyncio.gather(read_pods(gathering, workload), read_configuration(gathering, workload))
    await read_logs(gathering, workload, most=1)
    if _is_at_fault(gathering, workload):
        await _read_closely(gathering, workload, service)


async def _read_closely(
    gathering: Gathering, workload: ResourceRef, service: ResourceRef, *, logs: int = 1
) -> None:
    """Its pods, history, configuration and claims, and that many logs."""
    if pods.wanted_replicas(gathering.find(workload) or {}) == 0:
        return
    await asyncio.gather(
        read_pods(gathering, workload),
        read_history(gathering, workload),
        read_configuration(gathering, workload),
    )
    await asyncio.gather(
        read_logs(gathering, workload, most=logs), read_claims(gathering, workload, healthy=True)
    )
    selector = texts(gathering.find(service) or {}, "spec", "selector")
    for ref, pod in gathering.pods_of(workload):
        if selectors.equals(selector, meta.labels(pod)):
            gathering.connect(service, Relation.SELECTS, ref)
        node = pods.node_name(pod)
        if node:
            gathering.connect(ref, Relation.RUNS_ON, gathering.ref("Node", "", node))
    await _hear_ill_nodes(gathering, workload)
    if workload.namespace not in {root.namespace for root in gathering.roots}:
        for event in await gathering.listing("Event", workload.namespace):
            gathering.add_event(event)


async def _hear_ill_nodes(gathering: Gathering, workload: ResourceRef) -> None:
    """A log from a node with which a detector finds fault, and one from another to compare: one each."""
    heard = {log.pod for log in gathering.logs}
    own: dict[bool, list[tuple[ResourceRef, str]]] = {True: [], False: []}
    for ref, pod in gathering.pods_of(workload):
        node = gathering.find(gathering.ref("Node", "", pods.node_name(pod))) or {}
        running = [each.name for each in pods.container_states(pod) if each.running_since is not None]
        if running:
            own[bool(problems(node))].append((ref, running[0]))
    for there in own.values() if own[True] else ():
        if there and not heard & {ref for ref, _ in there}:
            await gathering.log(*there[0], previous=False)


async def _endpoints(gathering: Gathering, called: set[ResourceRef]) -> None:
    """The addresses behind the target's own Services and those that it calls, one list a namespace."""
    by_namespace: dict[str, set[str]] = {}
    own = {ref for root in gathering.roots for ref in gathering.selecting(root)}
    if gathering.target.kind == "Service":
        own.add(gathering.target)
    for ref in called | own:
        by_namespace.setdefault(ref.namespace, set()).add(ref.name)
    for namespace, names in sorted(by_namespace.items()):
        query = f"kubernetes.io/service-name in ({','.join(sorted(names)[:_CALLEES])})"
        for item in await gathering.listing("EndpointSlice", namespace, labels=query):
            gathering.keep("EndpointSlice", item)
