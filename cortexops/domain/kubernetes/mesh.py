"""Istio: what its objects do to requests between workloads, as far as that can be told from here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

from cortexops.domain.kubernetes import hosts, meta, selectors
from cortexops.domain.kubernetes.values import dig, mapping, number, objects, text, texts, words
from cortexops.domain.resource import JSON

ROOT = "istio-system"
"""The namespace whose policies hold for the whole mesh, unless it was set up in another way."""
_PROXY = "istio-proxy"
_PROXY_IMAGE = "/proxyv2"
_MESH = "mesh"
_NARROW = ("headers", "withoutHeaders", "queryParams", "method", "authority", "statPrefix", "sourceNamespace")
_REFUSED = re.compile(r"(?i)(rbac: access denied|rbac_access_denied|\b403\b|permission_?denied)")
_CUT = re.compile(
    r"(?i)(reset|\beof\b|empty reply|socket hang up|broken pipe|closed|\b50[234]\b|tls|wrong version|prematurely)"
)
_OVERFLOW = re.compile(r"(?i)(\bUO\b|overflow)")
_NO_UPSTREAM = re.compile(r"(?i)(\bUH\b|no healthy upstream|no_healthy_upstream)")
_TOO_LATE = re.compile(r"(?i)(\bUT\b|\b504\b|upstream request timeout|timed? ?out|deadline exceeded)")
_OF_PROXY = re.compile(r"outbound\|\d*\|[\w-]*\|([\w.-]+)")


class Destination(NamedTuple):
    """Where a rule sends requests to; `port` is 0 where none is given, `weight` counts of 100."""

    namespace: str
    name: str
    subset: str
    port: int
    weight: int


class Caller(NamedTuple):
    """Who sends a request. Who is not in the mesh proves no identity."""

    namespace: str
    account: str
    labels: Mapping[str, str]
    in_mesh: bool


class Fits(IntEnum):
    """Whether a rule is about somebody's requests: it may depend on the request."""

    NO = 0
    PERHAPS = 1
    YES = 2


def address(host: str, namespace: str) -> tuple[str, str] | None:
    """(namespace, name) of the Service that a host of a rule means."""
    return None if "*" in host else hosts.service_address(host, namespace)


def means(host: str, own: str, service: tuple[str, str]) -> bool:
    """Whether a host of a rule in namespace `own`, which may hold a wildcard, is the Service (namespace, name)."""
    if "*" in host:
        return fnmatchcase(f"{service[1]}.{service[0]}.svc.cluster.local", host.lower())
    return address(host, own) == service


def on_mesh(route: JSON) -> bool:
    """Whether a VirtualService holds for calls between workloads."""
    named = words(route, "spec", "gateways")
    return not named or _MESH in named


def gateways(route: JSON) -> list[tuple[str, str]]:
    """(namespace, name) of the Gateways that a VirtualService is bound to."""
    own = meta.namespace(route)
    found = []
    for entry in words(route, "spec", "gateways"):
        space, slash, name = entry.partition("/")
        if entry != _MESH:
            found.append((space, name) if slash else (own, entry))
    return found


def rules(route: JSON) -> list[JSON]:
    """The rules for HTTP, then those for TCP and TLS."""
    return [rule for part in ("http", "tcp", "tls") for rule in objects(route, "spec", part)]


def destinations(route: JSON, rule: JSON) -> list[Destination]:
    """Where a rule sends to; what gets no share is left out."""
    own, found = meta.namespace(route), []
    entries = objects(rule, "route")
    for entry in entries:
        weight = number(entry, "weight", default=100 if len(entries) == 1 else 0)
        place = address(text(entry, "destination", "host"), own)
        if place is not None and weight > 0:
            subset, port = (
                text(entry, "destination", "subset"),
                number(entry, "destination", "port", "number"),
            )
            found.append(Destination(*place, subset, port, weight))
    return found


def is_for(route: JSON, service: tuple[str, str]) -> bool:
    """Whether a VirtualService is about requests to the Service: by its hosts, or as it sends there from outside."""
    own = meta.namespace(route)
    if any(means(host, own, service) for host in words(route, "spec", "hosts") if host != "*"):
        return True
    sent = {d[:2] for rule in rules(route) for d in destinations(route, rule)}
    return bool(gateways(route)) and service in sent


def rule_fits(rule: JSON, labels: Mapping[str, str] | None) -> Fits:
    """Whether a rule takes a caller's requests; `labels` are None for callers outside.

    One that asks for headers or a method is about few of them, and taken for nobody's."""
    matches = objects(rule, "match")
    if not matches:
        return Fits.YES
    return max(_match_fits(match, labels) for match in matches)


def _match_fits(match: JSON, labels: Mapping[str, str] | None) -> Fits:
    source = texts(match, "sourceLabels")
    if any(dig(match, word) for word in _NARROW) or (source and not selectors.equals(source, labels or {})):
        return Fits.NO
    uri = mapping(match, "uri")
    return Fits.YES if not uri or text(uri, "prefix") == "/" else Fits.PERHAPS


def percentage(fault: JSON) -> float:
    """The share of requests that a fault is for; all where none is given."""
    for found in (dig(fault, "percentage", "value"), dig(fault, "percent")):
        if isinstance(found, int | float) and not isinstance(found, bool):
            return float(found)
    return 0.0 if dig(fault, "percentage") == {} else 100.0


def subset(rule: JSON, name: str) -> JSON | None:
    """The subset of a DestinationRule."""
    return next((each for each in objects(rule, "spec", "subsets") if text(each, "name") == name), None)


def traffic_policies(rule: JSON) -> list[JSON]:
    """The general policy of a DestinationRule, and those of its ports."""
    general = mapping(rule, "spec", "trafficPolicy")
    return [general, *objects(general, "portLevelSettings")]


def in_mesh(pod: JSON) -> bool:
    """Whether a pod's traffic goes through a proxy of the mesh."""
    own = [each for part in ("containers", "initContainers") for each in objects(pod, "spec", part)]
    if any(text(each, "name") == _PROXY or _PROXY_IMAGE in text(each, "image") for each in own):
        return True
    return meta.annotations_of(pod).get("ambient.istio.io/redirection") == "enabled"


def applies(policy: JSON, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a PeerAuthentication or AuthorizationPolicy holds for pods with these labels."""
    if meta.namespace(policy) not in (namespace, ROOT) or dig(policy, "spec", "targetRefs"):
        return False
    chosen = texts(policy, "spec", "selector", "matchLabels")
    return not chosen or selectors.equals(chosen, labels)


def strict(policies: Iterable[JSON]) -> JSON | None:
    """The PeerAuthentication, of those that hold for a pod, that makes it take mutual TLS only: the narrowest says."""

    def width(policy: JSON) -> tuple[int, int]:
        return (
            0 if texts(policy, "spec", "selector", "matchLabels") else 1,
            1 if meta.namespace(policy) == ROOT else 0,
        )

    for policy in sorted(policies, key=width):
        mode = text(policy, "spec", "mtls", "mode")
        if mode and mode != "UNSET":
            return policy if mode == "STRICT" else None
    return None


def admits(policy: JSON, caller: Caller) -> Fits:
    """Whether some rule of an AuthorizationPolicy is about the caller's requests."""
    return max((_rule_admits(rule, caller) for rule in objects(policy, "spec", "rules")), default=Fits.NO)


def _rule_admits(rule: JSON, caller: Caller) -> Fits:
    froms = objects(rule, "from")
    who = max((_source(mapping(each, "source"), caller) for each in froms), default=Fits.YES)
    asked = bool(objects(rule, "to") or objects(rule, "when"))
    return min(who, Fits.PERHAPS) if asked else who


def _source(source: JSON, caller: Caller) -> Fits:
    known = {"principals", "notPrincipals", "namespaces", "notNamespaces", "serviceAccounts"}
    identity = f"/ns/{caller.namespace}/sa/{caller.account}"
    for word, own in (("principals", identity), ("namespaces", caller.namespace)):
        wanted, unwanted = words(source, word), words(source, f"not{word.capitalize()}")
        if wanted and not (caller.in_mesh and any(_is(each, own) for each in wanted)):
            return Fits.NO
        if unwanted and caller.in_mesh and any(_is(each, own) for each in unwanted):
            return Fits.NO
    return Fits.PERHAPS if set(source) - known else Fits.YES


def _is(pattern: str, own: str) -> bool:
    """Whether a principal or namespace fits; the trust domain of a principal is not looked at."""
    bare = pattern[pattern.index("/ns/") :] if "/ns/" in pattern else pattern
    return fnmatchcase(own, bare) or bare == "*"


def lets_out(sidecar: JSON, caller: str, service: tuple[str, str]) -> bool:
    """Whether a Sidecar lets its workloads know the Service; one without a list does."""
    egress = objects(sidecar, "spec", "egress")
    entries = [entry for each in egress for entry in words(each, "hosts")]
    if not entries:
        return True
    for entry in entries:
        space, _, host = entry.partition("/")
        place = caller if space == "." else service[0] if space in ("*", "~") else space
        if space != "~" and place == service[0] and (host == "*" or means(host, place, service)):
            return True
    return False


def lines_of_proxy(lines: Sequence[str], service: tuple[str, str]) -> list[str]:
    """Lines of a proxy's access log of requests to the Service that were not answered well."""
    found = []
    for line in lines:
        match = _OF_PROXY.search(line)
        if match and re.search(r"\b[45]\d\d\b", line) and address(match.group(1), "") == service:
            found.append(line)
    return found


def refused(lines: Sequence[str]) -> list[str]:
    """Lines that tell of a refusal by policy."""
    return [line for line in lines if _REFUSED.search(line)]


def cut(lines: Sequence[str]) -> list[str]:
    """Lines that tell of a connection that ended while it was set up."""
    return [line for line in lines if _CUT.search(line)]


def overflown(lines: Sequence[str]) -> list[str]:
    """Lines that tell that a proxy had no more room for a request."""
    return [line for line in lines if _OVERFLOW.search(line)]


def without_upstream(lines: Sequence[str]) -> list[str]:
    """Lines that tell that a proxy had nobody to send to."""
    return [line for line in lines if _NO_UPSTREAM.search(line)]


def late(lines: Sequence[str]) -> list[str]:
    """Lines that tell that an answer came too late."""
    return [line for line in lines if _TOO_LATE.search(line)]
