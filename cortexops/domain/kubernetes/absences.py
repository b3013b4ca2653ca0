"""What the kubelet says when a ConfigMap, a Secret or a key of one is not there."""

from __future__ import annotations

import re

_OBJECT = re.compile(r"(?i)\b(configmap|secret)s? \"?(?:[a-z0-9-]+/)?([a-z0-9.-]+)\"? not found")
_KEY = re.compile(r"(?i)couldn't find key (\S+) in (ConfigMap|Secret) (?:\S+?/)?([a-z0-9.-]+)")
_KINDS = {"configmap": "ConfigMap", "secret": "Secret"}


def absence(message: str) -> tuple[str, str, str] | None:
    """(kind, name, key) that the kubelet did not find; the key is empty where the whole object is missing."""
    match = _KEY.search(message)
    if match:
        return _KINDS[match.group(2).lower()], match.group(3).rstrip("."), match.group(1)
    match = _OBJECT.search(message)
    if match:
        return _KINDS[match.group(1).lower()], match.group(2), ""
    return None
