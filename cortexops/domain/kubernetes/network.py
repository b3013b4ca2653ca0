"""NetworkPolicies: which pods they restrict, and whether they let a connection through."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cortexops.domain.kubernetes import selectors
from cortexops.domain.kubernetes.values import dig, mapping, number, objects, text, words
from cortexops.domain.resource import JSON

_NAME_LABEL = "kubernetes.io/metadata.name"


class Peer(NamedTuple):
    """One end of a connection."""

    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str]
    ports: tuple[int, ...] = ()


def restricts(policy: JSON, labels: Mapping[str, str], direction: str) -> bool:
    """Whether the policy isolates pods with these labels for `Ingress` or `Egress`."""
    selector = mapping(policy, "spec", "podSelector")
    chosen = not selector or selectors.matches(selector, labels)
    return chosen and direction in _types(policy)


def _types(policy: JSON) -> list[str]:
    declared = words(policy, "spec", "policyTypes")
    if declared:
        return declared
    return ["Ingress", *(["Egress"] if dig(policy, "spec", "egress") is not None else [])]


def admits(policy: JSON, direction: str, peer: Peer, ports: Sequence[int]) -> bool:
    """Whether some rule lets the peer through to (or from) one of the ports; unknown ports match any rule."""
    part, other = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    own = text(policy, "metadata", "namespace")
    return any(
        _port_fits(rule, ports) and _peer_fits(rule, other, peer, own)
        for rule in objects(policy, "spec", part)
    )


def _port_fits(rule: JSON, ports: Sequence[int]) -> bool:
    allowed = objects(rule, "ports")
    if not allowed or not ports:
        return True
    for entry in allowed:
        port = text(entry, "port")
        if not port or not port.isdigit():
            return True  # all ports, or a named one that cannot be told from here
        last = number(entry, "endPort", default=int(port))
        if any(int(port) <= wanted <= last for wanted in ports):
            return text(entry, "protocol") in ("", "TCP") or 53 in ports
    return False


def _peer_fits(rule: JSON, other: str, peer: Peer, own: str) -> bool:
    peers = objects(rule, other)
    if not peers:
        return True
    if other == "to" and not peer.namespace:  # outside the cluster: selectors are for pods
        peers = [entry for entry in peers if text(entry, "ipBlock", "cidr")]
    return any(_is_peer(entry, peer, own) for entry in peers)


def _is_peer(entry: JSON, peer: Peer, own: str) -> bool:
    block = text(entry, "ipBlock", "cidr")
    if block:
        try:
            return ipaddress.ip_network(block, strict=False).prefixlen == 0
        except ValueError:
            return False
    spaces, chosen = dig(entry, "namespaceSelector"), dig(entry, "podSelector")
    labels = {_NAME_LABEL: peer.namespace, **peer.namespace_labels}
    if isinstance(spaces, dict):
        if spaces and not selectors.matches(spaces, labels):
            return False
    elif peer.namespace != own:
        return False
    return not isinstance(chosen, dict) or not chosen or selectors.matches(chosen, peer.labels)
