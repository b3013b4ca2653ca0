"""What a container finds when it is created: environment and mounted files, or why it cannot be created."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

from cortexops.domain.resource import JSON

Lookup = Callable[[str, str], JSON | None]
"""Kind (ConfigMap or Secret) and name, in the pod's namespace."""


class Environment(NamedTuple):
    """`problem` is the kubelet's own wording when a reference cannot be resolved."""

    env: dict[str, str]
    files: dict[str, str]
    problem: str = ""


def environment_of(pod: JSON, container: JSON, lookup: Lookup) -> Environment:
    """Resolve env, envFrom and the volume mounts of ConfigMaps and Secrets."""
    env: dict[str, str] = {}
    namespace = pod["metadata"]["namespace"]
    for source in container.get("envFrom") or ():
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            ref = source.get(field)
            if ref is None:
                continue
            found = lookup(kind, ref["name"])
            if found is None:
                if ref.get("optional"):
                    continue
                return Environment({}, {}, f'{kind.lower()} "{ref["name"]}" not found')
            env.update({source.get("prefix", "") + k: v for k, v in values_of(kind, found).items()})
    for entry in container.get("env") or ():
        if "value" in entry or "valueFrom" not in entry:
            env[entry["name"]] = str(entry.get("value", ""))
            continue
        value, problem = _referenced(entry["valueFrom"], pod, namespace, lookup)
        if problem:
            return Environment({}, {}, problem)
        if value is not None:
            env[entry["name"]] = value
    return Environment(env, _files(pod, container, lookup))


def missing_volume(pod: JSON, lookup: Lookup) -> str:
    """The FailedMount message for the first volume whose source does not exist, or nothing."""
    for volume in pod["spec"].get("volumes") or ():
        kind, name, optional = _volume_source(volume)
        if kind and not optional and lookup(kind, name) is None:
            return (
                f'MountVolume.SetUp failed for volume "{volume["name"]}" : {kind.lower()} "{name}" not found'
            )
    return ""


def values_of(kind: str, obj: JSON) -> dict[str, str]:
    """The data of a ConfigMap, or of a Secret decoded."""
    data = {name: str(value) for name, value in (obj.get("data") or {}).items()}
    if kind != "Secret":
        return data
    decoded = {name: str(value) for name, value in (obj.get("stringData") or {}).items()}
    for name, value in data.items():
        try:
            decoded[name] = base64.b64decode(value, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            decoded[name] = ""
    return decoded


def _referenced(source: JSON, pod: JSON, namespace: str, lookup: Lookup) -> tuple[str | None, str]:
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        ref = source.get(field)
        if ref is None:
            continue
        found = lookup(kind, ref["name"])
        if found is None:
            return None, "" if ref.get("optional") else f'{kind.lower()} "{ref["name"]}" not found'
        value = values_of(kind, found).get(ref["key"])
        if value is None and not ref.get("optional"):
            return None, f"couldn't find key {ref['key']} in {kind} {namespace}/{ref['name']}"
        return value, ""
    path = (source.get("fieldRef") or {}).get("fieldPath", "")
    known = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.namespace": namespace,
        "spec.nodeName": pod["spec"].get("nodeName", ""),
    }
    return known.get(path, ""), ""


def _files(pod: JSON, container: JSON, lookup: Lookup) -> dict[str, str]:
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    files: dict[str, str] = {}
    for mount in container.get("volumeMounts") or ():
        kind, name, _ = _volume_source(volumes.get(mount["name"]) or {})
        found = lookup(kind, name) if kind else None
        if found is None:
            continue
        for key, value in values_of(kind, found).items():
            if mount.get("subPath"):
                if key == mount["subPath"]:
                    files[mount["mountPath"]] = value
            else:
                files[f"{mount['mountPath'].rstrip('/')}/{key}"] = value
    return files


def _volume_source(volume: JSON) -> tuple[str, str, bool]:
    if "configMap" in volume:
        source = volume["configMap"]
        return "ConfigMap", source.get("name", ""), bool(source.get("optional"))
    if "secret" in volume:
        source = volume["secret"]
        return "Secret", source.get("secretName", ""), bool(source.get("optional"))
    return "", "", False
