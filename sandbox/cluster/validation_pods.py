"""Validation of pod specs, alone or in a template."""

from __future__ import annotations

import re

from cortexops.domain.resource import JSON
from sandbox.cluster import quantity
from sandbox.cluster.errors import Cause, absent, bad_value, duplicate, required, unsupported

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_ENV_NAME = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")
_LABEL_TEXT = (
    "a DNS-1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def pod_spec(spec: JSON, path: str) -> list[Cause]:
    """Everything wrong with a pod's spec at `path`."""
    causes: list[Cause] = []
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or []):
        name = str(volume.get("name") or "")
        if not name:
            causes.append(required(f"{path}.volumes[{index}].name"))
        elif name in volumes:
            causes.append(duplicate(f"{path}.volumes[{index}].name", name))
        volumes.add(name)
    if not spec.get("containers"):
        causes.append(required(f"{path}.containers"))
    names: set[str] = set()
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or []):
            where = f"{path}.{field}[{index}]"
            causes += _container(container, where, volumes)
            name = str(container.get("name") or "")
            if name and name in names:
                causes.append(duplicate(f"{where}.name", name))
            names.add(name)
    policy = spec.get("restartPolicy")
    if policy is not None and policy not in ("Always", "OnFailure", "Never"):
        causes.append(unsupported(f"{path}.restartPolicy", policy, ("Always", "OnFailure", "Never")))
    grace = spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0:
        field = f"{path}.terminationGracePeriodSeconds"
        causes.append(bad_value(field, grace, "must be greater than or equal to 0"))
    return causes


def _container(container: JSON, path: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = str(container.get("name") or "")
    if not name:
        causes.append(required(f"{path}.name"))
    elif not _LABEL.match(name) or len(name) > 63:
        causes.append(bad_value(f"{path}.name", name, _LABEL_TEXT))
    image = str(container.get("image") or "")
    if not image:
        causes.append(required(f"{path}.image"))
    elif image != image.strip():
        causes.append(bad_value(f"{path}.image", image, "must not have leading or trailing whitespace"))
    pull = container.get("imagePullPolicy")
    if pull not in (None, "Always", "IfNotPresent", "Never"):
        causes.append(unsupported(f"{path}.imagePullPolicy", pull, ("Always", "IfNotPresent", "Never")))
    for index, port in enumerate(container.get("ports") or []):
        number = port.get("containerPort")
        if not isinstance(number, int) or not 1 <= number <= 65535:
            field = f"{path}.ports[{index}].containerPort"
            causes.append(bad_value(field, number or 0, "must be between 1 and 65535, inclusive"))
    for index, variable in enumerate(container.get("env") or []):
        key = str(variable.get("name") or "")
        if not key:
            causes.append(required(f"{path}.env[{index}].name"))
        elif not _ENV_NAME.match(key):
            message = "a valid environment variable name must consist of letters, digits, '_', '-', or '.'"
            causes.append(bad_value(f"{path}.env[{index}].name", key, message))
        if variable.get("value") and variable.get("valueFrom"):
            message = "may not be specified when `value` is not empty"
            causes.append(bad_value(f"{path}.env[{index}].valueFrom", "", message))
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            causes.append(absent(f"{path}.volumeMounts[{index}].name", mount.get("name")))
        if not mount.get("mountPath"):
            causes.append(required(f"{path}.volumeMounts[{index}].mountPath"))
    for probe in _PROBES:
        causes += _probe(container.get(probe), f"{path}.{probe}")
    return causes + resources(container.get("resources") or {}, f"{path}.resources")


def _probe(probe: JSON | None, path: str) -> list[Cause]:
    if not probe:
        return []
    causes = []
    if not {"httpGet", "exec", "tcpSocket", "grpc"} & probe.keys():
        causes.append(required(path, "must specify a handler type"))
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold"):
        value = probe.get(field)
        if isinstance(value, int) and value < 0:
            causes.append(bad_value(f"{path}.{field}", value, "must be greater than or equal to 0"))
    return causes


def resources(requirements: JSON, path: str) -> list[Cause]:
    """Requests and limits: each a quantity, no request above its limit."""
    causes: list[Cause] = []
    limits, requests = requirements.get("limits") or {}, requirements.get("requests") or {}
    for part, amounts in (("limits", limits), ("requests", requests)):
        for name, value in amounts.items():
            if quantity.parse(value) < 0:
                message = "must be greater than or equal to 0"
                causes.append(bad_value(f"{path}.{part}[{name}]", str(value), message))
    for name, value in requests.items():
        if name in limits and quantity.parse(value) > quantity.parse(limits[name]):
            message = f"must be less than or equal to {name} limit"
            causes.append(bad_value(f"{path}.requests", str(value), message))
    return causes
