"""APIs that other servers serve through the API server: which of them are dead, and what waits for them."""

from __future__ import annotations

import re

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.values import text
from cortexops.domain.resource import JSON

_GROUP_VERSION = re.compile(r"\b([a-z0-9-]+(?:\.[a-z0-9-]+)+)/(v\d+(?:(?:alpha|beta)\d+)?)\b")
_DISCOVERY = "NamespaceDeletionDiscoveryFailure"


def undiscovered(namespace: JSON) -> list[tuple[str, str]]:
    """(group, version) of the APIs that keep a namespace from being removed, because nobody can tell what of them
    is in it; nothing for a namespace that is not being removed."""
    failure = meta.condition(namespace, _DISCOVERY)
    if meta.deleting_since(namespace) is None or failure.status != "True":
        return []
    return list(dict.fromkeys(_GROUP_VERSION.findall(failure.message)))


def serves(api_service: JSON, group: str, version: str) -> bool:
    """Whether this APIService registers that version of the group."""
    return (text(api_service, "spec", "group"), text(api_service, "spec", "version")) == (group, version)


def is_dead(api_service: JSON) -> bool:
    """Whether the API server says that it does not reach who serves it."""
    return meta.condition(api_service, "Available").status == "False"
