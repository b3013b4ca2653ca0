"""Which ConfigMaps and Secrets a pod template reads, by which container, under which names."""

from __future__ import annotations

from typing import NamedTuple

from cortexops.domain.kubernetes.pods import containers
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import JSON


class ConfigUse(NamedTuple):
    """One reference. `key` is empty when all keys are taken; `env` is the variable a single key becomes."""

    kind: str
    name: str
    container: str
    key: str = ""
    env: str = ""
    path: str = ""
    optional: bool = False


def config_uses(pod_spec: JSON) -> list[ConfigUse]:
    """Every reference of a pod spec: env, envFrom, mounted volumes (projected ones too)."""
    found: list[ConfigUse] = []
    volumes = {text(v, "name"): v for v in objects(pod_spec, "volumes")}
    for container in containers(pod_spec):
        name = text(container, "name")
        for entry in objects(container, "env"):
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                ref = mapping(entry, "valueFrom", field)
                if text(ref, "name"):
                    optional = ref.get("optional") is True
                    found.append(
                        ConfigUse(
                            kind,
                            text(ref, "name"),
                            name,
                            text(ref, "key"),
                            text(entry, "name"),
                            "",
                            optional,
                        )
                    )
        for source in objects(container, "envFrom"):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                ref = mapping(source, field)
                if text(ref, "name"):
                    optional = ref.get("optional") is True
                    found.append(ConfigUse(kind, text(ref, "name"), name, optional=optional))
        for mount in objects(container, "volumeMounts"):
            volume = volumes.get(text(mount, "name"))
            if volume is not None:
                found += _from_volume(volume, name, text(mount, "mountPath"))
    return list(dict.fromkeys(found))


def _from_volume(volume: JSON, container: str, path: str) -> list[ConfigUse]:
    found = []
    config, secret = mapping(volume, "configMap"), mapping(volume, "secret")
    if text(config, "name"):
        optional = config.get("optional") is True
        found.append(ConfigUse("ConfigMap", text(config, "name"), container, path=path, optional=optional))
    if text(secret, "secretName"):
        optional = secret.get("optional") is True
        found.append(ConfigUse("Secret", text(secret, "secretName"), container, path=path, optional=optional))
    for source in objects(volume, "projected", "sources"):
        for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
            ref = mapping(source, field)
            if text(ref, "name"):
                optional = ref.get("optional") is True
                found.append(ConfigUse(kind, text(ref, "name"), container, path=path, optional=optional))
    return found


def pull_secrets(pod_spec: JSON) -> list[str]:
    """Names of the Secrets that images are pulled with."""
    return [text(ref, "name") for ref in objects(pod_spec, "imagePullSecrets") if text(ref, "name")]


def claims(pod_spec: JSON) -> list[str]:
    """Names of the PersistentVolumeClaims that a pod spec mounts."""
    names = [text(v, "persistentVolumeClaim", "claimName") for v in objects(pod_spec, "volumes")]
    return [name for name in dict.fromkeys(names) if name]


def mounts_claim(workload: JSON, claim: str) -> bool:
    """Whether a workload's pods mount the claim, by its name or by a claim template of a StatefulSet."""
    if claim in claims(mapping(workload, "spec", "template", "spec")):
        return True
    name = text(workload, "metadata", "name")
    for template in objects(workload, "spec", "volumeClaimTemplates"):
        stem = f"{text(template, 'metadata', 'name')}-{name}-"
        if claim.startswith(stem) and claim[len(stem) :].isdigit():
            return True
    return False
