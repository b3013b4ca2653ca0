"""What routes of the Gateway API lead to, and what their Gateways serve with."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cortexops.domain.kubernetes.values import mapping, moment, number, objects, text
from cortexops.domain.resource import JSON

KINDS = ("HTTPRoute", "Gateway")


class Backend(NamedTuple):
    """A Service that a route sends to; `port` is 0 where none is given."""

    namespace: str
    name: str
    port: int


def backends(route: JSON) -> list[Backend]:
    """The Services of all rules, each once. Other kinds of backend are not ours to judge."""
    own = text(route, "metadata", "namespace")
    found = [
        Backend(text(ref, "namespace") or own, text(ref, "name"), number(ref, "port") or 0)
        for rule in objects(route, "spec", "rules")
        for ref in objects(rule, "backendRefs")
        if text(ref, "kind") in ("", "Service") and text(ref, "name")
    ]
    return list(dict.fromkeys(found))


def parents(route: JSON) -> list[tuple[str, str]]:
    """(namespace, name) of the Gateways that a route wants to be attached to."""
    own = text(route, "metadata", "namespace")
    return [
        (text(ref, "namespace") or own, text(ref, "name"))
        for ref in objects(route, "spec", "parentRefs")
        if text(ref, "kind") in ("", "Gateway") and text(ref, "name")
    ]


def certificates(gateway: JSON) -> list[tuple[str, str, list[str]]]:
    """(namespace, name, host names) of the Secrets that a Gateway's listeners serve with."""
    own = text(gateway, "metadata", "namespace")
    found = []
    for listener in objects(gateway, "spec", "listeners"):
        hosts = [host] if (host := text(listener, "hostname")) else []
        for ref in objects(mapping(listener, "tls"), "certificateRefs"):
            if text(ref, "kind") in ("", "Secret") and text(ref, "name"):
                found.append((text(ref, "namespace") or own, text(ref, "name"), hosts))
    return found


class Refused(NamedTuple):
    """A condition in which the controller says what is wrong with a route or a Gateway, and since when."""

    condition: str
    reason: str
    message: str
    since: datetime | None


def refusals(obj: JSON) -> list[Refused]:
    """What the controller says is wrong with a route or a Gateway."""
    conditions = [
        condition
        for parent in objects(obj, "status", "parents")
        for condition in objects(parent, "conditions")
    ]
    conditions += objects(obj, "status", "conditions")
    for listener in objects(obj, "status", "listeners"):
        conditions += objects(listener, "conditions")
    return [
        Refused(
            text(one, "type"), text(one, "reason"), text(one, "message"), moment(one, "lastTransitionTime")
        )
        for one in conditions
        if text(one, "status") == "False" and text(one, "type") in ("Accepted", "ResolvedRefs", "Programmed")
    ]


def untaken(gateway: JSON) -> bool:
    """Whether no controller has taken up a Gateway: its status still is as the API server made it."""
    if objects(gateway, "status", "addresses") or objects(gateway, "status", "listeners"):
        return False
    conditions = objects(gateway, "status", "conditions")
    return all(text(one, "status") == "Unknown" and text(one, "reason") == "Pending" for one in conditions)
