"""From the object that an alert names to the workload or node that it stands for."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

from activities.gathering import Gathering
from activities.workload_reading import seems_made_by, template_labels
from cortexops.domain.kubernetes import delivery, gateways, hosts, meta, pods, references, selectors
from cortexops.domain.kubernetes.values import mapping, objects, text, texts
from cortexops.domain.resource import JSON, KINDS, ResourceRef
from cortexops.domain.topology import Relation

_HIGHEST = 4  # owners above one another; a Job's pod of a CronJob has two
_STATEFUL_POD = re.compile(r"^(?P<set>.+)-\d+$")
_PLACES = ("Deployment", "StatefulSet", "DaemonSet")
_NO_WORKLOAD = (
    "Namespace",
    "ResourceQuota",
    "Certificate",
    "PersistentVolume",
    "StorageClass",
    "IngressClass",
)
_MOST_USERS = 3
_TOGETHER = timedelta(hours=6)
_ROUTES = 12
_BROUGHT = ("Rollout",)  # kinds that not every server has


async def resolve(gathering: Gathering) -> list[ResourceRef]:
    """Fill `gathering.roots`: the workloads (or the node) that the target stands for; none when it is gone.

    What is read on the way is kept in the gathering with its owner edges.
    """
    target = gathering.target
    if target.kind not in KINDS:
        gathering.roots = await _by_name(gathering, target)
        return gathering.roots
    obj = await gathering.get(target.kind, target.namespace, target.name, required=True)
    if obj is None:
        gathering.roots = await _gone(gathering, target)
    elif target.kind in ("Node", "Deployment", "StatefulSet", "DaemonSet", "CronJob"):
        gathering.roots = [target]
    elif target.kind == "Service":
        gathering.roots = await _behind(gathering, target, obj)
    elif target.kind == "Ingress":
        gathering.roots = await _routed(gathering, target, obj)
    elif target.kind in gateways.KINDS:
        gathering.roots = await _attached(gathering, target, obj)
    elif target.kind in ("PersistentVolumeClaim", "PodDisruptionBudget", "ConfigMap", "Secret"):
        gathering.roots = await _users(gathering, target, obj)
    elif target.kind in delivery.KINDS:
        gathering.roots = await _delivered(gathering, target, obj) or [target]
    elif target.kind == "Namespace":
        gathering.roots = [target, *await _inside(gathering, target)]
    elif target.kind in _NO_WORKLOAD:
        gathering.roots = [target]
    elif target.kind == "HorizontalPodAutoscaler":
        scaled = mapping(obj, "spec", "scaleTargetRef")
        ref = gathering.ref(text(scaled, "kind"), target.namespace, text(scaled, "name"))
        found = ref.kind in KINDS and await gathering.get(ref.kind, ref.namespace, ref.name, required=True)
        gathering.roots = [ref] if found else []
        if found:
            gathering.connect(target, Relation.SCALES, ref)
    else:
        gathering.roots = [await climb(gathering, target, obj)]
    return gathering.roots


async def climb(gathering: Gathering, ref: ResourceRef, obj: JSON) -> ResourceRef:
    """The topmost owner that can be read."""
    for _ in range(_HIGHEST):
        shortcut = await _deployment_of(gathering, ref, obj)
        if shortcut is not None:
            return shortcut
        owner = meta.owner(obj)
        if owner is None and ref.kind == "Pod":
            return await _maker_of(gathering, ref, obj)
        if owner is None or owner[0] not in KINDS or owner[0] == "Node":  # static pods belong to a node
            return ref
        above = gathering.ref(owner[0], ref.namespace, owner[1])
        gathering.connect(above, Relation.OWNS, ref)
        found = gathering.find(above) or await gathering.get(above.kind, above.namespace, above.name)
        if found is None and above.kind in _BROUGHT:
            return ref  # the server does not have the kind, or it may not be read
        ref = above
        if found is None:
            return ref
        obj = found
    return ref


async def _deployment_of(gathering: Gathering, ref: ResourceRef, obj: JSON) -> ResourceRef | None:
    """A Deployment's pod names it twice: by its ReplicaSet's name and by the hash in its label."""
    owner, suffix = meta.owner(obj), meta.labels(obj).get("pod-template-hash", "")
    if ref.kind != "Pod" or owner is None or owner[0] != "ReplicaSet" or not suffix:
        return None
    name = owner[1].removesuffix(f"-{suffix}")
    deployment = gathering.ref("Deployment", ref.namespace, name)
    if name == owner[1] or await gathering.get("Deployment", ref.namespace, name) is None:
        return None
    replica_set = gathering.ref("ReplicaSet", ref.namespace, owner[1])
    gathering.connect(replica_set, Relation.OWNS, ref)
    gathering.connect(deployment, Relation.OWNS, replica_set)
    return deployment


async def _maker_of(gathering: Gathering, pod: ResourceRef, obj: JSON) -> ResourceRef:
    """The workload whose template a pod without owners was plainly made from; else the pod itself."""
    if not meta.labels(obj):
        return pod
    lists = await asyncio.gather(*(gathering.listing(kind, pod.namespace, optional=True) for kind in _PLACES))
    for kind, items in zip(_PLACES, lists, strict=True):
        for item in items:
            ref = meta.ref_of(pod.cluster, kind, item)
            if seems_made_by(ref, template_labels(ref, item), obj):
                gathering.keep(kind, item)
                gathering.connect(ref, Relation.OWNS, pod)
                return ref
    return pod


async def _gone(gathering: Gathering, target: ResourceRef) -> list[ResourceRef]:
    """Where a pod or ReplicaSet has been replaced since the alert, its name still tells the workload's. A node has
    none: it stands for itself."""
    parts = target.name.split("-")
    candidates: list[ResourceRef] = []
    if target.kind == "Node" and not gathering.unread("Node", "", target.name):
        return [target]  # events may tell who took it away
    if target.kind == "Pod":
        if len(parts) >= 3:
            candidates.append(gathering.ref("Deployment", target.namespace, "-".join(parts[:-2])))
        if _STATEFUL_POD.match(target.name):
            candidates.insert(0, gathering.ref("StatefulSet", target.namespace, "-".join(parts[:-1])))
        elif len(parts) >= 2:
            candidates.append(gathering.ref("DaemonSet", target.namespace, "-".join(parts[:-1])))
    elif target.kind == "ReplicaSet" and len(parts) >= 2:
        candidates.append(gathering.ref("Deployment", target.namespace, "-".join(parts[:-1])))
    for ref in candidates:
        if await gathering.get(ref.kind, ref.namespace, ref.name) is not None:
            gathering.connect(ref, Relation.OWNS, target)
            return [ref]
    return []


async def _by_name(gathering: Gathering, target: ResourceRef) -> list[ResourceRef]:
    """An alert about something that is no Kubernetes kind (a service, a job name): the workload so called."""
    if not target.namespace:
        return []
    refs = [gathering.ref(kind, target.namespace, target.name) for kind in _PLACES]
    found = await asyncio.gather(*(gathering.get(r.kind, r.namespace, r.name) for r in refs))
    return [ref for ref, obj in zip(refs, found, strict=True) if obj is not None]


async def _behind(gathering: Gathering, service: ResourceRef, obj: JSON) -> list[ResourceRef]:
    """The workloads whose templates a Service selects; failing that, those of its pods or of its name."""
    selector = texts(obj, "spec", "selector")
    kinds = ("Deployment", "StatefulSet", "DaemonSet")
    lists = await asyncio.gather(*(gathering.listing(kind, service.namespace) for kind in kinds))
    found: list[ResourceRef] = []
    for kind, items in zip(kinds, lists, strict=True):
        for item in items:
            ref = meta.ref_of(service.cluster, kind, item)
            if selectors.picks_template(selector, texts(item, "spec", "template", "metadata", "labels")):
                gathering.keep(kind, item)
                gathering.connect(service, Relation.SELECTS, ref)
                found.append(ref)
    if found:
        return found
    if selector:
        pods = await gathering.listing(
            "Pod", service.namespace, labels=selectors.simple_query(selector), most=20
        )
        for pod in pods[:1]:
            kept = gathering.keep("Pod", pod)
            ref = meta.ref_of(service.cluster, "Pod", kept)
            gathering.connect(service, Relation.SELECTS, ref)
            return [await climb(gathering, ref, kept)]
    for kind, items in zip(kinds, lists, strict=True):
        for item in meant_for(service, selector, items):
            gathering.keep(kind, item)
            found.append(meta.ref_of(service.cluster, kind, item))
            gathering.connect(service, Relation.MEANT_FOR, found[-1])
    return found


def meant_for(service: ResourceRef, selector: dict[str, str], workloads: list[JSON]) -> list[JSON]:
    """Workloads that a Service, which selects none, seems to be for: of its name, or with most of its labels."""
    named = [item for item in workloads if meta.name(item) == service.name]
    if named:
        return named[:1]

    def common(item: JSON) -> int:
        labels = texts(item, "spec", "template", "metadata", "labels")
        return len(selector.items() & labels.items())

    best = max(workloads, key=common, default=None)
    return [best] if best is not None and common(best) else []


async def _inside(gathering: Gathering, namespace: ResourceRef) -> list[ResourceRef]:
    """The workloads of a namespace that are not well; where all seem well, those that call the most others."""
    lists = await asyncio.gather(*(gathering.listing(kind, namespace.name) for kind in _PLACES))
    items = [(kind, item) for kind, each in zip(_PLACES, lists, strict=True) for item in each]
    short = [(k, i) for k, i in items if pods.ready_replicas(i) < pods.wanted_replicas(i)]
    if not short:

        def calls(entry: tuple[str, JSON]) -> int:
            return len(hosts.hosts_of_template(mapping(entry[1], "spec", "template", "spec"), {}))

        short = sorted((entry for entry in items if calls(entry)), key=calls, reverse=True)
    else:
        short = _latest(short)
    found = []
    for kind, item in short[:_MOST_USERS]:
        gathering.keep(kind, item)
        found.append(meta.ref_of(namespace.cluster, kind, item))
        gathering.connect(namespace, Relation.MEANT_FOR, found[-1])
    return found


def _latest(short: list[tuple[str, JSON]]) -> list[tuple[str, JSON]]:
    """Those that have been unavailable for as long as the one that has been so for the shortest time, about;
    what has been broken for days is not what an alert of now is about. Who does not tell stays."""
    since = [meta.condition(item, "Available").since for _, item in short]
    newest = max((time for time in since if time is not None), default=None)
    if newest is None:
        return short
    kept = [
        (time, entry)
        for time, entry in zip(since, short, strict=True)
        if time is None or time >= newest - _TOGETHER
    ]
    return [entry for _, entry in sorted(kept, key=lambda each: each[0] or newest, reverse=True)]


async def _users(gathering: Gathering, target: ResourceRef, obj: JSON) -> list[ResourceRef]:
    """The workloads that mount a claim, read a ConfigMap or Secret, or are guarded by a budget."""
    lists = await asyncio.gather(*(gathering.listing(kind, target.namespace) for kind in _PLACES))
    found: list[ResourceRef] = []
    for kind, items in zip(_PLACES, lists, strict=True):
        for item in items:
            ref = meta.ref_of(target.cluster, kind, item)
            relation = _use(target, obj, item)
            if relation is None:
                continue
            gathering.keep(kind, item)
            guards = relation is Relation.GUARDS
            gathering.connect(target if guards else ref, relation, ref if guards else target)
            found.append(ref)
    return found[:_MOST_USERS]


def _use(target: ResourceRef, obj: JSON, workload: JSON) -> Relation | None:
    spec = mapping(workload, "spec", "template", "spec")
    if target.kind == "PodDisruptionBudget":
        labels = texts(workload, "spec", "template", "metadata", "labels")
        return Relation.GUARDS if selectors.matches(mapping(obj, "spec", "selector"), labels) else None
    if target.kind == "PersistentVolumeClaim":
        return Relation.MOUNTS if references.mounts_claim(workload, target.name) else None
    used = {(use.kind, use.name) for use in references.config_uses(spec)}
    if (target.kind, target.name) not in used:
        return None
    return Relation.USES_CONFIG if target.kind == "ConfigMap" else Relation.USES_SECRET


async def _delivered(gathering: Gathering, target: ResourceRef, obj: JSON) -> list[ResourceRef]:
    """The workloads that a HelmRelease, a Kustomization or an Application has delivered; those that are not well
    first."""
    listed = set(delivery.delivered(target.kind, obj))
    mark = delivery.Deliverer(target.kind, target.namespace, target.name)
    found: list[tuple[bool, ResourceRef]] = []
    for space in delivery.places(target.kind, obj)[:_MOST_USERS]:
        lists = await asyncio.gather(*(gathering.listing(kind, space) for kind in _PLACES))
        for kind, items in zip(_PLACES, lists, strict=True):
            for item in items:
                ref = meta.ref_of(target.cluster, kind, item)
                if (kind, space, ref.name) in listed or mark in delivery.deliverers(item):
                    gathering.keep(kind, item)
                    gathering.connect(target, Relation.ACTS_ON, ref)
                    found.append((pods.ready_replicas(item) >= pods.wanted_replicas(item), ref))
    found.sort(key=lambda each: each[0])
    return [ref for _, ref in found[:_MOST_USERS]]


async def _routed(gathering: Gathering, ingress: ResourceRef, obj: JSON) -> list[ResourceRef]:
    found: list[ResourceRef] = []
    for name in backends(obj)[:3]:
        service = gathering.ref("Service", ingress.namespace, name)
        live = await gathering.get("Service", ingress.namespace, name)
        if live is not None or not gathering.unread("Service", ingress.namespace, name):
            gathering.connect(ingress, Relation.ROUTES_TO, service)  # what was not read may well be there
        if live is not None:
            found += await _behind(gathering, service, live)
    return list(dict.fromkeys(found))


async def _attached(gathering: Gathering, target: ResourceRef, obj: JSON) -> list[ResourceRef]:
    """The workloads behind a route, or behind the routes that are attached to a Gateway."""
    routes = await attached_routes(gathering, target) if target.kind == "Gateway" else [obj]
    found: list[ResourceRef] = []
    for place in list(dict.fromkeys(b for route in routes for b in gateways.backends(route)))[:3]:
        service = gathering.ref("Service", place.namespace, place.name)
        live = await gathering.get("Service", place.namespace, place.name)
        if live is not None:
            found += await _behind(gathering, service, live)
    return list(dict.fromkeys(found))


async def attached_routes(gathering: Gathering, gateway: ResourceRef) -> list[JSON]:
    """Routes that want to be attached to the Gateway, of any namespace; of many those come first with which the
    controller finds fault."""
    listed = await gathering.listing("HTTPRoute", optional=True)
    if gathering.forbidden_list("HTTPRoute"):
        listed = await gathering.listing("HTTPRoute", gateway.namespace, optional=True)
    found = [route for route in listed if (gateway.namespace, gateway.name) in gateways.parents(route)]
    return sorted(found, key=lambda route: not gateways.refusals(route))[:_ROUTES]


def backends(ingress: JSON) -> list[str]:
    """Names of the Services that an Ingress routes to."""
    names = [text(ingress, "spec", "defaultBackend", "service", "name")]
    for rule in objects(ingress, "spec", "rules"):
        for path in objects(rule, "http", "paths"):
            names.append(text(path, "backend", "service", "name"))
    return [name for name in dict.fromkeys(names) if name]
