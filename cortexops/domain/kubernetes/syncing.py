"""Objects that fill Secrets from elsewhere: which Secret, out of which store, and whether they do."""

from __future__ import annotations

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.meta import Condition
from cortexops.domain.kubernetes.values import text
from cortexops.domain.resource import JSON

KINDS = ("ExternalSecret", "SealedSecret")


def fills(kind: str, obj: JSON) -> str:
    """The name of the Secret that it fills."""
    if kind == "ExternalSecret":
        return text(obj, "spec", "target", "name") or meta.name(obj)
    return text(obj, "spec", "template", "metadata", "name") or meta.name(obj)


def store(obj: JSON) -> tuple[str, str] | None:
    """(kind, name) of the store that an ExternalSecret reads."""
    name = text(obj, "spec", "secretStoreRef", "name")
    return (text(obj, "spec", "secretStoreRef", "kind") or "SecretStore", name) if name else None


def failure(kind: str, obj: JSON) -> Condition | None:
    """The condition that says that it fails, if it does."""
    found = meta.condition(obj, "Synced" if kind == "SealedSecret" else "Ready")
    return found if found.status == "False" else None
