"""Which nodes a pod template may go to, as far as taints and node selectors decide."""

from __future__ import annotations

import re

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.nodes import serves_driver
from cortexops.domain.kubernetes.values import objects, text, texts
from cortexops.domain.resource import JSON

_NAMED = re.compile(r"untolerated taint \{([^:}]+):")
_UNTIL_READY = re.compile(r"agent-not-ready$|/uninitialized$")
_OF_THE_CLOUD = "node.cloudprovider.kubernetes.io/uninitialized"
_CLOUD = re.compile(r"cloud-controller|cloud-manager|\bccm\b")
_KEEPS_AWAY = ("NoSchedule", "NoExecute")


def untolerated(node: JSON, pod_spec: JSON) -> str:
    """The first taint of the node that the pods do not tolerate, as `key=value:Effect`; "" when there is none."""
    tolerations = objects(pod_spec, "tolerations")
    for taint in objects(node, "spec", "taints"):
        if text(taint, "effect") in _KEEPS_AWAY and not any(_tolerates(each, taint) for each in tolerations):
            key, value = text(taint, "key"), text(taint, "value")
            return f"{key}{'=' if value else ''}{value}:{text(taint, 'effect')}"
    return ""


def _tolerates(toleration: JSON, taint: JSON) -> bool:
    """As in `k8s.io/api`: an empty key with Exists matches all, an empty effect every effect."""
    if text(toleration, "effect") not in ("", text(taint, "effect")):
        return False
    if text(toleration, "key") not in ("", text(taint, "key")):
        return False
    if text(toleration, "operator") == "Exists":
        return True
    return bool(text(toleration, "key")) and text(toleration, "value") == text(taint, "value")


def unselected(node: JSON, pod_spec: JSON) -> str:
    """The first label that the pods select nodes by and this one has not, as `key=value`; "" when it has all."""
    has = meta.labels(node)
    for key, value in sorted(texts(pod_spec, "nodeSelector").items()):
        if has.get(key) != value:
            return f"{key}={value}"
    return ""


def taints_until_ready(message: str) -> list[str]:
    """Keys of the taints in a scheduler's message that somebody takes from a node once they are ready there."""
    return list(dict.fromkeys(key for key in _NAMED.findall(message) if _UNTIL_READY.search(key)))


def takes_taint(workload: JSON, key: str) -> bool:
    """Whether the workload seems to be the one that takes such a taint from nodes, by its name."""
    name = meta.name(workload)
    if key == _OF_THE_CLOUD:
        return _CLOUD.search(name) is not None
    return serves_driver(name, key.partition("/")[0].removeprefix("node."))
