"""Details and tags of payloads as labels, under the names that labels have."""

from __future__ import annotations

import re
from typing import Any

from cortexops.domain.errors import InvalidInput
from ingest.source import LONGEST_LABEL, LONGEST_LABEL_NAME, one_line, table

# What other tools call our labels.
_ALIASES = {
    "kube_namespace": "namespace",
    "k8s_namespace": "namespace",
    "kube_deployment": "deployment",
    "kube_stateful_set": "statefulset",
    "kube_daemon_set": "daemonset",
    "kube_replica_set": "replicaset",
    "kube_cronjob": "cronjob",
    "kube_job": "job_name",
    "kube_node": "node",
    "kube_service": "service",
    "kube_container_name": "container",
    "container_name": "container",
    "kube_cluster_name": "cluster",
    "cluster_name": "cluster",
    "k8s_cluster": "cluster",
    "persistent_volume_claim": "persistentvolumeclaim",
}
_ONE_TAG = re.compile(r"\s*([^:=\s][^:=]*)[:=](.*)", re.DOTALL)


def details_of(value: Any, field: str) -> dict[str, str]:
    """The scalars of an object as labels, under the names that labels have; what is nested is left out.

    Raises `InvalidInput` for what is no object.
    """
    found: dict[str, str] = {}
    for key, one in table(value, field).items():
        name, text = one_line(key, LONGEST_LABEL_NAME), one_line(one, LONGEST_LABEL)
        if name and text:
            found.setdefault(_ALIASES.get(name.lower(), name), text)
    return found


def tags_of(value: Any, field: str) -> dict[str, str]:
    """Tags `key:value` as labels: a list of them, or one text with commas. Of two with one key the first
    counts; tags without a value are left out. Raises `InvalidInput`."""
    if value is None:
        return {}
    words = value.split(",") if isinstance(value, str) else value
    if isinstance(words, dict):
        return details_of(words, field)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidInput(field, "must be a list of texts, or one text with commas")
    pairs = [match for word in words if (match := _ONE_TAG.fullmatch(word[: 2 * LONGEST_LABEL]))]
    return details_of({match[1].strip(): match[2].strip() for match in reversed(pairs)}, field)
