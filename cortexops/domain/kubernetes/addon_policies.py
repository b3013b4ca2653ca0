"""Network policies of Cilium and Calico: what one of them says to a connection. When unsure, nobody is blamed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from cortexops.domain.kubernetes import meta, selectors
from cortexops.domain.kubernetes.network import Peer
from cortexops.domain.kubernetes.values import dig, mapping, number, objects, text, texts, words
from cortexops.domain.resource import JSON

CILIUM = "CiliumNetworkPolicy"
CALICO = ("CalicoNetworkPolicy", "GlobalNetworkPolicy")
KINDS = (CILIUM, *CALICO)
_NAMESPACE = "io.kubernetes.pod.namespace"
_TERM = re.compile(
    r"\s*(?:(?P<all>all\(\))|(?P<no>!)?has\((?P<has>[^)]+)\)|(?P<key>[\w./-]+)\s*(?P<op>==|!=)\s*['\"](?P<value>[^'\"]*)['\"]"
    r"|(?P<set>[\w./-]+)\s+(?P<not>not\s+)?in\s*\{(?P<values>[^}]*)\})\s*"
)
_DEFAULT_ORDER = 10_000


class Says(StrEnum):
    """What a policy says to a connection."""

    NOTHING = "nothing"  # it does not restrict that end
    ALLOWS = "allows"
    DENIES = "denies"
    SILENT = "silent"  # it restricts the end, and no rule lets the connection through
    UNSURE = "unsure"


def selects(kind: str, policy: JSON, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether the policy is about pods with these labels. When unsure: no."""
    if kind == CILIUM:
        return meta.namespace(policy) == namespace and any(
            _endpoints(mapping(spec, "endpointSelector"), namespace, labels, namespace)
            for spec in _specs(policy)
        )
    if kind == "CalicoNetworkPolicy" and meta.namespace(policy) != namespace:
        return False
    if text(policy, "spec", "namespaceSelector") or text(policy, "spec", "tier") not in ("", "default"):
        return False
    if text(policy, "spec", "serviceAccountSelector"):
        return False
    return calico_selects(text(policy, "spec", "selector"), labels) is True


def order(policy: JSON) -> float:
    """Policies of Calico are asked in this order."""
    found = dig(policy, "spec", "order")
    return float(found) if isinstance(found, int | float) else float(_DEFAULT_ORDER)


def says(kind: str, policy: JSON, direction: str, end: Peer, peer: Peer, ports: Sequence[int]) -> Says:
    """What it says to a connection of `peer` to (`Ingress`) or from (`Egress`) `end`, which it selects."""
    if kind != CILIUM:
        return _calico(kind, policy, direction, peer, ports)
    found = [
        _cilium(spec, direction, meta.namespace(policy), peer, ports)
        for spec in _specs(policy)
        if _endpoints(mapping(spec, "endpointSelector"), end.namespace, end.labels, end.namespace)
    ]
    for word in (Says.DENIES, Says.UNSURE, Says.ALLOWS, Says.SILENT):
        if word in found:
            return word
    return Says.NOTHING


# -- Cilium ----------------------------------------------------------------------------------------


def _specs(policy: JSON) -> list[JSON]:
    own = mapping(policy, "spec")
    return [*([own] if own else []), *objects(policy, "specs")]


def _bare(key: str) -> str:
    return key.partition(":")[2] if key.partition(":")[0] in ("k8s", "any") else key


def _endpoints(selector: JSON, namespace: str, labels: Mapping[str, str], own: str) -> bool:
    fixed = {_bare(key): value for key, value in texts(selector, "matchLabels").items()}
    more = [{**each, "key": _bare(text(each, "key"))} for each in objects(selector, "matchExpressions")]
    named = _NAMESPACE in fixed or any(each["key"].startswith("io.") for each in more)
    if not named and namespace != own:
        return False
    if not fixed and not more:
        return True
    return selectors.matches(
        {"matchLabels": fixed, "matchExpressions": more}, {**labels, _NAMESPACE: namespace}
    )


def _cilium(spec: JSON, direction: str, own: str, peer: Peer, ports: Sequence[int]) -> Says:
    part, way = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    denied = [_cilium_rule(rule, way, own, peer, ports) for rule in objects(spec, f"{part}Deny")]
    if True in denied:
        return Says.DENIES
    allowed = [_cilium_rule(rule, way, own, peer, ports) for rule in objects(spec, part)]
    if None in denied or None in allowed:
        return Says.UNSURE
    if True in allowed:
        return Says.ALLOWS
    closed = bool(objects(spec, part)) and dig(spec, "enableDefaultDeny", part) is not False
    return Says.SILENT if closed else Says.NOTHING


def _cilium_rule(rule: JSON, way: str, own: str, peer: Peer, ports: Sequence[int]) -> bool | None:
    """Whether the rule is about the connection; None when that cannot be told."""
    fitting = _cilium_ports(rule, ports)
    if fitting is False:
        return False
    ends = [key for key in rule if key.startswith(way) and key != "toPorts"]
    if not ends:
        return fitting if dig(rule, "toPorts") or dig(rule, "icmps") else False
    outside = not peer.namespace
    if f"{way}Endpoints" in ends and not outside:
        chosen = objects(rule, f"{way}Endpoints")
        if any(_endpoints(each, peer.namespace, peer.labels, own) for each in chosen):
            return fitting
    entities = set(words(rule, f"{way}Entities"))
    if entities & {"all", "world" if outside else "cluster"}:
        return fitting
    known = {f"{way}Endpoints", f"{way}Entities"}
    cannot = {f"{way}CIDR", f"{way}CIDRSet", f"{way}FQDNs", f"{way}Nodes"} if not outside else set()
    return None if set(ends) - known - cannot else False


def _cilium_ports(rule: JSON, ports: Sequence[int]) -> bool | None:
    entries = objects(rule, "toPorts")
    listed = [each for entry in entries for each in objects(entry, "ports")]
    if not listed or not ports:
        return True
    if any(not text(each, "port").isdigit() for each in listed):
        return None
    return any(
        number(each, "port") <= port <= number(each, "endPort", default=number(each, "port"))
        or number(each, "port") == 0
        for each in listed
        for port in ports
    )


# -- Calico ----------------------------------------------------------------------------------------


def calico_selects(selector: str, labels: Mapping[str, str]) -> bool | None:
    """Whether a selector of Calico picks the labels; None for what is not read here (or, brackets)."""
    if not selector.strip():
        return True
    if "||" in selector or re.search(r"(?<!all)(?<!has)\(", selector):
        return None
    for part in selector.split("&&"):
        found = _TERM.fullmatch(part)
        if found is None:
            return None
        if found["all"]:
            continue
        if found["has"]:
            holds = (found["has"].strip() in labels) != bool(found["no"])
        elif found["key"]:
            holds = (labels.get(found["key"]) == found["value"]) == (found["op"] == "==")
        else:
            among = {value.strip().strip("'\"") for value in found["values"].split(",")}
            holds = (labels.get(found["set"]) in among) != bool(found["not"])
        if not holds:
            return False
    return True


def _calico(kind: str, policy: JSON, direction: str, peer: Peer, ports: Sequence[int]) -> Says:
    spec = mapping(policy, "spec")
    types = words(spec, "types") or (
        ["Egress"] if dig(spec, "egress") and not dig(spec, "ingress") else
        ["Ingress", *(["Egress"] if dig(spec, "egress") else [])]
    )  # fmt: skip
    if direction not in types:
        return Says.NOTHING
    if any(dig(spec, word) for word in ("preDNAT", "doNotTrack", "applyOnForward")):
        return Says.UNSURE
    own = "" if kind == "GlobalNetworkPolicy" else meta.namespace(policy)
    for rule in objects(spec, direction.lower()):
        fits = _calico_rule(rule, direction, own, peer, ports)
        if fits is None:
            return Says.UNSURE
        if fits and text(rule, "action") in ("Allow", "Deny"):
            return Says.ALLOWS if text(rule, "action") == "Allow" else Says.DENIES
        if fits and text(rule, "action") == "Pass":
            return Says.UNSURE
    return Says.SILENT


def _calico_rule(rule: JSON, direction: str, own: str, peer: Peer, ports: Sequence[int]) -> bool | None:
    other = mapping(rule, "source" if direction == "Ingress" else "destination")
    if set(rule) - {"action", "protocol", "source", "destination"} or set(other) - {
        "selector", "namespaceSelector", "ports", "nets",
    }:  # fmt: skip
        return None
    asked = mapping(rule, "destination").get("ports")
    if isinstance(asked, list) and asked and ports:
        if not all(isinstance(port, int) for port in asked):
            return None
        if not set(asked) & set(ports):
            return False
    protocol = text(rule, "protocol").upper()
    if protocol not in ("", "TCP", "6") and not (protocol in ("UDP", "17") and 53 in ports):
        return False
    nets = words(other, "nets")
    if nets:
        return True if "0.0.0.0/0" in nets else None
    selector, spaces = text(other, "selector"), text(other, "namespaceSelector")
    if not selector and not spaces:
        return True
    if not peer.namespace:
        return False
    if not spaces and own and peer.namespace != own:
        return False
    names = {
        "projectcalico.org/name": peer.namespace, "kubernetes.io/metadata.name": peer.namespace,
        **peer.namespace_labels,
    }  # fmt: skip
    told = (calico_selects(spaces, names), calico_selects(selector, peer.labels))
    return False if False in told else None if None in told else True
